"""What is drawn over a film's picture: a panel of readings, the outcome, and a small map of the scene from above."""

import functools
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from robo_ppo.env.shapes import Shape
from robo_ppo.run import palette

_MARGIN = 10
_SUPERSAMPLING = 3  # Pillow draws without anti-aliasing: the map is drawn larger and scaled down
_PAPER = (255, 255, 255, 205)


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font: it is there on every machine."""
    return ImageFont.load_default(size=size)


def reading_text(label: str, value: float) -> tuple[str, str]:
    """A reading as two columns: `("distance to goal (m)", 1.234)` gives `("distance to goal", "1.23 m")`."""
    match = re.fullmatch(r"(.*?)\s*\(([^()]*)\)", label)
    name, unit = match.groups() if match else (label, "")
    return name, f"{value:z.2f} {unit}".rstrip()


def draw_panel(image: Image.Image, title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Draw a light panel with a title and two columns of text into the upper left corner."""
    large, small = font(18), font(15)
    names = max((small.getlength(name) for name, _ in rows), default=0.0)
    values = max((small.getlength(value) for _, value in rows), default=0.0)
    # A column of fixed least width keeps the panel from trembling as digits change.
    width = int(max(large.getlength(title), names + 16 + max(values, 62.0))) + 24
    height = 34 + 20 * len(rows) + (6 if rows else 0)
    panel = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(panel)
    draw.rounded_rectangle((0, 0, width - 1, height - 1), radius=8, fill=_PAPER)
    draw.text((12, 7), title, font=large, fill=palette.rgb(palette.INK))
    for index, (name, value) in enumerate(rows):
        top = 34 + 20 * index
        draw.text((12, top), name, font=small, fill=palette.rgb(palette.MUTED))
        draw.text((width - 12, top), value, font=small, fill=palette.rgb(palette.INK), anchor="ra")
    image.paste(panel, (_MARGIN, _MARGIN), panel)


def draw_outcome(image: Image.Image, outcome: str) -> None:
    """Draw the outcome as a coloured label at the bottom in the middle."""
    large, text = font(24), palette.outcome_label(outcome)
    half = large.getlength(text) / 2 + 20
    x, y = image.width / 2, image.height - 36
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle(
        (x - half, y - 21, x + half, y + 21), radius=21, fill=palette.rgb(palette.outcome_colour(outcome))
    )
    draw.text((x, y), text, font=large, fill=(255, 255, 255), anchor="mm")


class SceneMap:
    """A map of one episode's scene from above, x to the right and y up, with the vehicle and its path so far."""

    def __init__(self, positions: np.ndarray, shapes: Sequence[Shape], pixels: int = 150) -> None:
        """`positions` (rows, 3) are all of the episode's; with the shapes they say what area the map shows."""
        self._pixels = pixels * _SUPERSAMPLING
        low, high = plan_extent(positions, shapes)
        self._centre, self._span = (low + high) / 2, float((high - low).max()) * 1.06
        self._shapes: Sequence[Shape] | None = None
        self._background = self._blank(shapes)

    def draw(self, image: Image.Image, path: np.ndarray, shapes: Sequence[Shape]) -> None:
        """Draw into the lower right corner of `image`: the shapes, the path (rows, 3), the vehicle at its end."""
        if shapes != self._shapes:
            self._background = self._blank(shapes)
        chart = self._background.copy()
        draw = ImageDraw.Draw(chart)
        points = self._pixels_of(path)
        if len(points) > 1:
            draw.line(
                [tuple(point) for point in points],
                fill=palette.rgb(palette.PATH),
                width=2 * _SUPERSAMPLING,
                joint="curve",
            )
        x, y = points[-1]
        radius = 4 * _SUPERSAMPLING
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=palette.rgb(palette.VEHICLE))
        small = chart.reduce(_SUPERSAMPLING)
        image.paste(small, (image.width - small.width - _MARGIN, image.height - small.height - _MARGIN), small)

    def _blank(self, shapes: Sequence[Shape]) -> Image.Image:
        """The map without vehicle and path."""
        self._shapes = shapes
        chart = Image.new("RGBA", (self._pixels, self._pixels), (0, 0, 0, 0))
        draw = ImageDraw.Draw(chart)
        draw.rounded_rectangle((0, 0, self._pixels - 1, self._pixels - 1), radius=8 * _SUPERSAMPLING, fill=_PAPER)
        for shape in sorted(shapes, key=lambda shape: shape.role):
            outline = [tuple(point) for point in self._pixels_of(plan_outline(shape))]
            if shape.role == "bounds":
                draw.line([*outline, outline[0]], fill=palette.rgb(palette.MUTED), width=_SUPERSAMPLING)
            elif shape.role == "goal":
                draw.polygon(outline, fill=palette.rgb(palette.GOAL))
                (x, y), radius = self._pixels_of(np.array([shape.position]))[0], 6 * _SUPERSAMPLING
                ring = (x - radius, y - radius, x + radius, y + radius)
                draw.ellipse(ring, outline=palette.rgb(palette.GOAL), width=_SUPERSAMPLING)
            else:
                draw.polygon(outline, fill=palette.rgb(palette.OBSTACLE))
        return chart

    def _pixels_of(self, points: np.ndarray) -> list[list[float]]:
        """World points (n, 2 or more) as pixels of the enlarged map, n times [x, y]."""
        plan = (points[:, :2] - self._centre) / self._span
        return ((0.5 + plan * (1.0, -1.0)) * self._pixels).tolist()


def plan_outline(shape: Shape) -> np.ndarray:
    """A shape's outline from above, (corners, 2) in metres; that of an upright shape, which may be turned about z."""
    if shape.kind == "box":
        half_x, half_y = shape.size[0], shape.size[1]
        w, _, _, z = shape.quaternion
        angle = 2.0 * np.arctan2(z, w)
        corners = np.array([(half_x, half_y), (-half_x, half_y), (-half_x, -half_y), (half_x, -half_y)])
        turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
        return corners @ turn + shape.position[:2]
    angles = np.linspace(0.0, 2.0 * np.pi, 49)[:-1]
    return shape.size[0] * np.stack([np.cos(angles), np.sin(angles)], axis=1) + shape.position[:2]


def plan_extent(positions: np.ndarray, shapes: Sequence[Shape]) -> tuple[np.ndarray, np.ndarray]:
    """The corners (lowest and highest x, y) of what a view from above must show: the bounds, or all there is."""
    bounds = [shape for shape in shapes if shape.role == "bounds"]
    points = np.concatenate([positions[:, :2], *(plan_outline(shape) for shape in bounds or shapes)])
    return points.min(axis=0) - 0.2, points.max(axis=0) + 0.2
