"""`python -m robo_ppo.export run=latest`: what it does is in `robo_ppo.run.export`."""

import sys

from robo_ppo.run.export import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
