"""A DAG run that orders videos, followed from outside: at Airflow and at the gateway."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from airflow_processes import Airflow, free_port, wait_for

from airflow_wan.purchases.record import STATE_STORE_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SLOW_S = 1800.0
END_S = 180.0
TRIGGERERS = "*.trigger.*.log"
FINAL_STATES = {"success", "failed"}


@dataclass
class Emulator:
    """An emulator in another process or thread, controlled by its HTTP interface."""

    url: str

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, timeout=10, verify=False)

    def add_fault(self, on: str, kind: str, **settings: Any) -> None:
        """Make it answer the next request of this kind with a fault; see docs/emulator.md."""
        self.http.post("/_emulator/faults", json={"on": on, "kind": kind, **settings}).raise_for_status()

    def ledger(self, key: str) -> list[dict[str, Any]]:
        """Return the create requests that it accepted with this API key."""
        rows = self.http.get("/_emulator/ledger").json()
        return [row for row in rows if row["key_last4"] == key[-4:]]

    def advance(self, seconds: float) -> None:
        """Turn its clock forward by so many seconds."""
        self.http.post("/_emulator/clock", json={"advance_s": seconds}).raise_for_status()

    def turn_clock_until(self, condition: Callable[[], bool]) -> None:
        """Turn its clock forward again and again, so that a video that is bought meanwhile is finished, too."""

        def is_met_after_a_turn() -> bool:
            self.advance(2 * SLOW_S)
            return condition()

        wait_for("the end", is_met_after_a_turn, END_S, pause=END_S / 20)  # the turns stay within 24 h, a task's life

    def task(self, gateway: str, key: str, wan_task_id: str) -> dict[str, Any]:
        """Return the gateway's answer about a task."""
        path = f"/v1/tasks/{wan_task_id}" if gateway == "apiyi" else f"/api/v1/tasks/{wan_task_id}"

        def ask() -> httpx.Response | None:
            answer = self.http.get(path, headers={"Authorization": f"Bearer {key}"})
            return None if answer.status_code == httpx.codes.TOO_MANY_REQUESTS else answer

        return dict(wait_for("a read within the account's limits", ask, 60).raise_for_status().json())

    def video(self, gateway: str, key: str, wan_task_id: str) -> bytes:
        """Download the finished video of a task."""
        task = self.task(gateway, key, wan_task_id)
        url = task.get("result_url") or task["output"]["video_url"]
        return httpx.get(url, verify=False).raise_for_status().content


@contextmanager
def running_emulator(log: Path, *options: str, limits: bool = False) -> Iterator[Emulator]:
    """Run an emulator as a process of its own.

    :param limits: whether it has the limits of a DashScope account.
    """
    port = free_port()
    command = [sys.executable, "-m", "airflow_wan.emulator", "--port", str(port), *options]
    command += [] if limits else ["--no-limits"]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        emulator = Emulator(f"http://127.0.0.1:{port}")
        try:
            wait_for("the emulator", lambda: _answers(emulator), 30)
            yield emulator
        finally:
            emulator.http.close()
            process.kill()


def _answers(emulator: Emulator) -> bool:
    with suppress(httpx.HTTPError):
        return emulator.http.get("/_emulator/ledger").is_success
    return False


@dataclass
class DagRun:
    """A DAG run with an API key of its own."""

    name: str
    airflow: Airflow
    emulator: Emulator
    gateway: str
    dag_id: str
    run_id: str
    key: str

    # What Airflow reports

    def instance(self, task_id: str = "video") -> dict[str, Any]:
        return dict(self.airflow.rest.get(f"{self._run_path}/taskInstances/{task_id}"))

    def state(self, task_id: str = "video") -> str | None:
        return self.instance(task_id)["state"]

    def wait_until(self, state: str, task_id: str = "video", timeout: float = END_S) -> None:
        try:
            wait_for(f"{self.name}: {task_id} {state}", lambda: self._reached(state, task_id), timeout)
        except TimeoutError as error:
            raise AssertionError(f"{error}; it is {self.state(task_id)}. Its log:\n{self.log()}") from None

    def _reached(self, state: str, task_id: str) -> bool:
        with suppress(httpx.HTTPError):
            return self.state(task_id) == state
        return False

    def wait_for_end(self, timeout: float = END_S) -> str:
        """Wait for the end of the DAG run, and return its final state."""
        try:
            wait_for(f"the end of {self.name}", self.has_ended, timeout)
        except TimeoutError as error:
            raise AssertionError(f"{error}; its log:\n{self.log()}") from None
        return str(self.airflow.rest.get(self._run_path)["state"])

    def has_ended(self) -> bool:
        with suppress(httpx.HTTPError):
            return self.airflow.rest.get(self._run_path)["state"] in FINAL_STATES
        return False

    def wait_for_log(self, sentence: str, *, by: str = "*", timeout: float = END_S) -> None:
        """Wait for a sentence in the log of its tasks; with `by=TRIGGERERS`, in what triggerers wrote there."""
        try:
            wait_for(f"{sentence!r} in the log of {self.name}", lambda: sentence in self.log(by), timeout)
        except TimeoutError as error:
            raise AssertionError(f"{error}; its log:\n{self.log()}") from None

    def xcom(self, key: str = "return_value", task_id: str = "video") -> Any:
        return self.airflow.rest.get(f"{self._run_path}/taskInstances/{task_id}/xcomEntries/{key}")["value"]

    def record(self, task_id: str = "video") -> dict[str, Any]:
        """Return the purchase record, which Airflow's users can read."""
        return dict(self.airflow.rest.get(self._record_path(task_id))["value"])

    def edit_record(self, task_id: str = "video", **changes: Any) -> None:
        """Change fields of the purchase record, as a user can who may edit the state of tasks."""
        self.airflow.rest.patch(self._record_path(task_id), {"value": self.record(task_id) | changes})

    def _record_path(self, task_id: str) -> str:
        return f"{self._run_path}/taskInstances/{task_id}/state-store/{STATE_STORE_KEY}"

    def mark(self, state: str, task_id: str = "video") -> None:
        self.airflow.rest.patch(f"{self._run_path}/taskInstances/{task_id}", {"new_state": state})

    def clear(self, task_id: str = "video") -> None:
        body = {"dry_run": False, "dag_run_id": self.run_id, "task_ids": [task_id], "only_failed": False}
        self.airflow.rest.post(f"/api/v2/dags/{self.dag_id}/clearTaskInstances", body)

    @property
    def _run_path(self) -> str:
        return f"/api/v2/dags/{self.dag_id}/dagRuns/{self.run_id}"

    def log(self, by: str = "*") -> str:
        """Return the lines of all tries, by workers and triggerers, as a reader of the UI sees them."""
        folder = self.airflow.logs / f"dag_id={self.dag_id}" / f"run_id={self.run_id}"
        files = sorted((path for path in folder.rglob(by) if path.is_file()), key=lambda path: path.stat().st_mtime)
        return "\n".join(_readable(line) for file in files for line in file.read_text().splitlines())

    # What the gateway reports

    def creates(self) -> list[dict[str, Any]]:
        """Return the create requests that the gateway accepted."""
        return self.emulator.ledger(self.key)

    def billed(self) -> int:
        """Return how many of them the gateway bills."""
        return sum(row["billed"] for row in self.creates())


def _readable(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict):
        return line
    errors = "".join(
        f" {error.get('exc_type')}: {error.get('exc_value')}" for error in entry.get("error_detail") or () if error
    )
    return f"{entry.get('timestamp', '')} {entry.get('level', '')}: {entry.get('event', '')}{errors}"
