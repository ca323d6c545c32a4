"""Rewards as programs beside the same terms written by hand: `python -m benchmarks.reward_language [num_envs=4096]`.

The terms of tasks/uav/terms.py and a program that computes the same run in turn on the same signals, each as the reward
of a step is computed: every term, weighted and summed. The one that goes first changes from round to round. A ratio of
1.3 is the most that is allowed.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.machine import machine
from robo_ppo.env.language import parse
from robo_ppo.env.rewards import Reward
from robo_ppo.tasks.uav import terms

MOST = 1.3
PROGRAM = '''"""The reward of uav_nav (conf/reward/uav_nav.yaml)."""
version = 1
weights = {
    "progress": 3.0,
    "success_bonus": 10.0,
    "failure": 15.0,
    "near_goal": {"weight": 0.05, "distance": 0.3, "speed": 0.6},
    "time": 0.005,
    "clearance_margin": {"weight": 0.12, "margin": 0.35},
    "closing_speed": {"weight": 4.0, "margin": 0.35},
    "excess_speed": {"weight": 0.1, "limit": 1.5},
    "action_change": 0.002,
    "body_rate": 0.0005,
    "facing_goal": 0.003,
}


def progress(goal_distance, previous_goal_distance):
    return previous_goal_distance - goal_distance


def near_goal(goal_distance, velocity, *, distance=0.2, speed=0.4):
    return exp(-square(goal_distance / distance) - sum(square(velocity / speed)))


def success_bonus(success):
    return float(success)


def failure(failed):
    return -failed


def time(goal_distance):
    return -ones_like(goal_distance)


def clearance_margin(clearance, *, margin):
    return -clamp(1.0 - clearance / margin, 0.0, 1.0)


def closing_speed(clearance, previous_clearance, *, margin):
    inside = clamp(1.0 - clearance / margin, 0.0, 1.0)
    return -inside * clamp(previous_clearance - clearance, min=0.0)


def excess_speed(speed, *, limit=1.0):
    return -square(clamp(speed - limit, min=0.0))


def action_change(last_action, previous_last_action):
    return -sum(square(last_action - previous_last_action))


def body_rate(gyro):
    return -sum(square(gyro))


def facing_goal(goal_direction):
    return goal_direction[:, 0]
'''
_SIZES = {"velocity": 3, "gyro": 3, "goal_direction": 3, "last_action": 4, "previous_last_action": 4}


def main() -> None:
    """Measure and print; the exit code is 1 where programs are too slow."""
    num_envs = next((int(a.partition("=")[2]) for a in sys.argv[1:] if a.startswith("num_envs=")), 4096)
    device = next((a.partition("=")[2] for a in sys.argv[1:] if a.startswith("device=")), "cpu")
    ratio = measure(num_envs, torch.device(device))
    print(f"{machine()['processor']}, {torch.get_num_threads()} thread(s), {num_envs} environments on {device}")
    print(f"a program takes {ratio:.2f} times what the terms by hand take (at most {MOST})")
    sys.exit(ratio > MOST)


def measure(num_envs: int, device: torch.device, rounds: int = 40, steps: int = 50) -> float:
    """Time of the program divided by that of the terms by hand: the median over rounds."""
    program = parse(PROGRAM, "the benchmark")
    works = {
        "by hand": _work(Reward(program.weights, [terms], device), num_envs, device),
        "program": _work(Reward(program.weights, [], device, program.functions), num_envs, device),
    }
    torch.testing.assert_close(works["program"](), works["by hand"](), rtol=1e-6, atol=1e-6)
    ratios: list[float] = []
    for number in range(rounds):
        seconds = {name: _seconds(works[name], steps, device) for name in sorted(works, reverse=bool(number % 2))}
        ratios.append(seconds["program"] / seconds["by hand"])
    return statistics.median(ratios)


def _work(reward: Reward, num_envs: int, device: torch.device) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(0)
    names = sorted({name for found in reward.signals.values() for name in found.inputs})
    values = {name: torch.rand((num_envs, *_size(name)), generator=generator).to(device) for name in names}
    values |= {name: values[name] > 0.5 for name in ("success", "failed")}

    def work() -> Tensor:
        paid = {name: found.function(*[values[n] for n in found.inputs]) for name, found in reward.signals.items()}
        return reward.terms(paid).sum(0)

    return work


def _size(name: str) -> tuple[int, ...]:
    return (_SIZES[name],) if name in _SIZES else ()


def _seconds(work: Callable[[], Tensor], steps: int, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(steps):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


if __name__ == "__main__":
    with torch.no_grad():
        main()
