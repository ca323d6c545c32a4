"""Where a training is watched: what each logger holds in the end is what metrics.jsonl holds, and none can stop a run.

The libraries are real; W&B writes offline, or to a server of this test, MLflow into a database.
"""

import json
import shutil
import sqlite3
import struct
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
import wandb
from mlflow import MlflowClient
from mlflow.entities import Run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

from robo_ppo.config import LoggerConfig, parse_config
from robo_ppo.errors import UserError
from robo_ppo.run import folder as folders
from robo_ppo.run.loggers import check
from robo_ppo.run.metrics import MetricsLog
from tests.run.training import TINY, command, configure, rows, run, train_in
from tests.run.wandb_server import Server, serving

KEY = "0123456789" * 4


@pytest.fixture(autouse=True)
def at_home_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Nobody is logged in, what the libraries keep for themselves lies here, and W&B's process ends with the test."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "NETRC"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    yield
    with suppress(ConnectionError):  # where the test has killed it
        wandb.teardown()


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What MLflow makes in a second or more when there is none."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}")
    return path


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> Path:
    """A database in the folder of all runs, which is where a run looks for one."""
    return Path(shutil.copy(empty_database, tmp_path))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Generator[Server]:
    """A server to be logged in at."""
    with serving() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server


def write(folder: Path, from_step: int, steps: Sequence[int], *overrides: str) -> None:
    """A session of a run that logs these steps."""
    folder.mkdir(exist_ok=True)
    with MetricsLog(folder, from_step, configure(f"runs={folder.parent}", *overrides)) as log:
        for step in steps:
            log.write(row(step))


def row(step: int) -> dict[str, float]:
    return {"step": float(step), "ppo/kl": step / 7, "train/return": -step / 3}


def wandb_records(session: Path) -> list[Any]:
    """What a .wandb file holds: protocol buffers in the format of LevelDB's log, in blocks of 32 KiB."""
    (path,) = session.glob("*.wandb")
    data, at, whole, records = path.read_bytes(), len(":W&B") + 3, b"", list[Any]()
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no room for a header: padding
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # all of it, or its last part
            records.append(Record.FromString(whole))
            whole = b""
    return records


def wandb_rows(session: Path) -> list[dict[str, float]]:
    """Rows of one session's file as metrics.jsonl has them."""
    histories = [record.history.item for record in wandb_records(session) if record.HasField("history")]
    found = [{item.nested_key[0]: json.loads(item.value_json) for item in items} for items in histories]
    return [{"step": row["_step"]} | {n: v for n, v in row.items() if n[0] != "_"} for row in found]


def sessions(folder: Path) -> list[Path]:
    """What W&B has written offline; the last of it when its process ends."""
    wandb.teardown()
    return sorted(folder.glob("wandb/offline-run-*"))


def mlflow_run(database: Path) -> tuple[MlflowClient, Run]:
    """The only run in a database."""
    client = MlflowClient(tracking_uri=f"sqlite:///{database}")
    experiment = client.get_experiment_by_name("robo_ppo")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    return client, found


def mlflow_rows(database: Path) -> list[dict[str, float]]:
    client, found = mlflow_run(database)
    by_step: dict[int, dict[str, float]] = {}
    for name in found.data.metrics:
        for metric in client.get_metric_history(found.info.run_id, name):
            points = by_step.setdefault(metric.step, {"step": float(metric.step)})
            assert name not in points, f"{name} has two points at step {metric.step}"
            points[name] = metric.value
    return [by_step[step] for step in sorted(by_step)]


def test_a_training_in_wandb(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    train_in(folder, "logger=wandb", "logger.mode=offline", "logger.tags=[first,second]", "logger.group=seeds")
    said = capfd.readouterr()
    assert said.err == ""
    assert f"W&B is offline; wandb sync {folder}/wandb will upload the run\n" in said.out
    (session,) = sessions(folder)
    assert wandb_rows(session) == rows(folder)
    (begun,) = [record.run for record in wandb_records(session) if record.HasField("run")][:1]
    assert (begun.display_name, begun.project, begun.run_group) == ("run", "robo_ppo", "seeds")
    assert list(begun.tags) == ["first", "second"]
    settings = {item.key: json.loads(item.value_json) for item in begun.config.update}
    assert settings["ppo"]["horizon"] == 8
    assert settings["logger"]["mode"] == "offline"
    assert not list(Path.cwd().iterdir()), "everything lies in the run's folder"
    assert not (folder / "tensorboard").exists()


def test_a_training_in_mlflow(tmp_path: Path, database: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    train_in(folder, "logger=mlflow", f"runs={tmp_path}")
    said = capfd.readouterr()
    assert said.err == ""
    assert f"MLflow: run run in sqlite:///{database}\n" in said.out
    assert mlflow_rows(database) == rows(folder)
    _, found = mlflow_run(database)
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert found.data.params["ppo.horizon"] == "8"
    assert found.data.params["policy.hidden"] == "[16]"
    assert found.data.params["task.name"] == "uav_hover"
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize("choice", ["wandb", "mlflow", "tensorboard", "none"])
def test_a_resumed_run_goes_on_and_repeats_nothing(tmp_path: Path, database: Path, choice: str) -> None:
    folder, offline = tmp_path / "run", ["logger.mode=offline"] if choice == "wandb" else []
    write(folder, 0, [1, 2, 3, 4], f"logger={choice}", *offline)
    if offline:
        time.sleep(1.0)  # W&B names the folder of a session by the second in which it began
    write(folder, 2, [3, 4, 5, 6], f"logger={choice}", *offline)  # its last checkpoint was of step 2
    expected = [row(step) for step in range(1, 7)]
    assert rows(folder) == expected
    match choice:
        case "wandb":
            first, second = sessions(folder)
            assert first.name.split("-")[-1] == second.name.split("-")[-1], "one run"
            assert wandb_rows(first) + wandb_rows(second) == expected
        case "mlflow":
            assert mlflow_rows(database) == expected
        case "tensorboard":
            events = EventAccumulator(str(folder / "tensorboard")).Reload()
            assert [event.step for event in events.Scalars("ppo/kl")] == [1, 2, 3, 4, 5, 6]
        case _:
            assert [path.name for path in folder.iterdir()] == ["metrics.jsonl"]


def test_wandb_online(tmp_path: Path, server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    write(folder, 0, [1, 2, 3, 4], "logger=wandb")
    write(folder, 2, [3, 4, 5], "logger=wandb")
    assert [row["_step"] for row in server.rows] == [1, 2, 3, 4, 5]
    assert [row["ppo/kl"] for row in server.rows] == [step / 7 for step in range(1, 6)]
    assert server.run_ids == {(folder / "wandb_run_id.txt").read_text().strip()}
    assert server.exit_codes == [0, 0]
    said = capfd.readouterr()
    assert said.err == ""
    assert said.out.count(f"W&B: {server.url}/somebody/robo_ppo/runs/") == 2
    assert not [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_wandb_without_a_login(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="logger=wandb is not logged in: run wandb login, set WANDB_API_KEY, or"):
        write(tmp_path / "run", 0, [1], "logger=wandb")


def test_a_service_that_cannot_start_loses_nothing(tmp_path: Path, server: Server) -> None:
    folder = tmp_path / "run"
    write(folder, 0, [1, 2, 3], "logger=none")
    server.key_is_good = False
    with pytest.raises(UserError, match=r"logger=wandb cannot start: .*; logger=tensorboard needs no service"):
        write(folder, 2, [3], "logger=wandb")
    assert rows(folder) == [row(1), row(2), row(3)]


def test_a_service_that_fails_costs_one_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with MetricsLog(folder, 0, configure("logger=wandb", "logger.mode=offline")) as log:
        log.write(row(1))
        for process in psutil.Process().children(recursive=True):
            if process.name() == "wandb-core":
                process.kill()
                process.wait()
        for step in (2, 3, 4):
            log.write(row(step))
    assert rows(folder) == [row(step) for step in range(1, 5)]
    (warning,) = capfd.readouterr().err.split("\n")[1:-1]
    assert warning.startswith("warning: logger=wandb fails: ")
    assert warning.endswith("; the run goes on without it, and metrics.jsonl has every row")


def test_mlflow_sends_later_what_it_could_not_send(
    tmp_path: Path, database: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    said, steps, deadline = "", count(1), time.monotonic() + 20
    with (
        closing(sqlite3.connect(database)) as tables,
        MetricsLog(folder, 0, configure("logger=mlflow", f"logger.tracking_uri=sqlite:///{database}")) as log,
    ):
        log.write(row(next(steps)))
        tables.execute("ALTER TABLE metrics RENAME TO away")
        while said.count("warning") < 1 and time.monotonic() < deadline:
            log.write(row(next(steps)))
            said += capfd.readouterr().err
            time.sleep(0.02)
        tables.execute("ALTER TABLE away RENAME TO metrics")
        log.write(row(next(steps)))
    assert mlflow_rows(database) == rows(folder)
    assert (said + capfd.readouterr().err).count("warning: logger=mlflow fails: ") == 1


def test_an_error_in_the_training_is_seen_at_the_service(tmp_path: Path, database: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with (
        pytest.raises(RuntimeError, match="diverged"),
        MetricsLog(folder, 0, configure("logger=mlflow", f"runs={tmp_path}")),
    ):
        raise RuntimeError("diverged")
    assert mlflow_run(database)[1].info.status == "FAILED"


def test_mlflow_refuses_a_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"logger=mlflow cannot start: .*127\.0\.0\.1.*; logger=tensorboard needs no"):
        write(tmp_path / "run", 0, [1], "logger=mlflow", "logger.tracking_uri=http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (LoggerConfig("wanb"), "logger.name=wanb; did you mean wandb?"),
        (LoggerConfig("mlflow", project="x"), "logger.project is a setting of logger=wandb, which logger=mlflow does"),
        (LoggerConfig("tensorboard", experiment="x"), "logger.experiment is a setting of logger=mlflow, which"),
        (LoggerConfig("wandb", mode="of"), "logger.mode=of; it must be online, offline or disabled"),
        (LoggerConfig("mlflow", tracking_uri="https://me:secret@host"), "set MLFLOW_TRACKING_URI, or MLFLOW_TRACKING_"),
    ],
)
def test_settings_that_make_no_sense(config: LoggerConfig, said: str) -> None:
    with pytest.raises(UserError) as refused:
        check(config)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("name", "service"), [("wandb", "W&B"), ("mlflow", "MLflow")])
def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, name: str, service: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"logger={name} needs {service}: pip install 'robo-ppo\[{name}\]'"):
        check(configure(f"logger={name}").logger)


def test_a_wrong_logger_leaves_nothing_behind(tmp_path: Path) -> None:
    for arguments, said in (
        (["logger=wanb"], "there is no logger=wanb; did you mean wandb?"),
        (["logger=wandb", "logger.projekt=x"], "there is no 'projekt' in logger; did you mean project?"),
        (["logger=mlflow", "logger.mode=offline"], "logger.mode is a setting of logger=wandb, which logger=mlflow"),
    ):
        done = run(command(*TINY, *arguments), tmp_path / "cwd")
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {said}")
    assert not list(Path.cwd().iterdir())


def test_the_exported_policy_says_nothing_of_accounts() -> None:
    text = folders.portable(configure("logger=wandb", "logger.entity=somebody"))
    assert "somebody" not in text
    assert parse_config(text, "a bundle").logger == LoggerConfig()
