"""Our learner beside rsl_rl's, skrl's and Stable-Baselines3's PPO, on our own task and on Gymnasium's."""
