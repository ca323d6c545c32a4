"""Train a policy: `python train.py task=uav_nav`. `python train.py --help` lists what can be set."""

from robo_ppo.command_line import train

if __name__ == "__main__":
    train()
