"""Others on the same card: rsl_rl on our environment, and mjlab's own training of a humanoid.

rsl_rl steps our environment twice: as it is written, the way its users' environments run, and as one CUDA graph, which
is ours and not its own. mjlab has no task of ours; its figure is for its own, by its own command.
"""

import contextlib
import importlib.util
import io
import re
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from benchmarks.gpu.clock import Clock
from benchmarks.gpu.isolated import Report
from benchmarks.peers.learner import Iteration
from robo_ppo.config import RunConfig
from robo_ppo.env.build import build
from robo_ppo.run.distributed import Ranks
from robo_ppo.run.stepper import Stepper
from robo_ppo.run.train import Trainer

MJLAB_TASK = "Mjlab-Velocity-Flat-Unitree-G1"
_MJLAB_ITERATIONS = 60
_WARM_UP = 4  # iterations


def measure_rsl_rl(report: Report, config: RunConfig, iterations: int) -> None:
    """Training steps per second of rsl_rl's own runner, on our environment."""
    if not has_rsl_rl(report):
        return
    from benchmarks.peers import with_rsl_rl

    class RecordedVecEnv(with_rsl_rl.TaskVecEnv):
        """Our environment's step as one graph; rsl_rl keeps what it is given until after the next step: copies."""

        def __init__(self) -> None:
            super().__init__(build(config, "train", config.num_envs))
            self._actions = torch.zeros(self.num_envs, self.num_actions, device=self.device)
            self._stepper = Stepper(self.environment, lambda _: self._actions)
            self._stepper.place(self.environment.reset())
            self._observation = self._grouped({name: v.clone() for name, v in self._stepper.observation.items()})

        @override
        def step(self, actions: Tensor) -> tuple[Any, Tensor, Tensor, dict[str, Any]]:
            self._actions.copy_(actions)
            transition = self._stepper.step()
            self._observation = self._grouped({name: v.clone() for name, v in transition.observation.items()})
            done = transition.terminated | transition.truncated
            return self._observation, transition.reward.clone(), done, {"time_outs": transition.truncated.clone()}

        @property
        def refused(self) -> str | None:
            return self._stepper.refused

    ours = _our_rate(config, iterations)
    report({"ours": ours})
    eager = with_rsl_rl.TaskVecEnv(build(config, "train", config.num_envs))
    report({"rsl_rl": _compared(_rate(eager, config, iterations), ours)})
    recorded = RecordedVecEnv()
    found = _compared(_rate(recorded, config, iterations), ours)
    report({"rsl_rl_on_our_graph": found | {"refused": recorded.refused}})


def has_rsl_rl(report: Report) -> bool:
    """Whether it is installed, which is reported where it is not."""
    found = importlib.util.find_spec("rsl_rl") is not None
    if not found:
        report({"rsl_rl": "not installed"})
    return found


def _compared(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    return theirs | {"ours_times_faster": ours["steps_per_second"] / theirs["steps_per_second"]}


def _our_rate(config: RunConfig, iterations: int) -> dict[str, Any]:
    """Our own training, iteration by iteration, with the look at its totals that every one of them ends with."""
    trainer = Trainer(config, Path("nowhere"), Ranks(0, 1))
    clock = Clock(trainer.environment.device, seconds=0.0, repeats=0)

    def iterate() -> None:
        trainer.iterate()
        trainer.environment.take_totals()

    times = [clock.time(iterate) for _ in range(_WARM_UP + iterations)][_WARM_UP:]
    return _summary(config, times)


def _summary(config: RunConfig, times: list[float]) -> dict[str, Any]:
    rate = config.num_envs * config.ppo.horizon / statistics.median(times)
    return {"num_envs": config.num_envs, "steps_per_second": rate, "iterations": len(times)}


def _rate(adapter: Any, config: RunConfig, iterations: int) -> dict[str, Any]:
    from benchmarks.peers import with_rsl_rl

    ends: list[float] = []

    def after(_: Iteration) -> None:
        if adapter.device.type == "cuda":
            torch.cuda.synchronize(adapter.device)
        ends.append(time.perf_counter())

    with contextlib.redirect_stdout(io.StringIO()):  # it introduces itself
        with_rsl_rl.runner_on(adapter, config, after).learn(_WARM_UP + iterations)
    return _summary(config, [after - before for before, after in pairwise(ends[_WARM_UP - 1 :])])


def measure_mjlab(report: Report, num_envs: int, seconds: float) -> None:
    """Its training of a G1 to walk, by its own command and its own count."""
    if importlib.util.find_spec("mjlab") is None:
        report({"mjlab": "not installed"})
        return
    with tempfile.TemporaryDirectory() as folder:
        options = {"env.scene.num-envs": num_envs, "agent.max-iterations": _MJLAB_ITERATIONS}
        options |= {"agent.logger": "tensorboard", "log-root": folder}
        command = [sys.executable, "-m", "mjlab.scripts.train", MJLAB_TASK]
        command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
        log = Path(folder) / "log"
        with log.open("w") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
            try:
                ended: int | str = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                ended = "the end of its time"
            finally:
                process.kill()
                process.wait()
        text = log.read_text(errors="replace")
    found = mjlab_rate(text)
    told = {
        "task": MJLAB_TASK,
        "num_envs": num_envs,
        "command": " ".join(["python", *command[1:-2]]),
        "ended_by": ended,
    }
    report({"mjlab": told | ({"steps_per_second": found} if found else {"said": text[-600:]})})


def mjlab_rate(text: str) -> float | None:
    """Median of the steps per second that rsl_rl's log shows in its second half."""
    numbers = [float(number) for number in re.findall(r"Steps per second:\s*(\d+)", text)]
    return statistics.median(numbers[len(numbers) // 2 :]) if numbers else None
