"""A checkpoint is whole or refused, and an accident while writing leaves the one before."""

import errno
import os
import pickle
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from robo_ppo.errors import UserError
from robo_ppo.run import checkpoint
from tests.run.training import ROOT, run


def content(seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {"steps": seed, "ranks": [{"weights": torch.randn(5000, generator=generator)}]}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return torch.equal(one["ranks"][0]["weights"], other["ranks"][0]["weights"])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return checkpoint.save(tmp_path, 1000, content())


def test_what_is_written_is_read(saved: Path) -> None:
    assert same(checkpoint.read(saved), content())
    assert checkpoint.newest(saved.parent.parent) == saved


def test_the_newest_is_the_one_with_most_steps(tmp_path: Path) -> None:
    for steps in (999_999_999, 5, 1_000_000_000_000, 70):
        checkpoint.write(tmp_path / "checkpoints" / f"step_{steps:012d}.pt", content())
    assert checkpoint.newest(tmp_path).name == "step_1000000000000.pt"


def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no checkpoint to resume from"):
        checkpoint.newest(tmp_path)
    with pytest.raises(UserError, match="there is no checkpoint"):
        checkpoint.read(tmp_path / "checkpoints/best.pt")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 0.9999])
def test_a_truncated_one_is_refused(saved: Path, share: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=f"{saved.name} cannot be read: it is damaged or not a checkpoint"):
        checkpoint.read(saved)


def test_a_single_altered_bit_is_refused(saved: Path) -> None:
    whole, draw = saved.read_bytes(), random.Random(0)
    for _ in range(60):
        altered = bytearray(whole)
        altered[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        saved.write_bytes(altered)
        try:
            assert same(checkpoint.read(saved), content())  # a bit of the padding, which means nothing
        except UserError as error:
            assert saved.name in str(error)


def test_torch_alone_would_not_notice_an_altered_bit(saved: Path) -> None:
    altered = bytearray(saved.read_bytes())
    altered[len(altered) // 2] ^= 1  # within the weights, which are nearly all of it
    saved.write_bytes(altered)
    assert not same(torch.load(saved, weights_only=True), content())
    with pytest.raises(UserError, match="its content has been altered or damaged"):
        checkpoint.read(saved)


def test_the_refusal_names_the_one_before(saved: Path) -> None:
    broken = checkpoint.save(saved.parent.parent, 2000, content(1))
    broken.write_bytes(b"")
    with pytest.raises(UserError, match=f"without it, {saved.name} would be the newest"):
        checkpoint.read(broken)


class Harm:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, (str(Path(os.environ["HARM"])),)


@pytest.mark.parametrize("as_torch", [True, False])
def test_code_in_a_checkpoint_is_not_run(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_torch: bool
) -> None:
    monkeypatch.setenv("HARM", str(tmp_path / "harm"))
    thing = {"schema": checkpoint.SCHEMA, "ranks": Harm()}
    if as_torch:
        torch.save(thing, saved)
    else:
        saved.write_bytes(pickle.dumps(thing))
    with pytest.raises(UserError, match="it is damaged or not a checkpoint"):
        checkpoint.read(saved)
    assert not (tmp_path / "harm").exists()


def test_other_files_and_other_schemas_are_refused(saved: Path) -> None:
    torch.save([1, 2, 3], saved)
    with pytest.raises(UserError, match="it is not a checkpoint of robo_ppo"):
        checkpoint.read(saved)
    torch.save({"schema": 99}, saved)
    with pytest.raises(UserError, match="has schema 99; this version of robo_ppo reads schema 1"):
        checkpoint.read(saved)


@pytest.mark.parametrize("broken", ["fsync", "save", "replace"])
def test_a_full_disk_leaves_the_earlier_one(saved: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch if broken == "save" else os, broken, full)
    with pytest.raises(UserError, match=r"cannot write .*: No space left on device; earlier checkpoints are unharmed"):
        checkpoint.save(saved.parent.parent, 1000, content(1))
    monkeypatch.undo()
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    assert same(checkpoint.read(saved), content())


def test_a_disk_that_really_takes_no_more(saved: Path) -> None:
    """A limit on the size of files fails as a full disk does, in the middle of writing."""
    program = (
        "import resource, sys, torch; from pathlib import Path; from robo_ppo.run import checkpoint; "
        "from robo_ppo.errors import UserError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try: checkpoint.save(Path(sys.argv[1]), 2000, {'ranks': [torch.zeros(100_000)]})\n"
        "except UserError as error: print(error); sys.exit(2)\n"
    )
    done = run([sys.executable, "-c", program, str(saved.parent.parent)], ROOT)
    assert done.returncode == 2, done.stderr
    assert "step_000000002000.pt: " in done.stdout
    assert "earlier checkpoints are unharmed" in done.stdout
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    assert same(checkpoint.read(saved), content())


def test_what_a_killed_run_left_half_written_is_cleared(saved: Path) -> None:
    (saved.parent / "step_000000001500.tmp").write_bytes(b"half")
    checkpoint.save(saved.parent.parent, 2000, content())
    assert [p.name for p in checkpoint.numbered(saved.parent.parent)] == [saved.name, "step_000000002000.pt"]
    assert not list(saved.parent.glob("*.tmp"))
