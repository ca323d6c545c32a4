"""From `git clone` to a policy on a vehicle's own controller: tasks, PPO, rewards and verified export for robots."""

__version__ = "0.1.0"
