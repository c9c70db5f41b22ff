"""The contract: ``campaign/v1/*.proto`` and the code generated beside them.

Edit the ``.proto`` files, then run ``python -m protos``; ``python -m protos
--check`` tells whether the generated code is what they generate.
"""
