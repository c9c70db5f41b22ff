"""Which of Cosmic Ray's operators change our source, and which places they leave alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from cosmic_ray.exceptions import CosmicRayTestingException
from cosmic_ray.operators.exception_replacer import ExceptionReplacer
from cosmic_ray.operators.operator import Operator
from cosmic_ray.operators.provider import OperatorProvider
from parso.tree import NodeOrLeaf

#: Each operator becomes its boundary and its opposite. The other pairs of Cosmic Ray, such as
#: ``<`` for ``!=``, are detected by whatever detects these, and would only flatter the score;
#: ``is`` for ``==`` changes nothing for enums and small numbers.
_COMPARISONS = (
    *("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is"),
    *("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt"),
)
#: Each operator becomes its inverse; most other pairs raise TypeError at once.
_BINARIES = (
    *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul"),
    *("BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitAnd", "LShift_RShift", "RShift_LShift"),
)
_UNARIES = ("Delete_Not", "Delete_Invert", "USub_UAdd")
NAMES = (
    *(f"ReplaceComparisonOperator_{pair}" for pair in _COMPARISONS),
    *(f"ReplaceBinaryOperator_{pair}" for pair in _BINARIES),
    *(f"ReplaceUnaryOperator_{pair}" for pair in _UNARIES),
    *("AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "NumberReplacer"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop"),
    *("ExceptionReplacer", "RemoveDecorator"),
)
#: The name under which every module has its logger.
_LOGGER = "log"

#: A line, counted from 1, and a column, counted from 0, in bytes.
Place = tuple[int, int]
#: From a place, up to and without another.
Range = tuple[Place, Place]


class _ExceptionReplacer(ExceptionReplacer):  # type: ignore[misc]
    """Replaces an exception that is caught, also one with a dot in its name, as ``a.Error``."""

    @staticmethod
    def _name_nodes(node: NodeOrLeaf) -> Sequence[NodeOrLeaf]:
        caught = node.children[1]
        if caught.type == "atom":  # in parentheses
            caught = caught.children[1]
            if caught.type == "testlist_comp":
                return list(caught.children[::2])
        return [caught]

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        caught = self._name_nodes(node)[index]
        first = caught.get_first_leaf()
        first.value = CosmicRayTestingException.__name__
        if caught is not first:
            caught.children = [first]
        return node


def operator(name: str) -> Operator:
    """Make the operator of a name."""
    if name == ExceptionReplacer.__name__:
        return _ExceptionReplacer()
    made: Operator = OperatorProvider()[name]()
    return made


def left_out(source: str) -> list[Range]:
    """Return where a mutation would change no behaviour that is promised.

    Annotations are not evaluated, so what they alone need may be imported or not. What is
    logged is for people; that something is logged at all is left to the mutations of what
    leads there.
    """
    return sorted(_range(node) for node in _quiet(ast.parse(source)))


def is_mark_of_signature(node: NodeOrLeaf) -> bool:
    """Return whether a node is the ``*`` or ``/`` between parameters, which is no operator."""
    return node.type == "operator" and node.parent.type in {"parameters", "lambdef"}


def _quiet(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        match node:
            case ast.arg(annotation=ast.expr() as annotation):
                yield annotation
            case ast.AnnAssign(annotation=annotation):
                yield annotation
            case ast.FunctionDef(returns=ast.expr() as returns):
                yield returns
            case ast.AsyncFunctionDef(returns=ast.expr() as returns):
                yield returns
            case ast.If(test=ast.Name(id="TYPE_CHECKING") as test):
                yield test
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if name == _LOGGER:
                yield node


def _range(node: ast.expr) -> Range:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
