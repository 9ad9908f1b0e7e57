"""One of the waits that share a reader: what the reader knows of it, and the decisions that it hands over."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from airflow_wan.api.tasks import TaskStatus
from airflow_wan.waiting.listing import ENDED
from airflow_wan.waiting.watch import Decision, Verdict

if TYPE_CHECKING:
    from airflow_wan.waiting.watch import VideoWatch

LAST_READ_S = 60.0
"""Seconds after its deadline in which a wait is read for the last time. Then it ends without."""

RANKS = {TaskStatus.QUEUED: 0, TaskStatus.RUNNING: 1, **dict.fromkeys(ENDED, 2)}
"""The order in which a task has its states."""


class SharedWait:
    """One wait for a Wan task; made by `SharedReader.joined`.

    :ivar watch: what decides on what is read.
    :ivar created: when the task was created, as far as is known, as a Unix time in seconds.
    :ivar deadline: when it is to be given up, as the reader has noted it.
    :ivar joined: when the wait joined.
    :ivar row_at: when the list last showed the task, None if it does not.
    :ivar held_until: when the task may be read again, after a read that failed.
    :ivar rank: the latest state that was seen, as in `RANKS`.
    :ivar is_doubtful: whether the gateway had no answer for the task the last time.
    :ivar must_read: whether the task itself is to be read, whatever the list shows.
    :ivar throttled: how many reads in a row were answered 429.
    :ivar reading: the read that is under way.
    :ivar is_over: whether the wait has its last decision.
    """

    __slots__ = (
        "_changed",
        "_news",
        "created",
        "deadline",
        "held_until",
        "is_doubtful",
        "is_over",
        "joined",
        "must_read",
        "rank",
        "reading",
        "row_at",
        "throttled",
        "watch",
    )

    def __init__(self, watch: VideoWatch, now: float) -> None:
        self.watch = watch
        self.created = watch.started
        self.joined = now
        self.row_at: float | None = None
        self.held_until = now
        self.deadline = float("nan")
        self.rank = 0
        self.is_doubtful = False
        self.must_read = False
        self.throttled = 0
        self.reading: asyncio.Task[None] | None = None
        self.is_over = False
        self._news: list[Decision] = []
        self._changed: asyncio.Future[None] | None = None

    async def decision(self) -> Decision:
        """Return the next decision that says something: one that has notes, or ends the wait."""
        while not self._news:
            self._changed = asyncio.get_running_loop().create_future()
            left_s = max(self.watch.gives_up_at, self.joined) + LAST_READ_S - time.time()
            try:
                # Not `wait_for`, which would make a task of it.
                async with asyncio.timeout(left_s):
                    await self._changed
            except TimeoutError:
                self.tell(self.watch.see_no_answer(time.time()))
            finally:
                self._changed = None
        return self._news.pop(0)

    def tell(self, decision: Decision) -> None:
        """Hand a decision to whoever waits."""
        self.is_over = decision.verdict is not Verdict.WAIT
        if not decision.notes and decision.verdict is Verdict.WAIT:
            return
        self._news.append(decision)
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
