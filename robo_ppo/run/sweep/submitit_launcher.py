"""Trials as jobs of Slurm, through submitit; or, to try it without Slurm, as processes of this machine."""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from robo_ppo.config import RunConfig, device_of
from robo_ppo.errors import UserError
from robo_ppo.run.sweep.attempt import Job, lost, work
from robo_ppo.run.sweep.launcher import TrialLauncher, need, share
from robo_ppo.run.sweep.record import Record, read
from robo_ppo.run.sweep.settings import PLUGINS, SubmititSettings

if TYPE_CHECKING:
    import submitit
    from submitit.helpers import DelayedSubmission

_ANY = 4  # cores, where nothing says how many
_PAUSE = 2.0  # s between looks at the jobs


class SubmititLauncher(TrialLauncher):
    """One job for each trial, in one array."""

    __module__ = PLUGINS

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = SubmititSettings(**settings)
        self.retries = self.settings.retries
        self._needs_gpu = False

    @override
    def require(self) -> None:
        need("submitit", "sweep", f"hydra/launcher=submitit_{self.settings.cluster}")
        if self.settings.cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError("hydra/launcher=submitit_slurm needs Slurm, and there is no sbatch on this machine")

    @override
    def cores_of(self, config: RunConfig) -> int:
        self._needs_gpu |= device_of(config) != "cpu"
        return self.settings.cpus_per_task or share(config, _ANY)

    @override
    def train(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Record]]:
        import submitit

        if not jobs:
            return
        executor = submitit.AutoExecutor(_logs(jobs[0]), cluster=self.settings.cluster)
        executor.update_parameters(**self.parameters(max(job.cores for job in jobs)))
        waiting = dict(zip(executor.map_array(QueuedTrial(), jobs), jobs, strict=True))
        while waiting:
            for queued in [one for one in waiting if one.done()]:
                job = waiting.pop(queued)
                yield job, self._result(queued, job)
            for queued in [one for one, job in waiting.items() if job.stop.exists() and one.state == "PENDING"]:
                queued.cancel(check=False)  # it would not see the file for hours
            time.sleep(_PAUSE if waiting else 0.0)

    def parameters(self, cores: int) -> dict[str, Any]:
        """What Slurm is asked for; submitit itself leaves out what a cluster does not know."""
        chosen = self.settings
        gpus = int(self._needs_gpu) if chosen.gpus_per_node is None else chosen.gpus_per_node
        parameters = {
            "name": "robo_ppo",
            "timeout_min": chosen.timeout_min,
            "cpus_per_task": cores,
            "gpus_per_node": gpus or None,
            "mem_gb": chosen.mem_gb,
            "slurm_partition": chosen.partition,
            "slurm_account": chosen.account,
            "slurm_qos": chosen.qos,
            "slurm_array_parallelism": chosen.array_parallelism,
            "slurm_setup": list(chosen.setup) or None,
            "slurm_additional_parameters": dict(chosen.additional_parameters) or None,
        }
        return {name: value for name, value in parameters.items() if value is not None}

    def _result(self, queued: "submitit.Job[Record]", job: Job) -> Record:
        """How a job has ended."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            return queued.result()
        except (UncompletedJobError, FailedJobError) as error:
            if job.stop.exists():
                return replace(read(job.folder), state="stopped")
            lines = str(error).splitlines()
            return lost(job, f"its job of Slurm was lost ({lines[0]}); see {_logs(job)}")


def _logs(job: Job) -> Path:
    """Where submitit keeps what jobs say."""
    return job.folder.parent / "submitit"


class QueuedTrial:
    """A trial as submitit keeps it: what is preempted, or out of time, is queued again and goes on."""

    def __call__(self, job: Job) -> Record:
        """Train."""
        return work(job)

    def checkpoint(self, job: Job) -> "DelayedSubmission":
        """What to queue."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)
