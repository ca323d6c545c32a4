"""Metrics for TensorBoard, in the run's own folder: `tensorboard --logdir runs`."""

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.record_writer import RecordWriter


class TensorBoardLogger:
    """TensorBoard's event file, written in place: the thread of its own writer would report a full disk by itself."""

    def __init__(self, folder: Path, from_step: int) -> None:
        folder.mkdir(exist_ok=True)
        self._file = (folder / f"events.out.tfevents.{time.time_ns()}.{platform.node()}.{os.getpid()}").open("wb")
        self._records = RecordWriter(self._file)
        self._put(file_version="brain.Event:2")
        if from_step:  # what an earlier session has written from this step on does not count
            self._put(step=from_step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, row: Mapping[str, float]) -> None:
        """Every number of a row as a scalar."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name != "step"]
        self._put(step=int(row["step"]), summary=Summary(value=values))

    def close(self, *, failed: bool) -> None:
        """No more rows will come."""
        self._file.close()

    def _put(self, **content: object) -> None:
        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
        self._file.flush()
