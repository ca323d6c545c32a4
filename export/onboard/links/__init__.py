"""Ways to a vehicle: each file one protocol. `robo_ppo_onboard.links.link` says what they have in common."""
