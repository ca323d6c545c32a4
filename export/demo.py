"""`python -m robo_ppo.export.demo bundle=uav_nav link=mavlink`: a flight through a protocol, its figures, a film."""

import sys

from robo_ppo.run.demo import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
