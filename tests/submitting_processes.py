"""Run tasks that submit a video, each in a process of its own, as an executor on one machine does.

    python submitting_processes.py BASE_URL FOLDER COUNT

Of each task, FOLDER holds what Airflow keeps of it (`1.kept.json`), its process (`1.pid`) and, once it has ended, what
came of it (`1.outcome.json`).
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from task_runner import API_KEY, StateStore, SupervisorComms, TaskRunner

IMPORTED_ONCE = (
    "airflow.sdk.execution_time.task_runner",
    "airflow_wan.api.requests",
    "airflow_wan.media.prepare",
    "airflow_wan.operators.wan",
    "airflow_wan.purchases.offer",
    "airflow_wan.purchases.variable_ledger",
)
"""What each process would import for itself."""


class StoreOnDisk(StateStore):
    """What Airflow keeps for tasks; it outlives the process."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        if file.exists():
            self.rows = json.loads(file.read_text())
        self._save()

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        super().set(key, value, retention=retention)
        self._save()

    def delete(self, key: str) -> None:
        super().delete(key)
        self._save()

    def _save(self) -> None:
        draft = self._file.with_suffix(".draft")
        draft.write_text(json.dumps(self.rows))
        draft.replace(self._file)


def submit(number: int, folder: Path) -> None:
    """Run one try of the task with this number, and write down what came of it."""
    from airflow.sdk.bases.operator import ExecutorSafeguard
    from airflow.sdk.execution_time import task_runner

    from airflow_wan.operators.wan import WanSubmitVideoOperator

    ExecutorSafeguard.test_mode = True
    runner = TaskRunner()
    runner.store = StoreOnDisk(folder / f"{number}.kept.json")
    runner.instance.map_index = number
    vars(task_runner)["SUPERVISOR_COMMS"] = SupervisorComms(runner)
    task = WanSubmitVideoOperator(
        task_id="submit", model="wan2.7-t2v", prompt=f"Wave {number}.", parameters={"duration": 2}
    )
    try:
        outcome = {"wan_task_id": runner.run(task, killed_before_success=True)}
    except Exception as error:  # noqa: BLE001 - the test asks which
        outcome = {"error": f"{type(error).__name__}: {error}"}
    (folder / f"{number}.outcome.json").write_text(json.dumps(outcome))


def main(base_url: str, folder: Path, count: int) -> None:
    """Run the tasks at once, and wait for them; those that have an outcome are not run again."""
    for module in IMPORTED_ONCE:
        importlib.import_module(module)
    importlib.import_module("airflow_wan.api.client").tls_context()
    connection = {"conn_type": "wan", "password": API_KEY, "host": base_url, "extra": {"gateway": "dashscope"}}
    os.environ["AIRFLOW_CONN_WAN_DEFAULT"] = json.dumps(connection)
    numbers = [number for number in range(count) if not (folder / f"{number}.outcome.json").exists()]
    for number in numbers:
        if not os.fork():
            try:
                (folder / f"{number}.pid").write_text(str(os.getpid()))
                submit(number, folder)
            finally:
                os._exit(0)
    for _ in numbers:
        os.wait()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
