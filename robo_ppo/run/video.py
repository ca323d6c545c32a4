"""Films of recorded episodes: a follow camera, the scene's shapes, the path flown, readings and a map.

    film(Path("evaluation/video.mp4"), robot_spec, traces)

The camera stands behind the vehicle on the line to its goal. Since an episode is recorded before it is filmed, the
camera's place is smoothed with a filter that looks both ways in time: it neither lags nor shakes. An obstacle that
comes between camera and vehicle turns translucent. Shadows and reflections are left out: they are slow to compute.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import mujoco
import numpy as np
from PIL import Image

from robo_ppo.run import overlay
from robo_ppo.run.rendering import RenderingUnavailable, Studio, choose_gl
from robo_ppo.run.stage import build_stage, draw_path, draw_shapes
from robo_ppo.run.trace import EpisodeTrace

__all__ = ["RenderingUnavailable", "choose_gl", "film", "frames", "moments", "write_film"]

_HOLD_SECONDS = 0.6  # how long the last picture of an episode stays
_ELEVATION = -16.0  # deg, of the camera's line of sight


def film(
    path: Path,
    spec: mujoco.MjSpec,
    traces: Sequence[EpisodeTrace],
    *,
    fps: int = 25,
    size: tuple[int, int] = (640, 480),
    max_seconds: float = 20.0,
) -> Path:
    """Write an H.264 film of the episodes to `path` (.mp4) and return it.

    `spec` is the robot's, whose `qpos` the traces hold; it is copied, never changed. Whole episodes are shown in the
    order given, as many as fit into `max_seconds`; a first one that is longer is cut. `size` is (width, height).

    Raises:
        RenderingUnavailable: no OpenGL library or no ffmpeg works on this machine.
    """
    if not traces:
        raise ValueError("a film needs at least one episode")
    return write_film(path, frames(spec, traces, fps=fps, size=size, max_seconds=max_seconds), fps=fps)


def write_film(path: Path, pictures: Iterator[np.ndarray], *, fps: float) -> Path:
    """Write pictures (height, width, 3) uint8 as an H.264 film to `path` (.mp4) and return it.

    Raises:
        RenderingUnavailable: no ffmpeg works on this machine, or there is no picture.
    """
    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise RenderingUnavailable(
            f"films need ffmpeg: pip install imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE ({error})"
        ) from error
    first = next(pictures, None)
    if first is None:
        raise RenderingUnavailable("there is nothing to film: no episode has a finite state")
    height, width = first.shape[:2]
    # H.264 needs even numbers of pixels.
    even = (slice(height // 2 * 2), slice(width // 2 * 2))
    # The film appears under its name only when it is whole.
    unfinished = path.with_name(f".{path.stem}.partial.mp4")
    writer = imageio_ffmpeg.write_frames(
        str(unfinished),
        (width // 2 * 2, height // 2 * 2),
        fps=fps,  # pyright: ignore[reportArgumentType]  # it goes to ffmpeg as text
        codec="libx264",
        pix_fmt_out="yuv420p",
        macro_block_size=2,
        output_params=["-crf", "22", "-preset", "veryfast", "-movflags", "+faststart"],
    )
    try:
        writer.send(None)  # starts ffmpeg
        for picture in itertools.chain([first], pictures):
            writer.send(np.ascontiguousarray(picture[even]).tobytes())
        writer.close()
        unfinished.replace(path)
    finally:
        writer.close()
        unfinished.unlink(missing_ok=True)
    return path


def frames(
    spec: mujoco.MjSpec,
    traces: Sequence[EpisodeTrace],
    *,
    fps: int = 25,
    size: tuple[int, int] = (640, 480),
    max_seconds: float = 20.0,
) -> Iterator[np.ndarray]:
    """The pictures of a film one by one, (height, width, 3) uint8; the parameters are those of `film`."""
    model = build_stage(spec, traces, size)
    data = mujoco.MjData(model)
    distance = _distance(spec)
    remaining = round(max_seconds * fps)
    with Studio(model, size) as studio:
        for index, trace in enumerate(traces):
            rows = _rows(trace, fps)
            if index == 0:
                rows = rows[:remaining]
            if not rows or len(rows) > remaining:
                continue
            remaining -= len(rows)
            path = _camera_path(trace)
            chart = overlay.SceneMap(trace.position[: rows[-1] + 1], trace.shapes[0])
            for row in rows:
                yield _labelled(_view(studio, model, data, trace, row, path, distance), trace, row, chart)


def moments(
    spec: mujoco.MjSpec, wanted: Sequence[tuple[EpisodeTrace, Sequence[int]]], *, size: tuple[int, int]
) -> Iterator[tuple[EpisodeTrace, int, np.ndarray]]:
    """Single pictures of episodes at the given rows, as a film would show them but with nothing written over them.

    Raises:
        RenderingUnavailable: no OpenGL library works on this machine.
    """
    wanted = [(trace, rows) for trace, rows in wanted if rows]
    if not wanted:
        return
    model, distance = build_stage(spec, [trace for trace, _ in wanted], size), _distance(spec)
    data = mujoco.MjData(model)
    with Studio(model, size) as studio:
        for trace, rows in wanted:
            path = _camera_path(trace)
            for row in rows:
                yield trace, row, _view(studio, model, data, trace, row, path, distance)


def _rows(trace: EpisodeTrace, fps: int) -> list[int]:
    """The trace's row for each frame; the last is held. A state that is not finite ends the episode's film."""
    last = trace.last_row
    if last < 0:
        return []
    count = int(last * trace.control_period * fps + 1e-6) + 1
    moving = [min(round(frame / fps / trace.control_period), last) for frame in range(count)]
    return moving + [last] * max(1, round(_HOLD_SECONDS * fps))


def _distance(spec: mujoco.MjSpec) -> float:
    """From camera to vehicle, m: about eight times its size keeps a small one in view with what it must avoid."""
    return float(np.clip(8.0 * spec.copy().compile().stat.extent, 0.9, 4.5))


@dataclass(frozen=True)
class _CameraPath:
    """Where the camera looks in each row."""

    target: np.ndarray  # (rows, 3)
    azimuth: np.ndarray  # (rows,) deg, the direction of sight


def _camera_path(trace: EpisodeTrace) -> _CameraPath:
    """Look at the vehicle smoothly, from behind, in the direction of its goal (without one, of its last position)."""
    position = trace.position[: trace.last_row + 1]
    ahead = np.empty((len(position), 2))
    for row, shapes in enumerate(trace.shapes[: len(position)]):
        goal = next((shape.position for shape in shapes if shape.role == "goal"), tuple(position[-1]))
        ahead[row] = np.subtract(goal, position[row])[:2]
    # Close to the goal its direction means nothing any more: the last good one stays.
    far = np.linalg.norm(ahead, axis=1) > 0.8
    keep = np.maximum.accumulate(np.where(far, np.arange(len(far)), int(far.argmax())))
    azimuth = np.unwrap(np.arctan2(ahead[keep, 1], ahead[keep, 0]))
    return _CameraPath(
        target=_smooth(position, 0.25 / trace.control_period),
        azimuth=np.degrees(_smooth(azimuth[:, None], 0.8 / trace.control_period)[:, 0]),
    )


def _smooth(values: np.ndarray, deviation: float) -> np.ndarray:
    """Each column of `values` (rows, n) filtered by a Gaussian of this many rows, the ends held."""
    reach = max(1, int(3 * deviation))
    kernel = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / deviation))
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    columns = [np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T]
    return np.stack(columns, axis=1)


def _labelled(view: np.ndarray, trace: EpisodeTrace, row: int, chart: overlay.SceneMap) -> np.ndarray:
    """One frame: what is seen, and what is written over it."""
    image = Image.fromarray(view)
    readings = [overlay.reading_text(label, float(values[row])) for label, values in trace.readings.items()]
    time = ("time", f"{row * trace.control_period:.2f} s")
    overlay.draw_panel(image, f"Episode {trace.episode}", [time, *readings])
    chart.draw(image, trace.position[: row + 1], trace.shapes[row])
    if row == trace.last_row:
        overlay.draw_outcome(image, trace.outcome)
    return np.asarray(image)


def _view(
    studio: Studio,
    model: mujoco.MjModel,
    data: mujoco.MjData,
    trace: EpisodeTrace,
    row: int,
    path: _CameraPath,
    distance: float,
) -> np.ndarray:
    """The vehicle in its scene, (height, width, 3) uint8."""
    data.qpos[:] = trace.qpos[row]
    mujoco.mj_forward(model, data)
    camera = mujoco.MjvCamera()
    camera.lookat[:] = path.target[row] + (0.0, 0.0, 0.06 * distance)
    camera.azimuth, camera.elevation, camera.distance = path.azimuth[row], _ELEVATION, distance
    studio.look(data, camera)
    draw_shapes(studio, trace.shapes[row], trace.position[row])
    draw_path(studio, trace.position[: row + 1])
    return studio.picture()
