"""`python -m robo_ppo.export`: a run or a bundle becomes files, and bundles are looked into and checked."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robo_ppo.errors import UserError
from robo_ppo.export.bundle import parse_model, replace_evaluation, write_bundle
from robo_ppo.run import checkpoint
from robo_ppo.run.export import export_run, main, options_of, same_policy
from robo_ppo.run.folder import load_config, shipped_policies
from robo_ppo_onboard.bundle import read_bundle
from tests.run.by_hand import hover_config, make_run
from tests.run.training import command, run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a checkpoint and a policy. Not to be written to."""
    runs = tmp_path_factory.mktemp("runs")
    return make_run(runs / "run", hover_config(runs))


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_run_again_keeps_the_evaluation_of_the_same_policy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "policy.onnx"
    replace_evaluation(path, {"success": 0.75})
    before = read_bundle(path)
    assert main([f"run={folder}"]) == 0
    after = read_bundle(path)
    assert after.contract.evaluation == {"success": 0.75}
    assert same_policy(before, after)
    told = capsys.readouterr().out
    assert after.contract.sha256 in told and "position" in told and "collective_thrust" in told
    assert re.search(r"golden sequence within \d\.\de-\d\d", told)
    assert sorted(path.name for path in folder.glob("*.onnx")) == ["policy.onnx"]


def test_another_policy_is_not_given_the_evaluation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, best = folder / "policy.onnx", folder / "checkpoints" / checkpoint.BEST
    replace_evaluation(path, {"success": 0.75})
    before, content = read_bundle(path), checkpoint.read(best)
    content["model"]["actor.0.bias"][0] += 0.01
    del content["schema"]
    checkpoint.write(best, content)
    bundle = export_run(load_config(folder), folder)
    assert bundle.contract.evaluation is None and not same_policy(before, bundle)
    assert "was of another policy" in capsys.readouterr().out


def test_into_another_folder(folder: Path, tmp_path: Path) -> None:
    before = (folder / "policy.onnx").read_bytes()
    assert main([f"run={folder}", f"output={tmp_path / 'new' / 'place'}"]) == 0
    assert same_policy(read_bundle(folder / "policy.onnx"), read_bundle(tmp_path / "new/place/policy.onnx"))
    assert (folder / "policy.onnx").read_bytes() == before


def test_a_damaged_file_is_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "policy.onnx").write_bytes(b"damaged")
    assert main([f"run={folder}"]) == 0
    assert "the earlier file is replaced" in capsys.readouterr().out
    assert main(["verify", str(folder / "policy.onnx")]) == 0


def test_c_code_of_a_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "policy.onnx").unlink()
    assert main([f"run={folder}", "format=c"]) == 0
    sha256 = read_bundle(folder / "policy.onnx").contract.sha256
    assert sha256 in (folder / "c/uav_hover.h").read_text()
    assert (folder / "c/uav_hover.c").is_file()
    assert "self-test on this machine: largest error" in capsys.readouterr().out


def test_a_shipped_policy_written_anew_flies_as_before(tmp_path: Path) -> None:
    assert main(["bundle=uav_hover", f"output={tmp_path}"]) == 0
    before, after = read_bundle(shipped_policies()["uav_hover"]), read_bundle(tmp_path / "policy.onnx")
    assert same_policy(before, after)
    assert after.contract.evaluation == before.contract.evaluation
    assert after.contract.training.commit == before.contract.training.commit


def test_a_bundle_of_another_task_than_todays_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = read_bundle(folder / "policy.onnx")
    thrust = bundle.contract.golden.outputs["collective_thrust"]
    outputs = {**bundle.contract.golden.outputs, "collective_thrust": thrust + np.float32(0.1)}
    golden = replace(bundle.contract.golden, outputs=outputs)
    write_bundle(tmp_path / "other.onnx", parse_model(bundle.model), replace(bundle.contract, golden=golden))
    assert main([f"bundle={tmp_path / 'other.onnx'}", f"output={tmp_path / 'anew'}"]) == 2
    assert "today's uav_hover is not the one" in capsys.readouterr().err
    assert not list((tmp_path / "anew").iterdir())


def test_a_bundle_that_does_not_give_its_golden_commands_fails(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "policy.onnx"
    bundle = read_bundle(path)
    model = parse_model(bundle.model)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "policy.actor.0.bias")
    values = np.frombuffer(bias.raw_data, np.float32).copy()
    values[0] += 0.01
    bias.raw_data = values.tobytes()
    write_bundle(path, model, bundle.contract)
    assert main(["verify", str(path)]) == 2
    told = capsys.readouterr().err
    assert "does not give its golden commands here: collective_thrust by" in told
    path.write_bytes(path.read_bytes()[:-7])
    assert main(["verify", str(path)]) == 2
    assert "is not a usable policy bundle" in capsys.readouterr().err


def test_inspect_shows_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "uav_nav"]) == 0
    told = capsys.readouterr().out
    contract = read_bundle(shipped_policies()["uav_nav"]).contract
    for port in (*contract.inputs, *contract.outputs):
        assert re.search(rf"^  {port.name} +.*{re.escape(port.unit)}", told, re.MULTILINE)
    for text in (
        "every 0.02 s (50 Hz)",
        "last_action",
        "max_roll_rate_rad_s",
        "seed 0",
        "99.2%",
        "quaternion wxyz",
        "0 … 0.02",
    ):
        assert text in told
    assert contract.sha256 in told and contract.training.commit in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say what to export"),
        (["run=latest", "bundle=x"], "say what to export"),
        (["rnu=latest"], "did you mean run"),
        (["run"], "given once and with a value"),
        (["run=a", "run=b"], "given once"),
        (["run=a", "format=cpp"], "it is onnx or c"),
        (["run=a", "target=stm32f405"], "add format=c"),
    ],
)
def test_arguments_that_make_no_sense(arguments: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        options_of(arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run=latest", "runs=nowhere"], "there is no run in"),
        (["bundle=uav_hver", "format=c"], "did you mean uav_hover"),
        (["bundle=uav_hover"], "say which with output="),
        (["bundle=uav_hover", "format=c", "target=z80"], "target=z80 is not known; there are stm32f405"),
        (["inspect"], "inspect takes one bundle"),
        (["verify", "nowhere.onnx"], "cannot read the policy bundle"),
    ],
)
def test_mistakes_end_in_one_message(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert told in capsys.readouterr().err


def test_both_entry_points(tmp_path: Path) -> None:
    module = [command()[0], "-m", "robo_ppo.export"]
    script = [str(Path(command()[0]).with_name("robo-ppo")), "export"]
    done = [run([*start, "--help"], tmp_path) for start in (module, script)]
    assert [(d.returncode, d.stderr) for d in done] == [(0, "")] * 2
    assert done[0].stdout == done[1].stdout and done[0].stdout.startswith("usage: python -m robo_ppo.export")
    assert run([*module, "verify", "nowhere.onnx"], tmp_path).returncode == 2
