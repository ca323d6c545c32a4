"""Find a better reward: `python refine.py task=uav_nav reward=my_reward.py`. `--help` says what can be set."""

from robo_ppo.command_line import refine

if __name__ == "__main__":
    refine()
