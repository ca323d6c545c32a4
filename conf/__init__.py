"""Hydra configuration groups, found as `pkg://robo_ppo.conf`."""
