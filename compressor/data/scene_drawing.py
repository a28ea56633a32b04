"""Draw a scene with Pillow: three times too large, then reduced, which gives smooth edges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from PIL import Image, ImageDraw

from compressor.data.randomness import Dice
from compressor.data.scene import Background, Colour, Kind, Scene, Shape, Size, Texture

DRAWING_VERSION = 1
"""Counts changes of the pictures; part of the data set's fingerprint, because the pixels are not."""

SUPERSAMPLING = 3

RGB = tuple[int, int, int]
Point = tuple[float, float]

RADIUS: Mapping[Size, float] = MappingProxyType({"small": 0.100, "medium": 0.155, "large": 0.225})
"""Radius of a shape as a fraction of the picture's side."""

PAINT: Mapping[Colour, RGB] = MappingProxyType(
    {
        "red": (222, 28, 36),
        "orange": (250, 138, 10),
        "yellow": (250, 222, 40),
        "green": (12, 128, 60),
        "blue": (36, 66, 222),
        "purple": (128, 42, 168),
        "pink": (252, 138, 196),
        "white": (252, 252, 252),
    }
)
GROUND: Mapping[Background, RGB] = MappingProxyType(
    {
        "snow": (224, 232, 242),
        "grass": (140, 188, 92),
        "sand": (216, 192, 150),
        "night sky": (16, 20, 48),
        "sea": (60, 148, 172),
        "brick wall": (196, 186, 176),
    }
)
OUTLINE: RGB = (24, 24, 30)


def draw(scene: Scene, size: int, dice: Dice) -> Image.Image:
    """An RGB picture, size x size pixels; `dice` decides what is no attribute: places, tilt, tint, specks."""
    side = size * SUPERSAMPLING
    tint = dice.uniform(0.93, 1.05)
    canvas = Image.new("RGB", (side, side), _shade(GROUND[scene.background], tint))
    _SCENERY[scene.background](ImageDraw.Draw(canvas), side, tint, dice)
    # The outer of two nested shapes comes second in the scene, but must be painted first.
    placed = list(zip(scene.shapes, _centres(scene, dice), strict=True))
    for shape, centre in reversed(placed):
        _paint(canvas, shape, centre, side, dice)
    return canvas.reduce(SUPERSAMPLING)


def _shade(colour: RGB, factor: float) -> RGB:
    red, green, blue = (min(255, round(value * factor)) for value in colour)
    return red, green, blue


def _centres(scene: Scene, dice: Dice) -> list[Point]:
    """Centres in fractions of the side; every shape stays in its own half or quarter of the picture."""
    radii = [RADIUS[shape.size] for shape in scene.shapes]
    if scene.relation in ("alone", "inside"):
        centre = _around((0.5, 0.5), radii[-1], 0.5, 0.5, dice)
        return [centre] * scene.count
    across = scene.relation == "left of"
    line = {None: 0.5, "above": 0.74, "left": 0.74, "below": 0.26, "right": 0.26}[scene.third]
    depth = 0.38 if scene.third is None else 0.25
    centres = []
    for place, radius in zip((0.26, 0.74), radii[:2], strict=True):
        if across:
            centres.append(_around((place, line), radius, 0.25, depth, dice))
        else:
            centres.append(_around((line, place), radius, depth, 0.25, dice))
    if scene.third is not None:
        opposite = 1 - line
        if across:
            centres.append(_around((0.5, opposite), radii[2], 0.35, 0.25, dice))
        else:
            centres.append(_around((opposite, 0.5), radii[2], 0.25, 0.35, dice))
    return centres


def _around(place: Point, radius: float, width: float, height: float, dice: Dice) -> Point:
    """A point near `place`; the shape stays within a box of half-sides width and height around it."""
    slack_x, slack_y = max(0.0, width - radius - 0.02), max(0.0, height - radius - 0.02)
    return place[0] + dice.uniform(-slack_x, slack_x), place[1] + dice.uniform(-slack_y, slack_y)


def _paint(canvas: Image.Image, shape: Shape, centre: Point, side: int, dice: Dice) -> None:
    radius = RADIUS[shape.size] * side
    tilt = dice.uniform(-0.18, 0.18)
    edge = max(1, round(side / 90))
    extent = math.ceil(radius) + 1
    outer, inner = _masks(shape.kind, radius, tilt, extent, edge)
    corner = (round(centre[0] * side) - extent, round(centre[1] * side) - extent)
    canvas.paste(OUTLINE, corner, outer)
    colour = _shade(PAINT[shape.colour], dice.uniform(0.93, 1.05))
    canvas.paste(_cloth(shape.texture, colour, 2 * extent + 1, side / 64, dice), corner, inner)


def _masks(kind: Kind, radius: float, tilt: float, extent: int, edge: int) -> tuple[Image.Image, Image.Image]:
    """The shape's silhouette, and the same without its edge (both mode L)."""
    outer = Image.new("L", (2 * extent + 1, 2 * extent + 1))
    pen = ImageDraw.Draw(outer)
    if kind in ("circle", "ring"):
        _disc(pen, extent, radius, 255)
        inner = Image.new("L", outer.size)
        inner_pen = ImageDraw.Draw(inner)
        _disc(inner_pen, extent, radius - edge, 255)
        if kind == "ring":
            _disc(pen, extent, 0.56 * radius, 0)
            _disc(inner_pen, extent, 0.56 * radius + edge, 0)
        return outer, inner
    cosine, sine = math.cos(tilt), math.sin(tilt)
    points = [
        (round(extent + radius * (x * cosine - y * sine)), round(extent + radius * (x * sine + y * cosine)))
        for x, y in _POLYGONS[kind]
    ]
    pen.polygon(points, fill=255)
    inner = outer.copy()
    ImageDraw.Draw(inner).line([*points, points[0]], fill=0, width=2 * edge)
    return outer, inner


def _disc(pen: ImageDraw.ImageDraw, centre: int, radius: float, fill: int) -> None:
    reach = round(radius)
    pen.ellipse((centre - reach, centre - reach, centre + reach, centre + reach), fill=fill)


def _cloth(texture: Texture, colour: RGB, side: int, unit: float, dice: Dice) -> Image.Image:
    """A square of the texture; `unit` is a pixel of a 64-pixel picture: one grain at all sizes."""
    cloth = Image.new("RGB", (side, side), colour)
    if texture == "plain":
        return cloth
    pen, dark = ImageDraw.Draw(cloth), _shade(colour, 0.38)
    phase = dice.uniform(0, 1)
    if texture == "striped":
        period = 5.0 * unit
        for row in range(-1, math.ceil(side / period)):
            start = (row + phase) * period
            pen.rectangle(_box(0, start, side, start + period / 2 - 1), fill=dark)
        return cloth
    period = (4.6 if texture == "dotted" else 3.4) * unit
    radius = 0.28 * period
    for row in range(-1, math.ceil(side / period) + 1):
        for column in range(-1, math.ceil(side / period) + 1):
            left, top = (column + phase) * period, (row + phase) * period
            if texture == "dotted":
                left += (row % 2) * period / 2
                pen.ellipse(_box(left - radius, top - radius, left + radius, top + radius), fill=dark)
            elif (row + column) % 2:
                pen.rectangle(_box(left, top, left + period - 1, top + period - 1), fill=dark)
    return cloth


def _box(left: float, top: float, right: float, bottom: float) -> tuple[int, int, int, int]:
    return round(left), round(top), round(right), round(bottom)


def _star() -> tuple[Point, ...]:
    points = []
    for step in range(10):
        angle, reach = math.pi * (step / 5 - 0.5), 1.0 if step % 2 == 0 else 0.46
        points.append((reach * math.cos(angle), reach * math.sin(angle)))
    return tuple(points)


def _heart() -> tuple[Point, ...]:
    """The curve x = 16 sin³t, y = 13 cos t − 5 cos 2t − 2 cos 3t − cos 4t, scaled to the unit square."""
    points = []
    for step in range(28):
        t = 2 * math.pi * step / 28
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 17.5, -(y + 2.5) / 17.5))
    return tuple(points)


_POLYGONS: Mapping[Kind, tuple[Point, ...]] = MappingProxyType(
    {
        "square": ((-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)),
        "triangle": ((0.0, -0.98), (0.92, 0.66), (-0.92, 0.66)),
        "star": _star(),
        "cross": tuple(
            (x, y)
            for x, y in (
                (-0.3, -0.95), (0.3, -0.95), (0.3, -0.3), (0.95, -0.3), (0.95, 0.3), (0.3, 0.3),
                (0.3, 0.95), (-0.3, 0.95), (-0.3, 0.3), (-0.95, 0.3), (-0.95, -0.3), (-0.3, -0.3),
            )
        ),
        "heart": _heart(),
        "diamond": ((0.0, -1.0), (0.66, 0.0), (0.0, 1.0), (-0.66, 0.0)),
    }
)  # fmt: skip


def _snow(pen: ImageDraw.ImageDraw, side: int, tint: float, dice: Dice) -> None:
    shadow, flake = _shade((184, 200, 226), tint), (255, 255, 255)
    for _ in range(3):
        left, top = dice.uniform(-0.4, 0.6) * side, dice.uniform(0.1, 0.9) * side
        box = (round(left), round(top), round(left + 0.8 * side), round(top + 0.22 * side))
        pen.arc(box, 190, 350, fill=shadow, width=max(1, round(side / 48)))
    _specks(pen, side, 90, (flake, flake, shadow), 1.2, dice)


def _grass(pen: ImageDraw.ImageDraw, side: int, tint: float, dice: Dice) -> None:
    greens = tuple(_shade(colour, tint) for colour in ((108, 164, 66), (168, 208, 112), (92, 146, 60)))
    width = max(1, round(side / 96))
    for _ in range(110):
        x, y = dice.uniform(0, side), dice.uniform(0, side)
        tip = (round(x + dice.uniform(-0.02, 0.02) * side), round(y - dice.uniform(0.05, 0.1) * side))
        pen.line((round(x), round(y), *tip), fill=dice.choose(greens), width=width)


def _sand(pen: ImageDraw.ImageDraw, side: int, tint: float, dice: Dice) -> None:
    dark, light = _shade((186, 158, 112), tint), _shade((236, 218, 182), tint)
    for row in range(5):
        _wave(pen, side, (row + dice.uniform(0.1, 0.9)) / 5, 0.012, 0.4, dark, dice)
    _specks(pen, side, 90, (dark, light), 0.7, dice)


def _night_sky(pen: ImageDraw.ImageDraw, side: int, tint: float, dice: Dice) -> None:
    _specks(pen, side, 26, ((250, 250, 235), (170, 180, 220)), 1.1, dice)


def _sea(pen: ImageDraw.ImageDraw, side: int, tint: float, dice: Dice) -> None:
    light, deep = _shade((160, 214, 224), tint), _shade((36, 112, 146), tint)
    for row in range(8):
        _wave(pen, side, (row + dice.uniform(0.2, 0.8)) / 8, 0.018, 0.16, light if row % 2 else deep, dice)


def _brick_wall(pen: ImageDraw.ImageDraw, side: int, tint: float, dice: Dice) -> None:
    clays = tuple(_shade(colour, tint) for colour in ((164, 92, 72), (150, 80, 64), (174, 104, 84)))
    height, width, joint = side / 7.5, side / 3.6, max(1, round(side / 60))
    start_x, start_y = dice.uniform(0, width), dice.uniform(0, height)
    for row in range(-1, 8):
        top = round(row * height + start_y)
        for column in range(-2, 5):
            left = round(column * width + start_x + (row % 2) * width / 2)
            box = (left, top, left + round(width) - joint, top + round(height) - joint)
            pen.rectangle(box, fill=dice.choose(clays))


def _specks(
    pen: ImageDraw.ImageDraw, side: int, count: int, colours: tuple[RGB, ...], pixels: float, dice: Dice
) -> None:
    """Small squares; `pixels` is their side in a 64-pixel picture."""
    reach = max(1, round(pixels * side / 64)) - 1
    for _ in range(count):
        x, y = dice.below(side), dice.below(side)
        pen.rectangle((x, y, x + reach, y + reach), fill=dice.choose(colours))


def _wave(
    pen: ImageDraw.ImageDraw, side: int, height: float, swing: float, length: float, colour: RGB, dice: Dice
) -> None:
    phase, steps = dice.uniform(0, 2 * math.pi), 24
    points = []
    for step in range(steps + 1):
        x = step / steps
        y = height + swing * math.sin(2 * math.pi * x / length + phase)
        points.append((round(x * side), round(y * side)))
    pen.line(points, fill=colour, width=max(1, round(side / 64)))


_SCENERY: Mapping[Background, Callable[[ImageDraw.ImageDraw, int, float, Dice], None]] = MappingProxyType(
    {
        "snow": _snow,
        "grass": _grass,
        "sand": _sand,
        "night sky": _night_sky,
        "sea": _sea,
        "brick wall": _brick_wall,
    }
)
