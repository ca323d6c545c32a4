"""Speed and memory at one number of worlds: physics alone, the environment, training; what was recorded, and idle time.

physics       the substeps of a control step, nothing else
environment   whole control steps, with random actions
training      control steps with the policy's actions, and the update
"""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu import idle
from benchmarks.gpu.clock import Clock
from benchmarks.gpu.isolated import Report
from robo_ppo.config import RunConfig
from robo_ppo.env.environment import Environment
from robo_ppo.env.vector import Observation
from robo_ppo.learn.ppo import PPO
from robo_ppo.learn.replay import Replayed
from robo_ppo.run.distributed import Ranks
from robo_ppo.run.stepper import Stepper
from robo_ppo.run.train import Trainer
from robo_ppo.sim.device import open_device

PARTS = ("physics", "environment", "training")
_TRACED = 2  # iterations


def measure(report: Report, config: RunConfig, parts: tuple[str, ...], seconds: float, repeats: int) -> None:
    """Build once, and measure the chosen parts."""
    device = open_device(config.device)
    clock = Clock(device, seconds, repeats)
    free_before = _free(device)
    began = time.perf_counter()
    trainer = Trainer(config, Path("nowhere"), Ranks(0, 1))
    environment = trainer.environment
    assert isinstance(environment, Environment)
    clock.wait()
    report({"build_seconds": time.perf_counter() - began})
    if "physics" in parts:
        report({"physics": _physics(environment, config, clock)})
    if "environment" in parts:
        report({"environment": _environment(environment, config, clock)})
    if "training" in parts:
        report({"training": _training(trainer, config, clock)})
        report({"recorded": recorded(trainer)})
        report({"memory": _memory(device, free_before)})
        report({"idle": idle.measure(trainer.iterate, clock, _TRACED)})


def _physics(environment: Environment, config: RunConfig, clock: Clock) -> dict[str, Any]:
    """From where episodes begin, as long as an episode lasts at most."""
    simulation, substeps = environment.sim, config.task.decimation
    act = _random_actions(environment)

    @torch.no_grad()
    def begin() -> None:
        environment.step(act(environment.reset()))

    def work() -> None:
        simulation.step(substeps)

    return clock.rate(work, environment.num_envs, most=environment.max_episode_steps, begin=begin)


def _environment(environment: Environment, config: RunConfig, clock: Clock) -> dict[str, Any]:
    generator = torch.Generator(environment.device).manual_seed(1)
    act = _random_actions(environment, generator)
    stepper = Stepper(environment, act, capture=config.capture, generators=(generator,))
    stepper.place(environment.reset())
    found = clock.rate(stepper.step, environment.num_envs)
    environment.take_totals()  # which refuses what lost contacts
    return found | {"recorded": _state(stepper)}


def _training(trainer: Trainer, config: RunConfig, clock: Clock) -> dict[str, Any]:
    trainer.stepper.place(trainer.environment.reset())
    found = clock.rate(trainer.iterate, trainer.environment.num_envs * config.ppo.horizon, warm_up=4)
    found["collect_seconds"] = clock.time(trainer.collect)
    found["update_seconds"] = clock.time(lambda: trainer.ppo.update(trainer.stepper.observation["critic"]))
    trainer.environment.take_totals()
    return found


def recorded(trainer: Trainer) -> dict[str, str]:
    """What became one graph, and why not."""
    return {"control_step": _state(trainer.stepper), "update": _state(trainer.ppo)}


def _state(owner: Stepper | PPO) -> str:
    held = [vars(value) for value in vars(owner).values() if isinstance(value, Replayed)]
    if not held or held[0]["_device"].type != "cuda":
        return "no: there is no GPU, or capture=false"
    if held[0]["refused"] is not None:
        return f"refused: {held[0]['refused']}"
    return "yes" if held[0]["_graph"] is not None else "no: it was called too seldom"


def _random_actions(
    environment: Environment, generator: torch.Generator | None = None
) -> Callable[[Observation], Tensor]:
    shape, device = (environment.num_envs, environment.action_size), environment.device
    generator = generator or torch.Generator(device).manual_seed(0)
    return lambda _: 0.3 * torch.randn(shape, generator=generator, device=device)


def _free(device: torch.device) -> int:
    """Bytes of the card that are free; on a CPU 0."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def _memory(device: torch.device, free_before: int) -> dict[str, float]:
    """MiB: of the process on a CPU; on a GPU what all of it took from the card, and of that torch's part."""
    mib = 2**20
    if device.type != "cuda":
        unit = 1024 if sys.platform != "darwin" else mib
        return {"process_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    return {
        "card_mib": (free_before - _free(device)) / mib,
        "torch_reserved_mib": torch.cuda.max_memory_reserved(device) / mib,
        "torch_allocated_mib": torch.cuda.max_memory_allocated(device) / mib,
    }
