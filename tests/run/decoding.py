"""What a film's file holds, as ffmpeg reads it."""

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np


def decode(path: Path) -> tuple[str, np.ndarray]:
    """What ffmpeg says of a film's stream, and its pictures (frames, height, width, 3)."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    run = subprocess.run(command, capture_output=True, check=True)
    stream = next(line for line in run.stderr.decode().splitlines() if "Video:" in line)
    size = re.search(r" (\d+)x(\d+)[, ]", stream)
    assert size is not None, stream
    return stream, np.frombuffer(run.stdout, np.uint8).reshape(-1, int(size[2]), int(size[1]), 3)
