"""Tasks and their states, which depend on the clock, on their queue and on whether the mp4 is ready."""

from __future__ import annotations

import hashlib
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from airflow_wan.emulator.queues import Queue
from airflow_wan.emulator.validation import Failure, Order

if TYPE_CHECKING:
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
    """One accepted create; times are seconds since the epoch.

    :param may_start_at: when it is PENDING no longer, unless it then waits in a queue.
    :param running_s: how long it is RUNNING; longer if its mp4 is not ready by then.
    :param is_canceled_at_start: whether it is canceled when it would start.
    :param starts_at: when it has left the queue; None as long as that is unknown.
    """

    order: Order
    gateway: GatewayName
    caller: Caller
    created_at: float
    may_start_at: float
    running_s: float
    expires_at: float
    work: Future[Outcome]
    is_canceled_at_start: bool = False
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    starts_at: float | None = None
    canceled_at: float | None = None

    def start(self, at: float) -> None:
        """Let it leave the queue; `at` may be in the future."""
        self.starts_at = at
        if self.is_canceled_at_start:
            self.canceled_at = at

    def at(self, now: float) -> Snapshot:
        """Return the task as it is at `now`, as far as its queue was settled."""
        if self.canceled_at is not None and now >= self.canceled_at:
            return Snapshot(State.CANCELED, ended_at=self.canceled_at)
        if self.starts_at is None or now < self.starts_at:
            return Snapshot(State.PENDING)
        running = Snapshot(State.RUNNING, scheduled_at=self.starts_at)
        if not self.work.done():
            return running
        outcome = self.work.result()
        has_failed = isinstance(outcome.result, Failure)
        ended_at = max(self.starts_at + (0 if has_failed else self.running_s), outcome.at)
        if now < ended_at:
            return running
        if isinstance(outcome.result, Failure):
            return Snapshot(State.FAILED, self.starts_at, ended_at, failure=outcome.result)
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
        # An account may have thousands of tasks, and read its list every second.
        self._of_account: defaultdict[tuple[GatewayName, Caller], list[Task]] = defaultdict(list)
        self._queues: dict[tuple[GatewayName, Caller, str], Queue] = {}

    def add(self, task: Task, places: int | None) -> None:
        """Add a new task.

        :param places: how many tasks of its account and model may be in process at a time; None for no limit.
        """
        self._tasks[task.id] = task
        self._of_account[task.gateway, task.caller].append(task)
        if places is None:
            task.start(task.may_start_at)
        else:
            self._queues.setdefault(_queue_of(task), Queue(places)).join(task)

    def find(self, task_id: str, gateway: GatewayName, caller: Caller, now: float) -> Task | None:
        """Return the caller's task, or None if it is unknown, has expired or belongs to another account."""
        task = self.get(task_id, now)
        return task if task is not None and _is_shown(task, gateway, now) and task.caller == caller else None

    def get(self, task_id: str, now: float) -> Task | None:
        """Return the task of a result URL, which works for every account."""
        task = self._tasks.get(task_id)
        if task is not None and (queue := self._queues.get(_queue_of(task))):
            queue.settle(now)
        return task

    def of(self, gateway: GatewayName, caller: Caller, now: float) -> list[Task]:
        """Return the caller's tasks that have not expired, newest first."""
        self._settle(now)
        return [task for task in reversed(self._of_account[gateway, caller]) if now < task.expires_at]

    def at(self, gateway: GatewayName, now: float) -> list[Task]:
        """Return the tasks of every caller at a gateway that have not expired, newest first."""
        return [task for task in reversed(self.all(now)) if _is_shown(task, gateway, now)]

    def all(self, now: float) -> list[Task]:
        """Return all tasks, oldest first."""
        self._settle(now)
        return list(self._tasks.values())

    def clear(self) -> None:
        """Cancel the work on every task, and forget the tasks."""
        for task in list(self._tasks.values()):
            task.work.cancel()
        self._tasks.clear()
        self._of_account.clear()
        self._queues.clear()

    def _settle(self, now: float) -> None:
        for queue in list(self._queues.values()):
            queue.settle(now)


def _queue_of(task: Task) -> tuple[GatewayName, Caller, str]:
    return task.gateway, task.caller, task.order.model


def _is_shown(task: Task, gateway: GatewayName, now: float) -> bool:
    return task.gateway is gateway and now < task.expires_at
