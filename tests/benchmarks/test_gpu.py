"""The GPU benchmark runs to its end on Warp's CPU device, at a tiny size; what needs a GPU is tested in parts."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import machine
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import idle, isolated, looks, plot, rivals, worlds
from benchmarks.gpu.clock import Clock
from benchmarks.peers.results import Results
from robo_ppo.learn.replay import Replayed
from tests.benchmarks.works import crashing, endless, failing, quick

TINY = (
    "task.episode_seconds=0.2",
    "ppo.horizon=4",
    "ppo.epochs=1",
    "ppo.minibatches=2",
    "validation.episodes=4",
    "total_steps=64",
)
CPU, NO_GPU = torch.device("cpu"), "not measured: there is no GPU"


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *arguments: str) -> dict[str, Any]:
    few = ("--tasks", "uav_hover", "--seconds", "0.01", "--repeats", "1", "--device", "cpu", "--out", str(out))
    monkeypatch.setattr(sys, "argv", ["gpu", *TINY, *few, *arguments])
    command.main()
    (path,) = out.glob("gpu_*.json")
    return json.loads(path.read_text())


def test_it_runs_to_the_end_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = ("--iterations", "1", "--pairs", "1", "--target-seconds", "60")
    found = run(monkeypatch, tmp_path, "--worlds", "4", "--num-envs", "4", *short)
    assert found["setup"]["card"] is None and found["setup"]["versions"]["mujoco-warp"] != "not installed"
    hover = found["tasks"]["uav_hover"]
    measured = hover["worlds"]["4"]
    assert min(measured[part]["steps_per_second"] for part in worlds.PARTS) > 0.0
    assert measured["idle"] == NO_GPU and measured["memory"]["process_mib"] > 50.0
    assert set(measured["recorded"].values()) == {"no: there is no GPU, or capture=false"}
    assert hover["looks"].items() >= {"environment step": NO_GPU, "rollout": NO_GPU, "update": NO_GPU}.items()
    assert hover["target"]["stopped_by"] == "end" and hover["target"]["steps"] == 64
    assert hover["target"]["curve"][-1]["success"] == hover["target"]["best_validation"] == 0.0
    ours, theirs = hover["peers"]["ours"], hover["peers"]["rsl_rl"]
    assert theirs["ours_times_faster"] == pytest.approx(ours["steps_per_second"] / theirs["steps_per_second"])
    assert hover["peers"]["rsl_rl_on_our_graph"]["refused"] is None
    assert hover["update"]["times_faster"]["median"] > 0.0
    assert "failed" not in json.dumps(hover) and "left_out" not in json.dumps(hover)
    (picture,) = tmp_path.glob("*_uav_hover.png")
    assert picture.stat().st_size > 1000


def test_parts_that_are_measured_later_join_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, tmp_path, "--parts", "physics", "--worlds", "4")
    found = run(monkeypatch, tmp_path, "--parts", "physics,environment", "--worlds", "8")
    measured = found["tasks"]["uav_hover"]["worlds"]
    assert "environment" not in measured["4"] and {"physics", "environment"} <= measured["8"].keys()
    assert len(found["commands"]) == 2
    assert "--parts physics --worlds 4" in found["commands"][0]["command"]
    assert str(tmp_path) not in json.dumps(found)


def test_what_does_not_fit_into_the_time_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(monkeypatch, tmp_path, "--minutes", "0", "--parts", "physics", "looks", "--worlds", "4")
    hover = found["tasks"]["uav_hover"]
    assert "left_out" in hover["looks"] and "left_out" in hover["worlds"]["4"]
    assert "left out: uav_hover worlds 4" in capsys.readouterr().out


def test_an_unknown_part(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, "--parts", "phisics")
    assert "there is no phisics; known: physics, environment" in capsys.readouterr().err


def test_the_tasks_are_the_shipped_ones() -> None:
    assert command.present_tasks()[0] == "uav_nav"
    assert not [name for name in command.present_tasks()[1:] if "uav" in name]


def test_a_failure_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(tmp_path / "x.json", {})
    results.content["tasks"] = {}
    session = command.Session(results, time.monotonic() + 100.0, in_processes=False)
    session.run(("uav_hover", "looks"), failing, 7)
    entry = json.loads((tmp_path / "x.json").read_text())["tasks"]["uav_hover"]["looks"]
    assert entry["failed"] == "ValueError: 7 is odd" and entry["half"] == 3


@pytest.mark.parametrize(
    ("work", "arguments", "seconds", "reason", "reported"),
    [
        (quick, (7,), 60.0, None, {"number": 7}),
        (failing, (7,), 60.0, "ValueError: 7 is odd", {"half": 3}),
        (crashing, (), 60.0, "its process ended with exit code 9", {"begun": True}),
        (endless, (), 5.0, "there was no time left for it", {"begun": True}),
    ],
)
def test_a_measurement_in_a_process_of_its_own(
    work: Any, arguments: tuple[Any, ...], seconds: float, reason: str | None, reported: dict[str, Any]
) -> None:
    pieces: dict[str, Any] = {}
    assert isolated.run(work, *arguments, report=pieces.update, seconds=seconds) == reason
    assert pieces == reported


def event(begin: float, duration: float, category: str = "kernel") -> dict[str, Any]:
    return {"ph": "X", "cat": category, "ts": begin, "dur": duration, "name": "k"}


def test_the_idle_share_is_what_no_kernel_covers() -> None:
    trace = [event(0, 100), event(50, 100), event(151, 49), event(500, 100), event(200, 300, "cuda_runtime")]
    trace += [event(0, 1000, "gpu_user_annotation"), {"ph": "M", "name": "process_name"}]
    found = idle.kernels(trace)
    assert len(found) == 4
    # Covered: 0 to 150, 151 to 200, 500 to 600; the pause of 1 µs counts only in the first share.
    shares = idle.shares(found, traced=1000.0, untraced=400.0)
    assert shares["idle_share"] == pytest.approx(1 - 299 / 1000)
    assert shares["idle_share_pauses_over_10_us"] == pytest.approx(1 - 300 / 1000)
    assert shares["idle_share_untraced"] == pytest.approx(1 - 299 / 400)
    assert shares["busy_seconds"] == pytest.approx(299e-6)


def test_a_trace_of_torch_has_the_form_that_is_read(tmp_path: Path) -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        torch.ones(8).sum()
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    complete = [found for found in events if found.get("ph") == "X" and found.get("cat") == "cpu_op"]
    assert complete and all(found["ts"] >= 0 and found["dur"] >= 0 for found in complete)
    assert idle.kernels(events) == []


def test_a_line_that_waits_for_the_device_is_named() -> None:
    def waits() -> None:
        raise RuntimeError("called a synchronizing CUDA operation")

    said = looks.verdict(waits, CPU)
    assert said.startswith("it waits for the device: called a synchronizing CUDA operation (")
    assert "test_gpu.py:" in said
    assert looks.verdict(lambda: None, CPU) == NO_GPU


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A GPU that does what a CPU does; what torch is told about it, in order."""
    told: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: told.append("synchronize"))
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", told.append)
    return told


@pytest.mark.parametrize("waits", [False, True])
def test_torch_is_told_to_refuse_waiting_and_no_longer_afterwards(pretended: list[str], waits: bool) -> None:
    def work() -> None:
        pretended.append("work")
        if waits:
            raise RuntimeError("called a synchronizing CUDA operation")

    assert (looks.verdict(work, torch.device("cuda")) == looks.CONFIRMED) is not waits
    assert pretended == ["synchronize", "error", "work", "default"]


@pytest.mark.usefixtures("pretended")
def test_the_idle_share_is_measured_beside_the_same_work_untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    class Profiler:
        """Saw one kernel of 20 ms."""

        def __init__(self, activities: list[Any]) -> None:
            assert activities == [torch.profiler.ProfilerActivity.CUDA]

        def __enter__(self) -> "Profiler":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def export_chrome_trace(self, path: str) -> None:
            Path(path).write_text(json.dumps({"traceEvents": [event(0, 20e3)]}))

    monkeypatch.setattr(torch.profiler, "profile", Profiler)
    monkeypatch.setenv("TEARDOWN_CUPTI", "0")
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        time.sleep(0.02)

    found = idle.measure(work, Clock(torch.device("cuda"), 1.0, 1), calls=2)
    assert isinstance(found, dict) and len(calls) == 4
    assert found["traced_seconds"] >= 0.04 and found["untraced_seconds"] >= 0.04
    assert found["idle_share"] == pytest.approx(1 - 0.02 / found["traced_seconds"])


def test_what_was_recorded_and_why_not() -> None:
    replayed = Replayed(lambda: None, torch.device("cuda"))
    owner: Any = SimpleNamespace(graph=replayed)
    assert worlds._state(owner) == "no: it was called too seldom"
    replayed.refused = "operation not permitted when stream is capturing"
    assert worlds._state(owner) == "refused: operation not permitted when stream is capturing"
    replayed.refused, replayed._graph = None, object()  # pyright: ignore[reportAttributeAccessIssue]
    assert worlds._state(owner) == "yes"


def test_rates_count_the_steps_of_every_call() -> None:
    begun: list[int] = []
    calls: list[int] = []
    found = Clock(CPU, seconds=10.0, repeats=3).rate(
        lambda: calls.append(time.sleep(0.01) or 1), 50, warm_up=2, most=4, begin=lambda: begun.append(1)
    )
    assert len(calls) == 2 + 1 + 3 * 4 and len(begun) == 1 + 3
    assert 1000.0 < found["steps_per_second"] < 5000.0 and len(found["repeats"]) == 3


def test_the_figure_of_mjlab_is_read_from_its_log() -> None:
    log = "".join(f"   Steps per second: {rate} \n   Value loss: 0.1\n" for rate in (10, 900, 1000, 1100))
    assert rivals.mjlab_rate(log) == 1050.0
    assert rivals.mjlab_rate("error: no GPU") is None


def test_a_picture_needs_something_measured(tmp_path: Path) -> None:
    assert not plot.draw("uav_nav", {"looks": {}}, "", tmp_path / "x.png")
    measured = {"1024": {"physics": {"steps_per_second": 1e6}}, "4096": {"failed": "out of memory"}}
    assert plot.draw("uav_nav", {"worlds": measured}, "a card", tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_a_card_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(
        name="NVIDIA H200", total_memory=150 * 2**30, multi_processor_count=132, major=9, minor=0
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setenv("PATH", "")
    card = machine.card(torch.device("cuda"))
    assert card is not None and card["compute_capability"] == "9.0" and card["memory_gib"] == 150.0
    assert card["driver"] == "unknown"
    assert machine.card(CPU) is None
    assert machine.file_name("gpu", {}, card) == "gpu_nvidia_h200.json"
    where = {"processor": "AMD EPYC", "cores": 2}
    assert machine.file_name("update", where) == "update_amd_epyc_2_cores.json"
