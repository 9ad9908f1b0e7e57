"""Run a task's code as Airflow's task runner does, try after try, without the rest of Airflow.

Only Airflow is replaced here: the operator, the ledger, the client and the trigger are the real ones, and the gateway
is the emulator. tests/dags and tests/system use a whole Airflow.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.version_compat import get_base_airflow_version_tuple

from airflow_wan.purchases.record import STATE_STORE_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

HAS_STATE_STORE = get_base_airflow_version_tuple() >= (3, 3)
API_KEY = "sk-unit-tests-0123456789"


class StateStore:
    """Airflow's task state store in memory. It keeps values as JSON, as Airflow's database does."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.rows[key]) if key in self.rows else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.rows[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.rows.pop(key, None)


class SupervisorComms:
    """The task's channel to Airflow for Variables and connections. Before Airflow 3.3, the record is a Variable."""

    def __init__(self, store: StateStore) -> None:
        self.store = store

    def send(self, message: Any) -> Any:
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, OKResponse, VariableResult

        what = type(message).__name__
        if what == "GetVariable":
            record = self.store.get(STATE_STORE_KEY)
            if record is None:
                return ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND, detail={"key": message.key})
            return VariableResult(key=message.key, value=json.dumps(record))
        if what == "PutVariable":
            self.store.set(STATE_STORE_KEY, json.loads(message.value))
        elif what == "DeleteVariable":
            self.store.delete(STATE_STORE_KEY)
        elif what == "GetConnection":
            return _connection_of_the_environment(message.conn_id)
        elif what != "MaskSecret":
            raise AssertionError(f"unexpected message {what}")
        return OKResponse(ok=True)


def _connection_of_the_environment(conn_id: str) -> Any:
    from airflow.sdk.execution_time.comms import ConnectionResult

    fields = json.loads(os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"])
    return ConnectionResult(conn_id=conn_id, **fields | {"extra": json.dumps(fields.get("extra", {}))})


@dataclass
class TaskInstance:
    """The parts of Airflow's task instance that the operators use."""

    dag_id: str = "films"
    run_id: str = "manual__2026-11-22T00:00:00+00:00"
    task_id: str = "animate"
    map_index: int = -1
    try_number: int = 0
    xcoms: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))


class TaskRunner:
    """One task instance over all its tries. XComs are deleted before each try; the state store is kept."""

    def __init__(self) -> None:
        self.store = StateStore()
        self.instance = TaskInstance()
        self.events: list[dict[str, Any]] = []
        self.trigger_kwargs: list[dict[str, Any]] = []

    def run(self, task: Any, *, killed_before_success: bool = False) -> Any:
        """Run one try: execute; if the task defers, run the trigger and resume; then call the success callbacks.

        :param killed_before_success: end before the callbacks, like a worker that is killed before Airflow has
            recorded the success.
        :return: what the task returns.
        """
        from airflow.providers.common.compat.sdk import TaskDeferred

        self.instance.xcoms.clear()
        self.instance.task_id = task.task_id
        self.instance.try_number += 1
        context: Any = {"ti": self.instance, "task": task}
        if HAS_STATE_STORE:
            context["task_state_store"] = self.store
        task = copy.copy(task)
        try:
            result = task.execute(context)
        except TaskDeferred as deferral:
            event = self._fire(deferral.trigger)
            task = copy.copy(task)  # Airflow resumes in a new process, with a new task object
            result = getattr(task, deferral.method_name)(context, event=event)
        if not killed_before_success:
            for callback in task.on_success_callback or ():
                callback(context)
        return result

    def _fire(self, trigger: Any) -> dict[str, Any]:
        """Run a trigger as the triggerer does: rebuild it from what the database keeps."""
        path, kwargs = trigger.serialize()
        assert path == f"{type(trigger).__module__}.{type(trigger).__name__}"
        kwargs = json.loads(json.dumps(kwargs))
        self.trigger_kwargs.append(kwargs)

        async def first_event() -> dict[str, Any]:
            events = [event async for event in type(trigger)(**kwargs).run()]
            assert len(events) == 1
            payload: dict[str, Any] = json.loads(json.dumps(events[0].payload))
            return payload

        event = asyncio.run(first_event())
        self.events.append(event)
        return event


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> TaskRunner:
    """Return a task instance that has not run yet."""
    from airflow.sdk.bases.operator import ExecutorSafeguard
    from airflow.sdk.execution_time import task_runner

    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    monkeypatch.setattr("airflow_wan.triggers.wan.FIRST_READ_S", 0.0)  # no scheduler has to record the deferral first
    runner = TaskRunner()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SupervisorComms(runner.store), raising=False)
    return runner


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that defines the Airflow connection `wan_default`."""

    def define(base_url: str, conn_id: str = "wan_default", password: str = API_KEY, **extra: Any) -> None:
        connection = {"conn_type": "wan", "password": password, "host": base_url, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))

    return define
