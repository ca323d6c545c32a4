"""Where measurements come from: each file one way. `robo_ppo_onboard.sources.source` says what they have in common."""
