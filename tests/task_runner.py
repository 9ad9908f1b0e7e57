"""Runs a task's code as Airflow's task runner does, try after try, without the rest of Airflow around it.

Only Airflow is stood in for here: the operator, the ledger, the client and the trigger are the real ones, and the
gateway is the emulator. Whole Airflows are in tests/dags and tests/system.
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
    """Airflow's task state store, in memory: what it is given comes back as the JSON that the database keeps."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.rows[key]) if key in self.rows else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.rows[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.rows.pop(key, None)


class SupervisorComms:
    """The task's line to Airflow, as far as Variables go; before Airflow 3.3, the record is one."""

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


class XComs:
    """Airflow's XComs of one test: (run, task, map index, key) → value, in the order in which they were pushed."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, int, str], Any] = {}

    def clear(self, run_id: str, task_id: str, map_index: int) -> None:
        for row in [row for row in self.rows if row[:3] == (run_id, task_id, map_index)]:
            del self.rows[row]


@dataclass
class TaskInstance:
    """The parts of Airflow's task instance that tasks use."""

    dag_id: str = "films"
    run_id: str = "manual__2026-11-22T00:00:00+00:00"
    task_id: str = "animate"
    map_index: int = -1
    try_number: int = 0
    xcoms: dict[str, Any] = field(default_factory=dict)
    all_xcoms: XComs = field(default_factory=XComs)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))
        self.all_xcoms.rows[self.run_id, self.task_id, self.map_index, key] = self.xcoms[key]

    def xcom_pull(
        self, *, task_ids: str | list[str], key: str, map_indexes: int | None = None, include_prior_dates: bool = False
    ) -> Any:
        """Return the latest value of one task and map index, or, for a list of tasks, all values of this run."""
        wanted = [task_ids] if isinstance(task_ids, str) else task_ids
        found = [
            value
            for (run_id, task_id, map_index, its_key), value in self.all_xcoms.rows.items()
            if task_id in wanted
            and its_key == key
            and (include_prior_dates or run_id == self.run_id)
            and map_indexes in (None, map_index)
        ]
        if isinstance(task_ids, str):
            return found[-1] if found else None
        return found


class TaskRunner:
    """One task instance over its tries: XCom goes before each, the state store stays."""

    def __init__(self) -> None:
        self.store = StateStore()
        self.instance = TaskInstance()
        self.events: list[dict[str, Any]] = []
        self.trigger_kwargs: list[dict[str, Any]] = []

    def run(self, task: Any, *, killed_before_success: bool = False) -> Any:
        """One try: execute, run the trigger and resume if the task defers, then the success callbacks.

        A worker that is killed before Airflow has recorded the success never comes to the callbacks.
        """
        from airflow.providers.common.compat.sdk import TaskDeferred

        self.instance.xcoms.clear()
        self.instance.task_id = task.task_id
        self.instance.all_xcoms.clear(self.instance.run_id, self.instance.task_id, self.instance.map_index)
        self.instance.try_number += 1
        context: Any = {"ti": self.instance, "task": task}
        if HAS_STATE_STORE:
            context["task_state_store"] = self.store
        task = copy.copy(task)
        try:
            result = task.execute(context)
        except TaskDeferred as deferral:
            event = self._fire(deferral.trigger)
            task = copy.copy(task)  # Airflow resumes in a new process, with a task made afresh
            result = getattr(task, deferral.method_name)(context, event=event)
        if not killed_before_success:
            for callback in task.on_success_callback or ():
                callback(context)
        return result

    def _fire(self, trigger: Any) -> dict[str, Any]:
        """Run a trigger as the triggerer does: made anew from what the database keeps."""
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
    """A task instance that has not run yet."""
    from airflow.sdk.bases.operator import ExecutorSafeguard
    from airflow.sdk.execution_time import task_runner

    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    monkeypatch.setattr("airflow_wan.triggers.wan.FIRST_READ_S", 0.0)  # there is no scheduler that has to keep up
    runner = TaskRunner()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SupervisorComms(runner.store), raising=False)
    return runner


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Defines the Airflow connection `wan_default`."""

    def define(base_url: str, conn_id: str = "wan_default", password: str = API_KEY, **extra: Any) -> None:
        connection = {"conn_type": "wan", "password": password, "host": base_url, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))

    return define
