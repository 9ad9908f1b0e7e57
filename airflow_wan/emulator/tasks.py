"""Tasks and their states, which depend on the clock and on whether the mp4 is ready."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from airflow_wan.emulator.validation import Failure, Order

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from airflow_wan.emulator.gateway_names import GatewayName
    from airflow_wan.emulator.rendering import Outcome, RenderedVideo

# The last four characters of a shorter key would reveal too much of it.
_SHORTEST_NAMED_KEY = 10


class State(StrEnum):
    """The states of a task in DashScope's words; UNKNOWN is missing, because it is an answer and not a state."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


@dataclass(frozen=True)
class Caller:
    """The account that a key belongs to; the key itself is not kept."""

    digest: str
    last4: str

    @classmethod
    def of(cls, key: str) -> Caller:
        """Return the account of `key`; each key counts as an account of its own."""
        last4 = key[-4:] if len(key) >= _SHORTEST_NAMED_KEY else ""
        return cls(hashlib.sha256(key.encode()).hexdigest(), last4)


@dataclass(frozen=True)
class Snapshot:
    """A task at one moment; times are seconds since the epoch, and only an ended task has a video or a failure."""

    state: State
    scheduled_at: float | None = None
    ended_at: float | None = None
    video: RenderedVideo | None = None
    failure: Failure | None = None


@dataclass
class Task:
    """One accepted create; times are seconds since the epoch."""

    order: Order
    gateway: GatewayName
    caller: Caller
    created_at: float
    starts_at: float
    ready_at: float
    expires_at: float
    work: Future[Outcome]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    canceled_at: float | None = None

    def at(self, now: float) -> Snapshot:
        """Return the task as it is at `now`."""
        if self.canceled_at is not None and now >= self.canceled_at:
            return Snapshot(State.CANCELED, ended_at=self.canceled_at)
        if now < self.starts_at:
            return Snapshot(State.PENDING)
        running = Snapshot(State.RUNNING, scheduled_at=self.starts_at)
        if not self.work.done():
            return running
        outcome = self.work.result()
        if isinstance(outcome.result, Failure):
            ended_at = max(self.starts_at, outcome.at)
            return Snapshot(State.FAILED, self.starts_at, ended_at, failure=outcome.result)
        ended_at = max(self.ready_at, outcome.at)
        if now < ended_at:
            return running
        return Snapshot(State.SUCCEEDED, self.starts_at, ended_at, video=outcome.result)

    def cancel(self, now: float) -> bool:
        """Cancel the task if it is PENDING; return whether it was."""
        if self.at(now).state is not State.PENDING:
            return False
        self.canceled_at = now
        self.work.cancel()
        return True


class TaskStore:
    """Every task since the last reset."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def add(self, task: Task) -> None:
        """Add a new task."""
        self._tasks[task.id] = task

    def find(self, task_id: str, gateway: GatewayName, caller: Caller, now: float) -> Task | None:
        """Return the caller's task, or None if it is unknown, has expired or belongs to another account."""
        task = self._tasks.get(task_id)
        if task is None or task.gateway is not gateway or task.caller != caller or now >= task.expires_at:
            return None
        return task

    def get(self, task_id: str) -> Task | None:
        """Return the task of a result URL, which works for every account."""
        return self._tasks.get(task_id)

    def of(self, gateway: GatewayName, caller: Caller, now: float) -> list[Task]:
        """Return the caller's tasks that have not expired, newest first."""
        return [task for task in reversed(self._tasks.values()) if self.find(task.id, gateway, caller, now)]

    def at(self, gateway: GatewayName, now: float) -> list[Task]:
        """Return the tasks of every caller at a gateway that have not expired, newest first."""
        return [task for task in reversed(self._tasks.values()) if task.gateway is gateway and now < task.expires_at]

    def __iter__(self) -> Iterator[Task]:
        """Iterate over all tasks, oldest first."""
        return iter(list(self._tasks.values()))

    def clear(self) -> None:
        """Cancel the work on every task, and forget the tasks."""
        for task in self:
            task.work.cancel()
        self._tasks.clear()
