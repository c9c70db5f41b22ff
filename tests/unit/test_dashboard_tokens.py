"""The colours of pages: contrast, and how they look to people who see fewer colours."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import pytest

import status_service.dashboard

SHEET = Path(status_service.dashboard.__file__).parent / "static/css/10-tokens.css"
OUTCOMES = ("sent", "failed", "skipped", "unknown", "pending")
GROUNDS = ("page", "surface", "sunken", "tint", "attn-soft", "danger-soft")
#: Machado, Oliveira and Fernandes 2009, at full strength, for linear RGB.
VISIONS = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
Rgb = tuple[float, float, float]


def tokens(scheme: str) -> dict[str, Rgb]:
    """Return the colours of a scheme, in linear RGB."""
    light, dark = SHEET.read_text().split("@media")
    found = re.findall(r"--([a-z-]+):#([0-9a-f]{6})", dark if scheme == "dark" else light)
    return {name: linear(colour) for name, colour in found}


def linear(colour: str) -> Rgb:
    """Return a colour of six digits in linear RGB."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return (_linear(red), _linear(green), _linear(blue))


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def contrast(one: Rgb, other: Rgb) -> float:
    """Return the contrast of WCAG between two colours."""
    weights = (0.2126, 0.7152, 0.0722)
    light = sorted(
        sum(weight * part for weight, part in zip(weights, colour, strict=True))
        for colour in (one, other)
    )
    return (light[1] + 0.05) / (light[0] + 0.05)


def seen(colour: Rgb, vision: str) -> Rgb:
    """Return how a colour looks."""
    red, green, blue = (
        min(1.0, max(0.0, sum(a * b for a, b in zip(row, colour, strict=True))))
        for row in VISIONS[vision]
    )
    return (red, green, blue)


def lab(colour: Rgb) -> Rgb:
    """Return a colour of linear RGB in CIELAB with D65."""
    rows = (
        (0.4124564, 0.3575761, 0.1804375, 0.95047),
        (0.2126729, 0.7151522, 0.0721750, 1.0),
        (0.0193339, 0.1191920, 0.9503041, 1.08883),
    )
    x, y, z = (
        _cube(sum(a * b for a, b in zip(row, colour, strict=False)) / row[3]) for row in rows
    )
    return (116 * y - 16, 500 * (x - y), 200 * (y - z))


def _cube(part: float) -> float:
    return part ** (1 / 3) if part > 216 / 24389 else (24389 / 27 * part + 16) / 116


def difference(one: Rgb, other: Rgb) -> float:
    """Return the difference of two colours in CIELAB by CIEDE2000."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    middle = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    gain = 1.5 - 0.5 * math.sqrt(middle**7 / (middle**7 + 25**7))
    c1, c2 = math.hypot(a1 * gain, b1), math.hypot(a2 * gain, b2)
    h1 = math.degrees(math.atan2(b1, a1 * gain)) % 360
    h2 = math.degrees(math.atan2(b2, a2 * gain)) % 360
    turn = 0.0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    hue = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    mean = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    cosine = {
        angle: math.cos(math.radians(factor * mean + shift))
        for angle, factor, shift in (("a", 1, -30), ("b", 2, 0), ("c", 3, 6), ("d", 4, -63))
    }
    weight = 1 - 0.17 * cosine["a"] + 0.24 * cosine["b"] + 0.32 * cosine["c"] - 0.2 * cosine["d"]
    by_lightness = 1 + 0.015 * (lightness - 50) ** 2 / math.sqrt(20 + (lightness - 50) ** 2)
    by_chroma, by_hue = 1 + 0.045 * chroma, 1 + 0.015 * chroma * weight
    rotation = -2 * math.sqrt(chroma**7 / (chroma**7 + 25**7))
    rotation *= math.sin(math.radians(60 * math.exp(-(((mean - 275) / 25) ** 2))))
    parts = ((l2 - l1) / by_lightness, (c2 - c1) / by_chroma, hue / by_hue)
    return math.sqrt(sum(part**2 for part in parts) + rotation * parts[1] * parts[2])


def test_the_difference_is_the_published_one() -> None:
    """Pairs of Sharma, Wu and Dalal."""
    assert difference((50, 2.6772, -79.7751), (50, 0, -82.7485)) == pytest.approx(2.0425, abs=1e-4)
    assert difference((50, 2.5, 0), (73, 25, -18)) == pytest.approx(27.1492, abs=1e-4)
    assert difference((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619)) == pytest.approx(
        2.0373, abs=1e-4
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("text", ["text", "muted", "accent", "attn", "danger"])
def test_text_can_be_read_on_every_ground(scheme: str, text: str) -> None:
    """4.5 at least, as WCAG AA has it."""
    found = tokens(scheme)
    assert min(contrast(found[text], found[ground]) for ground in GROUNDS) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_buttons_can_be_read(scheme: str) -> None:
    """What stands on the accent, and on a solid red button."""
    found = tokens(scheme)
    assert contrast(found["on-accent"], found["accent"]) >= 4.5
    assert contrast(found["surface"], found["danger"]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["sent", "failed", "skipped", "unknown", "edge", "attn-line"])
def test_graphics_stand_out(scheme: str, name: str) -> None:
    """3 at least against the surface they are on; what is pending has an edge."""
    found = tokens(scheme)
    assert contrast(found[name], found["surface"]) >= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("vision", list(VISIONS))
def test_outcomes_are_told_apart(scheme: str, vision: str) -> None:
    """Each pair of them, by people who see fewer colours as well; 10 is the usual mark."""
    found = tokens(scheme)
    colours = [lab(seen(found[name], vision)) for name in OUTCOMES]
    assert min(difference(*pair) for pair in itertools.combinations(colours, 2)) >= 15
