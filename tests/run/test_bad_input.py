"""A person's mistake ends in one message that names it and what would be right, with exit code 2, and loses nothing.

Mistakes in the configuration are shown by the real scripts before torch or MuJoCo are imported. Those that only the
task can know go through the same entry point in this process, where both have been imported already.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from robo_ppo import command_line
from tests.run.training import ROOT, TINY, check_refusal, environment, run

OWN = str(Path(__file__).with_name("own_package"))

# Runs a script with each line of words that it reads, and writes how each ended and what had been imported by then.
WATCHED = """
import contextlib, io, json, os, runpy, sys
script = sys.argv[1]
for line in sys.stdin:
    sys.argv = [script, *line.split()]
    code, said = None, io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as ended:
            code = ended.code
    imported = [name for name in ("torch", "mujoco", "onnx", "matplotlib") if name in sys.modules]
    print(json.dumps([code, said.getvalue(), imported, os.listdir()]))
"""


MISTAKES = [
    ("task=uav_hoover", "there is no task=uav_hoover; did you mean uav_hover?"),
    ("robot=crazyfly", "there is no robot=crazyfly; did you mean crazyflie?"),
    ("reward=uav_nva", "there is no reward=uav_nva; did you mean uav_nav or"),
    ("task.episode_second=3", "there is no 'episode_second' in task; did you mean episode_seconds?"),
    ("ppo.gama=0.9", "there is no 'gama' in ppo; did you mean gamma?"),
    ("+ppo.gama=0.9", "there is no 'gama' in ppo; did you mean gamma?"),
    ("+nmu_envs=64", "there is no 'nmu_envs' in the configuration; did you mean num_envs?"),
    ("reward.progres.weight=1", "there is no 'progres' in reward; did you mean progress?"),
    ("task.measurements.gyr.noise=1", "there is no 'gyr' in task.measurements; did you mean gyro?"),
    ("+task.measurements.gyro.nois=1", "there is no 'nois' in task.measurements.gyro; did you mean noise?"),
    ("+task.measurements.wind.noise=1", "write '+task.measurements={wind: {…}}'"),
    ("num_envs=many", "num_envs=many: Value 'many' of type 'str' could not be converted to Integer"),
    ("ppo.gamma=high", "ppo.gamma=high: Value 'high' of type 'str' could not be converted to Float"),
    ("ppo.horizon=1.5", "ppo.horizon=1.5: Value '1.5' of type 'float' could not be converted to Integer"),
    ("policy.hidden=64", "policy.hidden=64: Invalid value assigned: int is not a ListConfig, list or tuple."),
    ("num_envs", "Error parsing override 'num_envs'"),
    ("~task", "task.name has no value; give it one with task.name=…"),
    ("num_envs=0", "num_envs must be at least 1, not 0"),
    ("total_steps=-5", "total_steps must be at least 1, not -5"),
    ("checkpoint_every=0", "checkpoint_every must be at least 1, not 0"),
    ("task.timestep=0", "task.timestep must be greater than 0, not 0.0"),
    (
        "num_envs=65 ranks=2",
        "num_envs=65 cannot be shared equally by 2 ranks; 66 can, or choose ",
    ),
    ("num_envs=10 ranks=1 ppo.minibatches=3", "ppo.minibatches=3 does not divide the 320 samples of an iteration"),
    ("num_envs=64 ranks=2 policy=gru ppo.minibatches=64", "policy.recurrent=gru learns from whole ones"),
    ("task.observation.history=0", "task.observation.history must be at least 1, not 0"),
    ("validation.episodes=1 ranks=2", "validation.episodes=1 must be at least the number of ranks, 2"),
    ("device=cuda", "device=cuda; sim=mujoco_cpu runs on device=cpu alone"),
    ("resume=nowhere", "there is no run in {cwd}/nowhere"),
    ("init=nowhere", "there is no run in {cwd}/nowhere"),
    ("resume=latest", "there is no run in {cwd}/runs yet; train one with python train.py"),
    ("resume=.", "{cwd} is not a run: it has no config.yaml"),
]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: object
    stderr: str
    imported: list[str]
    left: list[str]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Ended]]:
    """The folder in which all of them were made, and what came of each; one process makes them one after another."""
    folder = tmp_path_factory.mktemp("mistakes")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(ROOT / "train.py")],
        input="\n".join(arguments for arguments, _ in MISTAKES),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [Ended(*json.loads(line)) for line in done.stdout.splitlines()]
    return folder, {arguments: one for (arguments, _), one in zip(MISTAKES, found, strict=True)}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES)
def test_mistakes_in_the_configuration(ended: tuple[Path, dict[str, Ended]], arguments: str, said: str) -> None:
    folder, one = ended[0], ended[1][arguments]
    check_refusal(one.code, one.stderr, said.replace("{cwd}", str(folder)))
    assert one.imported == one.left == []


def test_an_opengl_library_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "bogus")
    done = run([sys.executable, str(ROOT / "train.py"), *TINY], tmp_path)
    check_refusal(done.returncode, done.stderr, "MUJOCO_GL: bogus; unset it, or take egl, osmesa or glfw")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["+task.observation.policy={gyroo: {}}"], "there is no signal 'gyroo'; did you mean gyro?"),
        (["+task.measurements={gyroo: {noise: 1}}"], "there is no measurement 'gyroo'; did you mean gyro?"),
        (["+reward.progres.weight=1"], "there is no reward term 'progres'; did you mean progress?"),
        (["reward.progress.weight=-1"], "reward.progress.weight must be a number ≥ 0, not -1"),
        (["reward.near_goal.speed=far"], "reward.near_goal: speed must be of type float, not 'far'"),
        (["+reward.near_goal.distanse=1"], "reward.near_goal has no setting 'distanse'; did you mean distance?"),
        (["+randomization.parameters.mas=[1,2]"], "no parameter 'mas' to randomize; did you mean mass?"),
        (["+task.settings.gaol_radius=1"], "task.settings has no 'gaol_radius'; did you mean goal_radius?"),
        (["robot.action=motor"], "did you mean motors?"),
        (["ppo.gamma=2"], "ppo.gamma must lie in [0, 1], not 2.0"),
        (["ppo.surrogate=clipp"], "ppo.surrogate=clipp; did you mean clip?"),
        (["policy.activation=rellu"], "policy.activation=rellu; did you mean"),
        (["policy.recurrent=lstm"], "policy.recurrent=lstm; it must be none or gru"),
        (["policy.initial_std=5"], "min_std ≤ initial_std ≤ max_std must hold"),
        (["task.entry_point=nowhere:Task"], "task.entry_point=nowhere:Task: No module named 'nowhere'"),
        (["task.entry_point=robo_ppo.tasks.uav.hover"], "it must be 'module:Class'"),
        (["sim.backend=bullet"], "sim.backend=bullet; known: isaac_gym, mujoco_cpu, mujoco_warp"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_mistakes_that_the_task_knows(
    train: Callable[..., None], tmp_path: Path, arguments: list[str], said: str
) -> None:
    train(*TINY, *arguments, said=said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("whole_position", "'whole_position' must return one value per environment, (num_envs,), not (num_envs, 3)"),
        ("over_all", "over_all"),
    ],
)
def test_a_reward_term_of_the_wrong_shape(
    train: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, term: str, said: str
) -> None:
    monkeypatch.syspath_prepend(OWN)
    train(*TINY, "task.entry_point=odd_tasks:OddTask", f"+reward.{term}.weight=1", said=said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("ranks", "added", "said"),
    [
        (1, "+reward.logarithm.weight=1", "the reward term 'logarithm' returned a value that is not finite"),
        (2, "+reward.logarithm.weight=1", "the reward term 'logarithm' returned a value that is not finite"),
        (1, "+task.observation.policy={root: {}}", "the signal 'root' took a value that is not finite"),
        (1, "+task.observation.critic={root: {}}", "the signal 'root' took a value that is not finite"),
    ],
)
def test_what_is_not_finite_is_named_and_the_last_checkpoint_kept(
    train: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ranks: int, added: str, said: str
) -> None:
    monkeypatch.syspath_prepend(OWN)
    train(*TINY, "task.entry_point=odd_tasks:OddTask", f"ranks={ranks}", added, said=said)
    assert [path.name for path in (tmp_path / "runs/latest/checkpoints").iterdir()] == ["step_000000000000.pt"]


def test_debug_names_the_cause(train: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The observed signal, not the reward and the action that would be the first to be noticed."""
    monkeypatch.syspath_prepend(OWN)
    said = "debug: 'root' is not finite in step "
    train(*TINY, "task.entry_point=odd_tasks:OddTask", "+task.observation.critic={root: {}}", "debug=true", said=said)


@pytest.mark.parametrize("runs", ["{cwd}/file", "{cwd}/file/below", "/proc/runs"])
def test_a_place_that_cannot_be_written_to(train: Callable[..., None], tmp_path: Path, runs: str) -> None:
    (tmp_path / "file").write_text("in the way")
    runs = runs.replace("{cwd}", str(tmp_path))
    train(*TINY, f"runs={runs}", said=f"cannot make the run's folder {runs}/uav_hover/")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_is_full_when_the_metrics_are_written(tmp_path: Path) -> None:
    """Files may grow to 55 kB: enough for the first checkpoint, but not for what comes after it."""
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (55_000, 55_000)); "
    program = limited + "sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
    done = run(
        [sys.executable, "-c", program, str(ROOT / "train.py"), *TINY, "num_envs=8", "total_steps=100_000"], tmp_path
    )
    check_refusal(done.returncode, done.stderr, "File too large")
    assert re.search(r"checkpoints? (is|are) unharmed", done.stderr)
    kept = [path.name for path in (tmp_path / "runs/latest/checkpoints").iterdir()]
    assert len(kept) >= 2
    assert all(name.endswith(".pt") for name in kept)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gravity": 9.8}, "gravity: Key 'gravity' not in 'RunConfig'"),
        ({"num_envs": "many"}, "num_envs: Value 'many' of type 'str' could not be converted to Integer"),
        ({"num_envs": 0}, "num_envs must be at least 1, not 0"),
    ],
)
def test_a_run_folder_of_another_schema(
    unbroken: Callable[[int], Path], train: Callable[..., None], tmp_path: Path, change: dict[str, object], said: str
) -> None:
    config = yaml.safe_load((unbroken(1) / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | change))
    train("resume=.", said=said)


def test_a_run_folder_whose_configuration_is_no_yaml(train: Callable[..., None], tmp_path: Path) -> None:
    for text in ("{a: [", "just words", ""):
        (tmp_path / "config.yaml").write_text(text)
        train("resume=.", said="config.yaml does not fit robo_ppo")


def test_an_evaluation_is_not_a_training_that_goes_on(
    unbroken: Callable[[int], Path], train: Callable[..., None], tmp_path: Path
) -> None:
    shutil.copy(unbroken(1) / "config.yaml", tmp_path)
    (tmp_path / "policy.onnx").write_bytes(b"")
    train("resume=.", said="has no checkpoint to go on from: it is an evaluation")


def test_what_cannot_end_well_does_not_begin(
    unbroken: Callable[[int], Path], train: Callable[..., None], tmp_path: Path
) -> None:
    train(*TINY, "+task.observation.policy.wind={}", said="observes 'wind', which cannot be computed on board")
    train(*TINY, f"init={unbroken(1)}", "policy.hidden=[8]", said="was trained with policy.hidden=[16]")
    assert not list(tmp_path.iterdir())


def test_a_file_of_ones_own_that_is_no_yaml(train: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "conf/task").mkdir(parents=True)
    (tmp_path / "conf/task/odd.yaml").write_text("task:\n  name: odd\n episode_seconds: 1\n")
    train("task=odd", "--config-dir", "conf", said="conf/task/odd.yaml, line 3 is not YAML: ")


@pytest.mark.parametrize("change", ["num_envs=64", "task=uav_nav", "seed=3", "++ppo.gamma=0.9"])
def test_a_resumed_run_cannot_be_changed(
    unbroken: Callable[[int], Path], train: Callable[..., None], change: str
) -> None:
    train(
        f"resume={unbroken(1)}", change, said=f"(task=uav_hover), so {change} cannot apply; start a new one with init="
    )


def test_evaluation(unbroken: Callable[[int], Path], train: Callable[..., None], tmp_path: Path) -> None:
    def evaluate(*arguments: str, said: str) -> None:
        train(*arguments, said=said, entry=command_line.evaluate)

    evaluate(said="say what to evaluate: run=latest, run=<folder> or bundle=<policy.onnx>")
    evaluate("run=latest", said=f"there is no run in {tmp_path}/runs yet")
    evaluate("run=nowhere", said=f"there is no run in {tmp_path}/nowhere")
    evaluate("bundle=nowhere.onnx", said="nowhere.onnx")
    evaluate("run=latest", "bundle=policy.onnx", said="are two things to evaluate; name one")
    evaluate("run=latest", "episods=3", said="there is no 'episods' in the configuration; did you mean episodes?")
    evaluate("run=latest", "split=train", said="split=train; it must be test or validation")
    evaluate(
        "run=latest", "randomization.measurement_errors=3", said="choose the whole first, as in randomization=nominal"
    )
    (tmp_path / "not.onnx").write_text("not a bundle")
    evaluate("bundle=not.onnx", said="not.onnx")
    evaluate(f"run={unbroken(1)}", said="policy.onnx")  # trained, but not exported
    assert [path.name for path in tmp_path.iterdir()] == ["not.onnx"]
