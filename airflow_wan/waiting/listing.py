"""Reads many waits at once from DashScope's list of tasks, and finds out how far that list can be believed.

Alibaba documents neither the longest page nor the order of the rows, nor in which time zone the two times of a request
are read, nor how late a row may be. So nothing of it is assumed: a page that is refused is asked for smaller, a window
of time without any of our tasks is asked for in another zone, and what a row says of an end is compared with the task
itself until it has proven right. Whatever the list does not tell, single reads do.

Nothing here reads a clock or a socket; `now` is a Unix time in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from airflow_wan.api.tasks import CHINA_TIME, TaskStatus
from airflow_wan.exceptions import AuthenticationFailed, RateLimited, WanError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_wan.api.tasks import ListedTask, ListPage

HANDFUL = 4
"""Waits up to which single reads are as cheap as pages of a list; likewise the waits that a page must show to be worth
reading."""

SWEEP_EVERY_S = 5.0
"""Least seconds from the beginning of one reading of the list to that of the next."""

PAGE_SIZES = (100, 50, 20, 10)
"""Rows of a page that are asked for, one after the other until the gateway accepts one. Its default is 10."""

MAX_PAGES = 100
"""Most pages of one reading."""

OFF_S = 600.0
"""Seconds for which the list is not read after it has proven useless or wrong."""

TOO_LONG_S = 60.0
"""Seconds for which the list is not read after it took many pages to show few of our tasks."""

FAILED_S = 15.0
"""Seconds for which the list is not read after it could not be read; twice as long each time, up to `OFF_S`."""

PROVEN_BY = 3
"""Ends that a list must have told rightly before it is believed."""

PROVEN_AGAIN = 20
"""One in so many ends that a list tells is compared with the task itself from then on."""

LONGEST_LAG_S = 15.0
"""Seconds for which a row may go on to show a task as unfinished whose end was read."""

LONGEST_NEWNESS_S = 30.0
"""Seconds for which a new task may be missing in the list."""

FORGET_LAG_S = 60.0
"""Seconds after which a task whose end was read is not looked for in the list any more."""

CLOCK_SLACK_S = 300.0
"""Seconds by which the gateway's clock may differ from ours."""

LONGEST_SPAN = timedelta(hours=24)
"""Longest time from start to end of a list (Alibaba)."""

NO_LIST_STATUSES = (404, 405, 501)
"""By which a relay says that it has no list of tasks."""

_REFUSED_PAGE = range(400, 500)

ENDED = (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELED)

_ZONES: tuple[tzinfo | None, ...] = (CHINA_TIME, UTC, None)
"""Time zones in which the gateway may read the times of a request; None: no times are sent. DashScope writes its own
times in the first."""


@dataclass(slots=True)
class Sweep:
    """One reading of the list, page by page, until every task that is looked for was seen.

    :param wanted: the ids that are looked for.
    :param start: begin of the window, None to leave it to the gateway.
    :param end: its end.
    :param page_size: rows of a page that are asked for.
    :param began: when it began.
    :param looks_for_old: whether a task is looked for that is so old that it must be there.
    """

    wanted: frozenset[str]
    start: datetime | None
    end: datetime | None
    page_size: int
    began: float
    looks_for_old: bool
    page: int = 1
    is_over: bool = False
    found: set[str] = field(default_factory=set)
    _seen: set[str] = field(default_factory=set)

    def take(self, listed: ListPage) -> list[ListedTask]:
        """Return the rows of a page that are looked for, and turn to the next page, if there is one."""
        ids = {row.wan_task_id for row in listed.rows}
        brought_nothing_new = ids <= self._seen
        self._seen |= ids
        self.found |= ids & self.wanted
        if listed.total is not None:
            was_last = len(self._seen) >= listed.total
        else:
            was_last = listed.total_pages is not None and self.page >= listed.total_pages
        self.is_over = was_last or brought_nothing_new or self.found == self.wanted or self.page >= MAX_PAGES
        if not self.is_over:
            self.page += 1
        return [row for row in listed.rows if row.wan_task_id in self.wanted]


class TaskList:
    """What is known of the list of one account's tasks: whether and how it can be read, and whether it is right.

    :param offered: whether the gateway has such a list.
    :ivar tries_again: whether the last reading told nothing but that the next one must ask in another way.
    """

    def __init__(self, *, offered: bool) -> None:
        self._offered = offered
        self._off_until = float("-inf")
        self._failures = 0
        self._page_sizes = list(PAGE_SIZES)
        self._zones = list(_ZONES)
        self._is_right_zone = False
        self.tries_again = False
        self._proven = 0
        self._to_prove: set[str] = set()
        self._ends = 0
        self._ended_since: dict[str, float] = {}

    def serves(self, waits: int, now: float) -> bool:
        """Return whether so many waits are better read from the list, which works as far as is known."""
        return self._offered and waits > HANDFUL and now >= self._off_until

    def begin(self, created: Mapping[str, float], now: float) -> Sweep:
        """Return a reading of the list.

        :param created: when the tasks that are looked for were created, as far as is known, by their ids.
        """
        self.tries_again = False
        self._to_prove.clear()
        self._ended_since = {name: at for name, at in self._ended_since.items() if now - at < FORGET_LAG_S}
        zone = self._zones[0]
        start = end = None
        if zone is not None:
            begin = max(min(created.values(), default=now), now - LONGEST_SPAN.total_seconds() + 2 * CLOCK_SLACK_S)
            start = datetime.fromtimestamp(int(begin - CLOCK_SLACK_S), tz=zone)
            end = start + LONGEST_SPAN
        looks_for_old = min(created.values(), default=now) < now - LONGEST_NEWNESS_S
        return Sweep(frozenset(created) | self._ended_since.keys(), start, end, self._page_sizes[0], now, looks_for_old)

    def end(self, sweep: Sweep, now: float) -> str:
        """Judge a reading that is over.

        :returns: a line for the log if the list is not read any more for a while; empty otherwise.
        """
        self._failures = 0
        if sweep.found:
            self._is_right_zone = True
        elif sweep.looks_for_old:
            if not self._is_right_zone:
                del self._zones[0]
                if self._zones:
                    self.tries_again = True
                    return ""
                self._zones = list(_ZONES)
            return self._off("it shows none of the tasks that are waited for", now)
        if sweep.page > 1 and len(sweep.found) < HANDFUL * sweep.page:
            self._off_until = now + TOO_LONG_S  # until others have joined, single reads are cheaper
        return ""

    def fail(self, error: WanError, now: float) -> str:
        """Take note that a page could not be read.

        :returns: a line for the log if the list is not read any more for a while; empty otherwise.
        """
        status = error.http_status
        if status in NO_LIST_STATUSES:
            self._offered = False
            return f"The gateway has no list of tasks (HTTP {status}); each is read on its own."
        if isinstance(error, RateLimited):
            return ""
        may_be_the_size = status in _REFUSED_PAGE and not isinstance(error, AuthenticationFailed)
        if may_be_the_size and len(self._page_sizes) > 1:
            del self._page_sizes[0]
            self.tries_again = True
            return ""
        self._failures += 1
        pause_s = min(FAILED_S * 2 ** min(self._failures - 1, 10), OFF_S)
        self._page_sizes = list(PAGE_SIZES)
        return self._off(f"it cannot be read ({error})", now, pause_s)

    def see_row(self, row: ListedTask, now: float) -> str:
        """Compare a row with what single reads have told.

        :returns: a line for the log if the list is not read any more for a while; empty otherwise.
        """
        ended = self._ended_since.get(row.wan_task_id)
        if ended is None:
            return ""
        if row.status in ENDED:
            del self._ended_since[row.wan_task_id]
        elif now - ended > LONGEST_LAG_S:
            return self.disagree(f"it shows a task as unfinished {now - ended:.0f} s after its end was read", now)
        return ""

    def must_prove(self, wan_task_id: str) -> bool | None:
        """Return whether an end that a row tells is to be compared with the task; None: others are, wait for them."""
        if wan_task_id in self._to_prove:
            return True
        if self._proven < PROVEN_BY:
            if len(self._to_prove) >= PROVEN_BY:
                return None
        else:
            self._ends += 1
            if self._ends % PROVEN_AGAIN:
                return False
        self._to_prove.add(wan_task_id)
        return True

    def prove(self) -> None:
        """Take note that a task ended as its row had told."""
        self._proven += 1

    def miss_end(self, wan_task_id: str, now: float) -> None:
        """Take note that a task has ended of which the last row said that it had not."""
        self._ended_since[wan_task_id] = now

    def disagree(self, reason: str, now: float) -> str:
        """Stop reading the list for a while, for what it told was wrong.

        :returns: a line for the log.
        """
        self._proven = 0
        self._ended_since.clear()
        return self._off(reason, now)

    def _off(self, reason: str, now: float, pause_s: float = OFF_S) -> str:
        is_news = now >= self._off_until
        self._off_until = now + pause_s
        line = f"The gateway's list of tasks is not read for {pause_s:.0f} s, each task is read on its own: {reason}."
        return line if is_news else ""
