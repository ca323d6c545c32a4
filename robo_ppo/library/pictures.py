"""Pictures that people hand in: checked by what they are, not by their name, and made small.

    png = read_picture("scene.jpg")                  # bytes of a PNG, at most 1024 pixels wide and high

Only PNG and JPEG are decoded, by Pillow. The size that the header promises is compared with a limit before anything is
unpacked, so that a small file cannot fill the memory; what comes out has neither the place where a photograph was taken
nor anything else beside the pixels.
"""

import io
import struct
import warnings
import zlib
from pathlib import Path

from PIL import Image, ImageOps

from robo_ppo.errors import UserError
from robo_ppo.library.plain import plain

LARGEST_FILE = 20_000_000  # bytes
MOST_PIXELS = 50_000_000  # of a file
MOST_UNPACKED = 16_000_000  # of what is unpacked: of a JPEG, an eighth of its width and height where that is enough
LONGEST_SIDE = 1024  # of what is given on; vision models look at no more
_KINDS = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff"}
# What Pillow raises for files that are damaged in one way or another.
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error)


def read_picture(path: str | Path) -> bytes:
    """A picture file as a PNG of bounded size; UserError for what is not a picture or is too large."""
    file, shown = Path(path), plain(str(path))
    try:
        if not file.is_file():
            raise UserError(f"there is no picture {shown}")
        with file.open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the picture {shown}: {error}") from error
    if len(data) > LARGEST_FILE:
        raise UserError(f"the picture {shown} is larger than {LARGEST_FILE / 1e6:.0f} MB")
    kinds = [kind for kind, start in _KINDS.items() if data.startswith(start)]
    if not kinds:
        raise UserError(f"{shown} is neither a PNG nor a JPEG picture")
    try:
        return _small_png(data, kinds, shown)
    except (*_DAMAGED, zlib.error, Image.DecompressionBombError) as error:
        raise UserError(f"the picture {shown} is damaged: {plain(str(error), 200)}") from error


def _small_png(data: bytes, kinds: list[str], shown: str) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large pictures and of odd metadata
        with Image.open(io.BytesIO(data), formats=kinds) as picture:
            width, height = picture.size
            _check_size(width, height, MOST_PIXELS, shown)
            picture.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
            _check_size(*picture.size, MOST_UNPACKED, shown)
            small = picture.convert("RGB")
            small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            upright = ImageOps.exif_transpose(small)
    clean = Image.new("RGB", upright.size)
    clean.paste(upright)
    output = io.BytesIO()
    clean.save(output, "PNG")
    return output.getvalue()


def _check_size(width: int, height: int, most: int, shown: str) -> None:
    if width * height > most:
        raise UserError(
            f"the picture {shown} would have {width} × {height} pixels, where {most / 1e6:.0f} million are allowed; "
            "make it smaller"
        )
