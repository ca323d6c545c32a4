"""Writing a bundle: sealed, whole or not at all, and the same bytes from the same contract."""

import dataclasses
import errno
import hashlib
import os
import re
import resource
from pathlib import Path

import onnx
import pytest

from robo_ppo.errors import UserError
from robo_ppo.export.bundle import replace_evaluation, write_bundle
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.contract import Contract, contract_to_json


def test_what_is_written_is_read(path: Path, contract: Contract, model: onnx.ModelProto) -> None:
    bundle = read_bundle(path)
    assert dataclasses.replace(bundle.contract, sha256="") == contract
    assert onnx.load_from_string(bundle.model).graph == model.graph
    assert not model.metadata_props  # the caller's model is untouched


def test_the_hash_is_that_of_the_file_with_its_own_characters_zeroed(path: Path) -> None:
    data = path.read_bytes()
    digest = read_bundle(path).contract.sha256.encode()
    assert data.count(digest) == 1
    assert hashlib.sha256(data.replace(digest, b"0" * 64)).hexdigest().encode() == digest


def test_the_same_contract_gives_the_same_bytes(path: Path, model: onnx.ModelProto, contract: Contract) -> None:
    before = path.read_bytes()
    write_bundle(path, model, contract)
    assert path.read_bytes() == before


def test_the_evaluation_is_filled_in_and_nothing_else_changes(path: Path) -> None:
    before = read_bundle(path)
    evaluation = {"success": 0.97, "interval": [0.95, 0.98], "sha256": "0" * 64, "causes": {"contact": 3}}
    contract = replace_evaluation(path, evaluation)
    after = read_bundle(path)
    assert after.contract == contract
    assert contract.evaluation == evaluation
    assert dataclasses.replace(contract, evaluation=None, sha256=before.contract.sha256) == before.contract
    assert contract.sha256 != before.contract.sha256


def test_a_full_disk_keeps_the_earlier_file(
    path: Path, model: onnx.ModelProto, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write the policy bundle .*policy\.onnx: No space left on device"):
        write_bundle(path, model, dataclasses.replace(contract, task="another"))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_refusal_of_the_kernel_keeps_the_earlier_file(path: Path) -> None:
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UserError, match="File too large"):
            replace_evaluation(path, {"success": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, model: onnx.ModelProto, contract: Contract) -> None:
    with pytest.raises(UserError, match=r"cannot write the policy bundle .*No such file or directory"):
        write_bundle(tmp_path / "missing" / "policy.onnx", model, contract)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write the policy bundle .*Not a directory"):
        write_bundle(tmp_path / "file" / "policy.onnx", model, contract)
    (tmp_path / "file").unlink()
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(UserError, match=r"cannot write the policy bundle .*Is a directory"):
        write_bundle(tmp_path / "folder.onnx", model, contract)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.onnx"]


def test_the_metadata_is_one_document_in_ascii(path: Path, contract: Contract) -> None:
    entries = onnx.load(path).metadata_props
    assert [entry.key for entry in entries] == ["robo_ppo"]
    assert entries[0].value.isascii()
    assert re.sub('"[0-9a-f]{64}"', '""', entries[0].value, count=1) == contract_to_json(contract)
