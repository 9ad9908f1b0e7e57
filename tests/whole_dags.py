"""Run whole DAGs inside the test process, with `dag.test()` and the emulator."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow.sdk import DAG

    from airflow_wan.emulator.testing import RunningEmulator


@dataclass(frozen=True)
class FinishedRun:
    """A DAG run that has ended: its state, its task instances and their errors."""

    state: str
    _instances: dict[tuple[str, int], Any]
    _errors: dict[str, BaseException | None]

    def task_state(self, task_id: str, map_index: int = -1) -> str:
        return str(self._instances[task_id, map_index].state)

    @property
    def task_ids(self) -> list[str]:
        """The task id of each task instance: of a mapped task, once for each."""
        return [task_id for task_id, _ in self._instances]

    @property
    def errors(self) -> dict[str, BaseException]:
        """The exceptions that ended tasks, by task id."""
        return {task_id: error for task_id, error in self._errors.items() if error is not None}

    def error(self, task_id: str) -> BaseException | None:
        """Return the exception that ended the task's last try."""
        return self._errors[task_id]

    def tries(self, task_id: str, map_index: int = -1) -> int:
        return int(self._instances[task_id, map_index].try_number)

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        return self._instances[task_id, map_index].xcom_pull(task_ids=task_id, key=key, map_indexes=map_index)

    def rendered(self, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return the task's rendered fields, as the UI shows them."""
        from airflow.models.renderedtifields import RenderedTaskInstanceFields

        return dict(RenderedTaskInstanceFields.get_templated_fields(self._instances[task_id, map_index]) or {})


@pytest.fixture
def run_dag(airflow_db: Path, wan_connection: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FinishedRun]:
    """Return a function that runs a DAG to its end in this process."""
    from airflow.sdk.execution_time import supervisor

    monkeypatch.setattr("airflow_wan.triggers.wan.FIRST_READ_S", 0.0)  # no scheduler has to record the deferral first
    monkeypatch.setattr(supervisor, "in_process_api_server", _execution_api)

    def run(dag: DAG, **conf: Any) -> FinishedRun:
        _register(dag)
        errors: dict[str, BaseException | None] = {}

        # The only place where every Airflow version gives the exception away: `dag.test()` of 3.0 calls no callbacks.
        def run_and_record(ti: Any, task: Any) -> Any:
            result = run_task_in_process(ti, task)
            errors[ti.task_id] = result.error
            return result

        run_task_in_process = supervisor.run_task_in_process
        monkeypatch.setattr(supervisor, "run_task_in_process", run_and_record)
        dag_run = dag.test(run_conf=conf)
        instances = {(instance.task_id, instance.map_index): instance for instance in dag_run.get_task_instances()}
        return FinishedRun(str(dag_run.state), instances, errors)

    return run


@functools.cache
def _execution_api() -> Any:
    """Return the API that tasks of this process speak to. Airflow before 3.3 makes one for each task, in 3 s of CPU."""
    from airflow.api_fastapi.execution_api.app import InProcessExecutionAPI

    return InProcessExecutionAPI()


def _register(dag: DAG) -> None:
    """Write a DAG to the metadata database. Airflow 3.1 and later run only DAGs that are in it."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    try:
        from airflow.dag_processing import dagbag
    except ImportError:
        from airflow.models import dagbag  # Airflow 3.0 and 3.1

    dag.relative_fileloc = dag.relative_fileloc or "test.py"
    DagBundlesManager().sync_bundles_to_db()
    bag = dagbag.DagBag(dag_folder=os.devnull)
    bag.bag_dag(dag)
    if hasattr(dagbag, "sync_bag_to_db"):
        dagbag.sync_bag_to_db(bag, "dags-folder", None)
    else:
        bag.sync_to_db("dags-folder", None)  # Airflow 3.0


@pytest.fixture
def wan_api_key() -> str:
    return "sk-whole-dags-0123456789"


@pytest.fixture
def wan_connection(
    wan_emulator: RunningEmulator, wan_api_key: str, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Define the connection `wan_default` for the emulator, and deliver videos to the test's own folder."""
    connection = {"conn_type": "wan", "password": wan_api_key, "host": wan_emulator.base_url}
    monkeypatch.setenv("AIRFLOW_CONN_WAN_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", str(videos))


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return tmp_path / "videos"
