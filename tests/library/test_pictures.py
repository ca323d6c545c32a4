"""Pictures are what their content says, small in the end, and no trap."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robo_ppo.errors import UserError
from robo_ppo.library import pictures
from robo_ppo.library.pictures import LONGEST_SIDE, read_picture
from tests.library.librarian import picture


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png), formats=("PNG",)) as found:
        assert found.mode == "RGB"
        return found.size


@pytest.mark.parametrize(("name", "mode"), [("a.png", "RGBA"), ("a.png", "1"), ("a.png", "I;16"), ("a.jpg", "L")])
def test_a_picture_becomes_a_png(tmp_path: Path, name: str, mode: str) -> None:
    assert size_of(read_picture(picture(tmp_path / name, mode=mode))) == (64, 48)


def test_a_large_one_is_made_small(tmp_path: Path) -> None:
    assert size_of(read_picture(picture(tmp_path / "a.jpg", (3000, 1500)))) == (LONGEST_SIDE, LONGEST_SIDE // 2)


def test_nothing_but_pixels_is_given_on(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "my home address", 6  # a description, and: turn it by a quarter
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg", exif=exif, comment=b"my home address")
    png = read_picture(tmp_path / "a.jpg")
    assert b"home" not in png and size_of(png) == (48, 64)


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.parametrize("side", [5000, 8000, 10_000, 60_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(bomb(side, side))
    with pytest.raises(UserError, match=r"would have|is damaged"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<svg/>", b"%!PS-Adobe\n", b"RIFF0000WEBP"])
def test_other_files_are_refused_whatever_their_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match="is neither a PNG nor a JPEG picture"):
        read_picture(tmp_path / "a.png")


def test_what_is_no_file_or_too_large_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no picture"):
        read_picture(tmp_path)
    with pytest.raises(UserError, match="there is no picture"):
        read_picture(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "LARGEST_FILE", 100)
    with pytest.raises(UserError, match="is larger than"):
        read_picture(picture(tmp_path / "a.png"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_damaged_one_is_refused_or_still_a_picture(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    output = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).save(output, kind)
    whole, path = output.getvalue(), tmp_path / "a"
    for _ in range(50):
        damaged = bytearray(whole[: rng.integers(4, len(whole) + 1)])
        for place in rng.integers(3, len(damaged), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert max(size_of(read_picture(path))) <= LONGEST_SIDE
        except UserError:
            continue
