"""An episode in one picture: a few moments side by side, each with its time.

strips(spec, traces, lambda trace: folder / f"episode_{trace.episode}.png", story_of=lambda trace: trace.outcome)
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import mujoco
import numpy as np
from PIL import Image, ImageDraw

from robo_ppo.run import overlay, palette
from robo_ppo.run.trace import EpisodeTrace
from robo_ppo.run.video import moments

MOMENTS = 6
_SIZE = (240, 180)
_GAP, _HEAD = 4, 26


def strips(
    spec: mujoco.MjSpec,
    traces: Sequence[EpisodeTrace],
    path_of: Callable[[EpisodeTrace], Path],
    *,
    story_of: Callable[[EpisodeTrace], str],
) -> list[Path]:
    """Write one PNG for each episode and return their paths; `story_of` is what stands above the pictures.

    An episode whose state was never finite has none. `spec` is the robot's; it is not changed.

    Raises:
        RenderingUnavailable: no OpenGL library works on this machine.
    """
    chosen = {trace.episode: rows_of(trace) for trace in traces}
    pictures: dict[int, list[tuple[float, Image.Image]]] = {trace.episode: [] for trace in traces}
    wanted = [(trace, chosen[trace.episode]) for trace in traces]
    for trace, row, pixels in moments(spec, wanted, size=_SIZE):
        pictures[trace.episode].append((row * trace.control_period, Image.fromarray(pixels)))
    written: list[Path] = []
    for trace in traces:
        if pictures[trace.episode]:
            path = path_of(trace)
            _joined(pictures[trace.episode], story_of(trace), trace.outcome).save(path)
            written.append(path)
    return written


def rows_of(trace: EpisodeTrace) -> list[int]:
    """The rows that a strip shows, from the first to the last, closer together towards an end that is an event."""
    last = trace.last_row
    parts = np.linspace(0.0, 1.0, MOMENTS)
    if trace.outcome != "timeout":
        parts = 1.0 - np.square(1.0 - parts)
    return sorted({round(float(part) * last) for part in parts}) if last >= 0 else []


def _joined(pictures: Sequence[tuple[float, Image.Image]], story: str, outcome: str) -> Image.Image:
    width, height = _SIZE
    sheet = Image.new("RGB", (len(pictures) * (width + _GAP) - _GAP, height + _HEAD), "white")
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((0, 5, 8, _HEAD - 7), fill=palette.outcome_colour(outcome))
    draw.text((15, _HEAD / 2 - 1), story, font=overlay.font(14), fill=palette.rgb(palette.INK), anchor="lm")
    for index, (seconds, picture) in enumerate(pictures):
        left = index * (width + _GAP)
        sheet.paste(picture, (left, _HEAD))
        text, font = f"{seconds:.2f} s", overlay.font(13)
        box = (left + 5, _HEAD + 5, left + 13 + font.getlength(text), _HEAD + 23)
        draw.rounded_rectangle(box, radius=4, fill="white")
        draw.text((left + 9, _HEAD + 14), text, font=font, fill=palette.rgb(palette.INK), anchor="lm")
    return sheet
