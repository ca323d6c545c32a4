"""Trials on a Ray cluster, which may be this machine alone.

Ray finds a place for every trial, and another one when a worker or a whole machine is lost; the trial goes on there
from its newest checkpoint, since all machines share the folder of runs.
"""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from typing_extensions import override

from robo_ppo.config import RunConfig, device_of
from robo_ppo.errors import UserError
from robo_ppo.run.resolve import cores
from robo_ppo.run.sweep.attempt import Job, lost, work
from robo_ppo.run.sweep.launcher import TrialLauncher, need, share
from robo_ppo.run.sweep.record import Record
from robo_ppo.run.sweep.settings import PLUGINS, RaySettings

# Ray reports its use to its makers unless told not to; whoever wants that can set it.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# A trial without a GPU sees the devices as they are, which is what Ray itself will do.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


class RayLauncher(TrialLauncher):
    """As many trials at once as the cluster has room for."""

    __module__ = PLUGINS

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = RaySettings(**settings)
        self.retries = self.settings.retries
        self._gpus = self.settings.num_gpus or 0.0

    @override
    def require(self) -> None:
        need("ray", "ray", "hydra/launcher=ray")

    @override
    def connect(self) -> None:
        import ray

        if ray.is_initialized():
            return
        address = self.settings.address or os.environ.get("RAY_ADDRESS") or "local"
        own_cores = cores() if address == "local" else None  # others know theirs
        try:
            _knock(address)
            ray.init(
                address, num_cpus=own_cores, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
            )
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"cannot reach a Ray cluster at {address}: {reason}; ray start --head begins one, and RAY_AUTH_MODE "
                "and the token must be those of its machines"
            ) from error

    @override
    def cores_of(self, config: RunConfig) -> int:
        if self.settings.num_gpus is None and device_of(config) != "cpu":
            self._gpus = 1.0
        wanted = self.settings.num_cpus or share(config, int(_largest("CPU")))
        for resource, number in (("CPU", wanted), ("GPU", self._gpus)):
            if number > _largest(resource):
                raise UserError(
                    f"a trial needs {number:g} {resource}s, and no machine of the Ray cluster has more than "
                    f"{_largest(resource):g}; see hydra.launcher.num_{resource.lower()}s"
                )
        return wanted

    @override
    def train(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Record]]:
        import ray
        from ray.exceptions import RayError

        remote = ray.remote(num_gpus=self._gpus, max_retries=self.retries)(work)
        waiting = {remote.options(num_cpus=job.cores).remote(job): job for job in jobs}
        while waiting:
            done, _ = ray.wait(list(waiting), timeout=1.0)  # so that a signal is heard meanwhile
            for reference in done:
                job = waiting.pop(reference)
                try:
                    record = ray.get(reference)
                except RayError as error:
                    record = lost(job, f"Ray has given it up: {' '.join(str(error).split())[:300]}")
                yield job, record


def _knock(address: str) -> None:
    """An `OSError` where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10.0).close()


def _largest(resource: str) -> float:
    """The most that one machine of the cluster has of a resource."""
    import ray

    return max((node["Resources"].get(resource, 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
