"""The learner: policy, rollout and PPO, on plain tensors."""
