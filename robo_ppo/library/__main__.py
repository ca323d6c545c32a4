"""`python -m robo_ppo.library add|list|select`: what it does is in `robo_ppo.library.command`."""

import sys

from robo_ppo.library.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
