"""MuJoCo's own log: it stays out of the working directory."""

import mujoco


def write_no_log_file() -> None:
    """Whoever steps worlds finds out that one diverged; nobody looks for a MUJOCO_LOG.TXT."""
    log = mujoco.MjLogConfig.get()
    log.logto_file = False
    log.set()
