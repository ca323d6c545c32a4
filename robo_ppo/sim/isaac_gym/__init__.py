"""Isaac Gym as a back end: PhysX on a GPU, in an interpreter of its own (docs/isaac_gym.md).

    settings = IsaacGymSettings(python="/opt/rlgpu/bin/python")
    sim = IsaacGym(model, num_envs=4096, settings=settings)

`backend` is the `Simulation`; `robot` and `limits` say what of a model Isaac Gym can simulate, `frames` translates
states, `agreement` checks at every start that both robots are the same, `process` and `worker` are the two ends of the
way into the other interpreter.
"""

from robo_ppo.sim.isaac_gym.backend import IsaacGym, IsaacGymSettings

__all__ = ["IsaacGym", "IsaacGymSettings"]
