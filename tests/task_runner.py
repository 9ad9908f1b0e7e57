"""Run a task's code as Airflow's task runner does, try after try, without the rest of Airflow.

Only Airflow is replaced here: the operator, the ledger, the client and the trigger are the real ones, and the gateway
is the emulator. tests/dags and tests/system use a whole Airflow.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.version_compat import get_base_airflow_version_tuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_wan.emulator.testing import RunningEmulator

HAS_STATE_STORE = get_base_airflow_version_tuple() >= (3, 3)
API_KEY = "sk-unit-tests-0123456789"


@contextmanager
def out_of_time(emulator: RunningEmulator) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """In this block, every video is still being made, so a task's `timeout` passes; afterwards, it is finished."""
    emulator.add_fault("poll", "unknown_status", word="RUNNING", times=None)
    with pytest.raises(Exception, match="No result within") as raised:
        yield raised
    emulator.clear_faults()


class StateStore:
    """What Airflow keeps for tasks, in memory. It keeps values as JSON, as Airflow's database does."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.rows[key]) if key in self.rows else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.rows[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.rows.pop(key, None)

    @property
    def record(self) -> dict[str, Any]:
        """The purchase record that was written last, in any row; empty if there is none."""
        return json.loads(list(self.rows.values())[-1]) if self.rows else {}

    def replace_record(self, record: Any) -> None:
        """Put another record in the place of the one that was written last."""
        self.rows[list(self.rows)[-1]] = json.dumps(record)


class TryStateStore:
    """Airflow's task state store as one try sees it: with the id of a try that is over, nothing is found or kept."""

    def __init__(self, runner: TaskRunner, ti_id: uuid.UUID) -> None:
        self._runner, self._ti_id = runner, ti_id

    def get(self, key: str, default: Any = None) -> Any:
        return self._runner.store.get(key, default) if self._is_current() else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self._check()
        self._runner.store.set(key, value, retention=retention)

    def delete(self, key: str) -> None:
        self._check()
        self._runner.store.delete(key)

    def _is_current(self) -> bool:
        return self._runner.instance.id == self._ti_id

    def _check(self) -> None:
        from airflow.sdk.exceptions import AirflowRuntimeError

        if not self._is_current():
            raise AirflowRuntimeError(_not_found())


class SupervisorComms:
    """The task's channel to Airflow. Before Airflow 3.3, the record is a Variable."""

    def __init__(self, runner: TaskRunner) -> None:
        self.runner = runner

    def send(self, message: Any) -> Any:
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, OKResponse, TaskStatesResult, VariableResult

        store = self.runner.store
        what = type(message).__name__
        if what == "GetVariable":
            record = store.get(message.key)
            if record is None:
                return ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND, detail={"key": message.key})
            return VariableResult(key=message.key, value=json.dumps(record))
        if what == "GetTaskStates":
            return TaskStatesResult(task_states=_states(message))
        if what == "ValidateInletsAndOutlets":
            is_known = any(runner.instance.id == message.ti_id for runner in _RUNNERS)
            return OKResponse(ok=True) if is_known else _not_found()
        if what == "PutVariable":
            store.set(message.key, json.loads(message.value))
        elif what == "DeleteVariable":
            store.delete(message.key)
        elif what == "GetConnection":
            return _connection_of_the_environment(message.conn_id)
        elif what != "MaskSecret":
            raise AssertionError(f"unexpected message {what}")
        return OKResponse(ok=True)


def _states(message: Any) -> dict[str, dict[str, str]]:
    """What Airflow says of the state of a task instance: the names of mapped ones end with their index."""
    states: dict[str, dict[str, str]] = {}
    for runner in _RUNNERS:
        instance, is_mapped = runner.instance, runner.instance.map_index >= 0
        asked_for = instance.dag_id == message.dag_id and instance.task_id in message.task_ids
        if asked_for and instance.run_id in message.run_ids and message.map_index in (None, instance.map_index):
            name = f"{instance.task_id}_{instance.map_index}" if is_mapped else instance.task_id
            states.setdefault(instance.run_id, {})[name] = runner.state
    return states


def _not_found() -> Any:
    """What the supervisor answers when the API server does not know the id of a try."""
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    return ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 404, "message": "Not Found"})


def _connection_of_the_environment(conn_id: str) -> Any:
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ConnectionResult, ErrorResponse

    defined = os.environ.get(f"AIRFLOW_CONN_{conn_id.upper()}")
    if defined is None:
        return ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND, detail={"conn_id": conn_id})
    fields = json.loads(defined)
    return ConnectionResult(conn_id=conn_id, **fields | {"extra": json.dumps(fields.get("extra", {}))})


class XComs:
    """Airflow's XComs of one test: (run, task, map index, key) → value, in the order in which they were pushed."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, int, str], Any] = {}

    def clear(self, run_id: str, task_id: str, map_index: int) -> None:
        for row in [row for row in self.rows if row[:3] == (run_id, task_id, map_index)]:
            del self.rows[row]


_RUNNERS: list[TaskRunner] = []
"""The task instances that Airflow knows; a test may have several."""


@dataclass
class TaskInstance:
    """The parts of Airflow's task instance that the operators use."""

    dag_id: str = "films"
    run_id: str = "manual__2026-11-22T00:00:00+00:00"
    task_id: str = "animate"
    map_index: int = -1
    try_number: int = 0
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    xcoms: dict[str, Any] = field(default_factory=dict)
    all_xcoms: XComs = field(default_factory=XComs)

    others: dict[str, list[Any]] = field(default_factory=dict)
    """The ``wan_task_id`` that each other instance of a task of the DAG run holds; None for one that holds none."""

    states: dict[str, list[str | None]] = field(default_factory=dict)
    """Their states, in the same order, if they are not all running."""

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))
        self.all_xcoms.rows[self.run_id, self.task_id, self.map_index, key] = self.xcoms[key]

    def xcom_pull(
        self,
        *,
        task_ids: str | list[str],
        key: str,
        map_indexes: int | list[int] | None = None,
        include_prior_dates: bool = False,
    ) -> Any:
        """Return the latest value of one task and map index, or, for a list of tasks, all values of this run."""
        wanted = [task_ids] if isinstance(task_ids, str) else task_ids
        indexes = [map_indexes] if isinstance(map_indexes, int) else map_indexes
        found = [
            value
            for (run_id, task_id, map_index, its_key), value in self.all_xcoms.rows.items()
            if task_id in wanted
            and its_key == key
            and (include_prior_dates or run_id == self.run_id)
            and (indexes is None or map_index in indexes)
        ]
        if isinstance(task_ids, str):
            return found[-1] if found else None
        others = [
            value
            for task_id in wanted
            for map_index, value in self._others_of(task_id).items()
            if value is not None and (indexes is None or map_index in indexes)
        ]
        return (others if key == "wan_task_id" else []) + found

    def _others_of(self, task_id: str) -> dict[int, Any]:
        """Return what the other instances of a task hold, by map index."""
        others = self.others.get(task_id, [])
        if task_id != self.task_id and len(others) == 1:
            return {-1: others[0]}
        free = (index for index in range(len(others) + 1) if (task_id, index) != (self.task_id, self.map_index))
        return dict(zip(free, others, strict=False))

    def get_task_states(self, *, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, dict[str, Any]]:
        """Return the states of task instances of this run, as Airflow names them."""
        states = {(self.task_id, self.map_index): "running"} if self.task_id in task_ids else {}
        for task_id in task_ids:
            indexes = self._others_of(task_id)
            states |= {(task_id, index): state for index, state in zip(indexes, self._states_of(task_id), strict=True)}
        named = {name if index < 0 else f"{name}_{index}": state for (name, index), state in states.items()}
        return {run_id: named for run_id in run_ids if run_id == self.run_id and dag_id == self.dag_id}

    def _states_of(self, task_id: str) -> list[str | None]:
        return self.states.get(task_id) or ["running"] * len(self.others.get(task_id, ()))


class TaskRunner:
    """One task instance over all its tries. XComs are deleted before each try; the state store is kept.

    :param has_state_store: whether there is a task state store, as in Airflow 3.3 and later.
    """

    def __init__(self, *, has_state_store: bool = HAS_STATE_STORE) -> None:
        self.has_state_store = has_state_store
        self.store = StateStore()
        self.instance = TaskInstance()
        self.state = "running"
        _RUNNERS.append(self)
        self.events: list[dict[str, Any]] = []
        self.before_firing: Callable[[], object] = lambda: None
        self.trigger_kwargs: list[dict[str, Any]] = []

    def run(self, task: Any, *, killed_before_success: bool = False) -> Any:
        """Run one try: execute; if the task defers, run the trigger and resume; then call the success callbacks.

        :param killed_before_success: end before the callbacks, like a worker that is killed before Airflow has
            recorded the success.
        :return: what the task returns.
        """
        instance = self.instance = copy.copy(self.instance)
        instance.task_id, instance.try_number = task.task_id, instance.try_number + 1
        instance.id, instance.xcoms = uuid.uuid4(), {}
        self.state = "running"
        try:
            return self._run(task, instance, killed_before_success=killed_before_success)
        finally:
            if instance is self.instance:  # no later try has begun while this one was frozen
                self.state = "up_for_retry"

    def _run(self, task: Any, instance: TaskInstance, *, killed_before_success: bool) -> Any:
        from airflow.providers.common.compat.sdk import TaskDeferred

        instance.all_xcoms.clear(instance.run_id, instance.task_id, instance.map_index)
        context: Any = {"ti": instance, "task": task}
        if self.has_state_store:
            context["task_state_store"] = TryStateStore(self, instance.id)
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
        self.before_firing()

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
    _RUNNERS.clear()
    runner = TaskRunner()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SupervisorComms(runner), raising=False)
    return runner


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that defines the Airflow connection `wan_default`."""

    def define(base_url: str, conn_id: str = "wan_default", password: str = API_KEY, **extra: Any) -> None:
        connection = {"conn_type": "wan", "password": password, "host": base_url, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))

    return define
