"""Tells when a wait is given up: a task in the gateway's queue is not, as long as the gateway keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_wan.api.tasks import TaskStatus

if TYPE_CHECKING:
    from airflow_wan.api.tasks import WanTask

TASK_KEPT_S = 24 * 3600.0
"""Seconds for which both gateways keep a task. Until then, that a gateway does not know it is no proof: it may have
been asked with the key of another account, or err."""

DEFAULT_QUEUE_TIMEOUT_S = TASK_KEPT_S
"""Seconds for which a task may be queued. An account runs few tasks at a time (DashScope: 5 of each model), so most of
a long wait may be queue."""


@dataclass(slots=True)
class Patience:
    """When to give up one wait.

    All moments are Unix times in seconds, so that another process that goes on with the wait keeps them.

    :param started: when the wait began.
    :param deadline: when to give up a task of which nothing is known. The time from `started` to this moment is what a
        task may take once it has left the queue.
    :param queue_deadline: until when a task may be queued.
    :param latest: when to give up whatever the gateway says.
    :param sees_all: whether the same object gets all reads of the wait. If not, it cannot know when a task left the
        queue of a gateway that does not tell, and its time counts from `started`.
    """

    started: float
    deadline: float
    queue_deadline: float
    latest: float
    sees_all: bool = True
    is_queued: bool = field(default=False, init=False)
    _counts_from: float | None = field(default=None, init=False)

    @property
    def timeout_s(self) -> float:
        """What a task may take once it has left the queue, in seconds."""
        return self.deadline - self.started

    @property
    def gives_up_at(self) -> float:
        """When to give up, by what was seen last."""
        if self.is_queued:
            return min(self.queue_deadline, self.latest)
        counts_from = self.started if self._counts_from is None else self._counts_from
        return min(counts_from + self.timeout_s, self.latest)

    def look(self, now: float) -> None:
        """Take note of a read that told nothing of the task's state.

        A process that takes a wait over may find its deadline passed, for the task was queued for long. It gives the
        task the time anew.
        """
        if self._counts_from is None and self.sees_all:
            self._counts_from = self.started if now < self.deadline else now

    def see(self, task: WanTask, now: float) -> None:
        """Take note of a read that told the task's state."""
        self.look(now)
        if task.status is TaskStatus.UNKNOWN:
            return
        was_queued, self.is_queued = self.is_queued, task.status is TaskStatus.QUEUED
        if self.is_queued:
            return
        if task.started_at is not None:
            self._counts_from = min(max(self.started, task.started_at.timestamp()), now)
        elif was_queued:
            self._counts_from = now

    def __str__(self) -> str:
        """Return which limit ends the wait, as the end of a sentence."""
        if self.gives_up_at >= self.latest:
            return f"within {self.latest - self.started:.0f} s in all"
        if self.is_queued:
            return f"within {self.queue_deadline - self.started:.0f} s (queue_timeout), and it is still queued"
        left_late = self._counts_from is not None and self._counts_from > self.started
        return f"within {self.timeout_s:.0f} s{' of leaving the queue' if left_late else ''} (timeout)"
