"""The one reader of a gateway account in a process: all waits of an event loop for that account share it.

It reads for as many waits as there are with one client, within the account's limits, in the order that the schedule
says: many at once from the gateway's list of tasks where there is one, and each on its own where not. A wait joins,
gets decisions and leaves::

    with shared_reader(account, limits).joined(watch) as wait:
        decision = await wait.decision()

Joining and leaving are no more than entries in tables, so a wait that is canceled at any point leaves nothing behind.
What goes on between waits is a task of its own, which ends with the last of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import secrets
import time
from collections import deque
from contextlib import contextmanager
from contextvars import Context
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Protocol, cast

from airflow_wan.api.tasks import TaskStatus
from airflow_wan.exceptions import GatewayUnavailable, RateLimited, WanConnectionError, WanError
from airflow_wan.redaction import redact
from airflow_wan.waiting.limits import CallRate
from airflow_wan.waiting.listing import ENDED, SWEEP_EVERY_S, TaskList
from airflow_wan.waiting.per_loop import of_running_loop
from airflow_wan.waiting.schedule import READ_COST_S, ReadSchedule
from airflow_wan.waiting.shared_wait import RANKS, SharedWait
from airflow_wan.waiting.watch import Decision, Verdict

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Coroutine, Iterator
    from typing import Any

    from airflow_wan.api.client import AsyncWanClient
    from airflow_wan.api.gateways import Account
    from airflow_wan.api.tasks import ListedTask, ListPage, WanTask
    from airflow_wan.waiting.limits import Limits
    from airflow_wan.waiting.listing import Sweep
    from airflow_wan.waiting.watch import VideoWatch

log = logging.getLogger(__name__)

MOST_READS = 128
"""Reads that may be under way at a time. A slow answer holds up no more than its own."""

MOST_DOUBTFUL_READS = 16
"""Of these, reads of tasks for which the gateway had no answer the last time."""

COVERED_S = 20.0
"""Seconds for which a row of the list stands for a read of the task, and for which a new wait is left to the list."""

LONGEST_COVERED_S = 120.0
"""Seconds to which that grows while the list takes long to read. A list that the gateway makes wait for longer, page by
page or with a ``Retry-After``, holds up no video."""

AUDIT_EVERY_S = 20.0
"""Seconds after which one of the tasks that the list shows is read all the same, to see whether the list is late."""

LONGEST_PAGE_S = 20.0
"""Seconds that the gateway has for a page of its list."""

RESTART_S = 5.0
"""Seconds after which the reader begins again after an error of its own."""

SET_BACK_S = 5.0
"""A clock that goes back by more seconds has been set back; by fewer, it was only corrected."""

LONGEST_PAUSE_S = 60.0
"""Seconds after which the reader looks at the clock again, whatever it waits for."""

_STARTS_IN_A_ROW = 50
"""Waits that are looked at before the event loop gets to do something else."""


class Observer(Protocol):
    """Who is told what a reader does; it must not raise."""

    def count_read(self, gateway: str, kind: str, *, throttled: bool) -> None:
        """Count a call to the gateway: ``task`` or ``list``; and whether it was told to slow down."""

    def count_waiting(self, gateway: str, waits: int) -> None:
        """Tell how many waits there are."""


class SharedReader:
    """Reads for all waits of one account on one event loop; get it by `shared_reader`.

    :param account: the account.
    :param limits: how many calls a second it may make here.
    :param observer: who is told what it does.
    """

    def __init__(self, account: Account, limits: Limits, observer: Observer | None = None) -> None:
        self._account = account
        self._observer = observer
        self._reads = CallRate(limits.reads_per_second)
        self._lists = CallRate(limits.lists_per_second)
        self._list = TaskList(offered=account.gateway.can_list)
        self._schedule = ReadSchedule()
        self._waits: set[SharedWait] = set()
        self._by_task: dict[str, list[SharedWait]] = {}
        self._first: deque[SharedWait] = deque()
        self._deadlines: list[tuple[float, int, SharedWait]] = []
        self._numbers = count()
        self._under_way: set[asyncio.Task[None]] = set()
        self._doubtful_reads = 0
        self._sweeping = self._sweep_wanted = False
        self._sweep_began = self._swept = self._audited = self._now = float("-inf")
        self._covered_s = COVERED_S
        self._row_cost_s = READ_COST_S
        self._running: asyncio.Task[None] | None = None
        self._wake: asyncio.Event | None = None

    def __repr__(self) -> str:
        """Return where it reads and for how many; never the key."""
        return f"<SharedReader of {len(self._waits)} waits at {self._account.base_url}>"

    def __len__(self) -> int:
        """Return how many waits there are."""
        return len(self._waits)

    # ------------------------------------------------------------------------------------------------------------
    # Joining and leaving

    @contextmanager
    def joined(self, watch: VideoWatch, *, at_once: bool = False) -> Iterator[SharedWait]:
        """Wait together with the others for as long as the context lasts.

        :param watch: the wait so far.
        :param at_once: whether to read it as soon as possible, and not when the schedule says.
        """
        wait = SharedWait(watch, time.time())
        self._join(wait, at_once=at_once)
        try:
            yield wait
        finally:
            self._leave(wait)

    def _join(self, wait: SharedWait, *, at_once: bool) -> None:
        watch = wait.watch
        self._waits.add(wait)
        self._by_task.setdefault(watch.wan_task_id, []).append(wait)
        self._schedule.join(wait, watch.kind, started=watch.started, now=wait.joined, poll_interval=watch.poll_interval)
        self._note_deadline(wait)
        if at_once:
            self._first.append(wait)
        self._tell_how_many()
        if self._running is None:
            # In a context of its own: what it logs is no line of the trigger that happens to come first.
            self._running = asyncio.get_running_loop().create_task(self._run(), context=Context())
        self._look_again()

    def _leave(self, wait: SharedWait) -> None:
        self._waits.remove(wait)
        same = self._by_task[wait.watch.wan_task_id]
        same.remove(wait)
        if not same:
            del self._by_task[wait.watch.wan_task_id]
        self._schedule.leave(wait)
        if wait.reading is not None:
            wait.reading.cancel()
        if len(self._deadlines) > 2 * len(self._waits):
            self._deadlines = [entry for entry in self._deadlines if entry[2] in self._waits]
            heapify(self._deadlines)
            self._first = deque(wait for wait in self._first if wait in self._waits)
        self._tell_how_many()
        self._look_again()

    def _look_again(self) -> None:
        if self._wake is not None:
            self._wake.set()

    def _tell_how_many(self) -> None:
        if self._observer is not None:
            self._observer.count_waiting(self._account.gateway.name, len(self._waits))

    # ------------------------------------------------------------------------------------------------------------
    # The loop

    async def _run(self) -> None:
        """Read as long as anyone waits."""
        try:
            while self._waits:
                try:
                    await self._serve()
                except Exception as error:  # noqa: BLE001 - nobody else would go on for those who wait
                    log.error("The reader of Wan tasks begins again after %s", _describe(error))  # noqa: TRY400
                    await asyncio.sleep(RESTART_S)
        finally:
            self._running = self._wake = None

    async def _serve(self) -> None:
        self._wake = asyncio.Event()
        try:
            client = await asyncio.to_thread(_open, self._account)
        except WanConnectionError as error:
            for wait in [*self._waits]:
                wait.tell(wait.watch.see_error(error, time.time()))
            await asyncio.sleep(RESTART_S)
            return
        async with client:
            try:
                while self._waits:
                    self._wake.clear()
                    pause_s = self._start_what_is_due(client)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause_s):
                            await self._wake.wait()
            finally:
                for call in [*self._under_way]:
                    call.cancel()
                await asyncio.gather(*self._under_way, return_exceptions=True)

    def _start_what_is_due(self, client: AsyncWanClient) -> float:
        """Start the calls that are due and allowed; return the seconds until there may be more to do."""
        now, tick = time.time(), time.monotonic()
        self._note_time(now)
        pause_s = LONGEST_PAUSE_S
        for _ in range(_STARTS_IN_A_ROW):
            if len(self._under_way) >= MOST_READS:
                break  # the end of each wakes the loop
            wait, due = self._next(now)
            if wait is None:
                pause_s = due - now
                break
            if self._leave_to_list(wait, now):
                self._put_off(wait, now + SWEEP_EVERY_S)
            elif wait.is_doubtful and self._doubtful_reads >= MOST_DOUBTFUL_READS and now < wait.deadline:
                self._put_off(wait, now + RESTART_S)
            elif now >= wait.deadline and self._reads.ready_at() > tick + RESTART_S:
                self._decide(wait, wait.watch.see_no_answer(now), now)  # the gateway asks for too long a pause
            elif self._reads.ready_at() > tick:
                deadline = self._first_deadline()
                pause_s = min(self._reads.ready_at() - tick, deadline - now if deadline > now else LONGEST_PAUSE_S)
                break
            else:
                self._reads.take(tick)
                self._schedule.reading(wait, now)
                wait.reading = self._start(self._read(client, wait))
        else:
            pause_s = 0.0
        return min(max(pause_s, 0.0), self._sweep_if_due(client, now))

    def _note_time(self, now: float) -> None:
        """Begin again with the list when the clock has been set back: what was noted of it would lie in the future."""
        if now < self._now - SET_BACK_S:
            self._sweep_began = self._swept = self._audited = float("-inf")
            for wait in self._waits:
                wait.row_at = None
                wait.joined, wait.held_until = min(wait.joined, now), min(wait.held_until, now)
        self._now = now

    def _sweep_if_due(self, client: AsyncWanClient, now: float) -> float:
        """Read the list if that is wanted and due; return the seconds until it may be, or `LONGEST_PAUSE_S`."""
        if not self._sweep_wanted or self._sweeping or not self._list.serves(len(self._waits), now):
            return LONGEST_PAUSE_S
        sweep_s = self._sweep_began + SWEEP_EVERY_S - now
        if sweep_s > 0:
            return sweep_s
        self._sweep_wanted, self._sweeping, self._sweep_began = False, True, now
        self._start(self._sweep(client))
        return LONGEST_PAUSE_S

    def _next(self, now: float) -> tuple[SharedWait | None, float]:
        """Return the wait that is to be read now, or when there may be one."""
        while self._first and not self._may_be_read(self._first[0]):
            self._first.popleft()
        if self._first:
            return self._first[0], now
        deadline = self._first_deadline()
        if deadline <= now:
            return self._deadlines[0][2], now
        offered = self._schedule.next_read(now)
        if offered is None:
            return None, deadline
        wait, due = cast("SharedWait", offered[0]), offered[1]
        return (wait, due) if due <= now else (None, min(due, deadline))

    def _may_be_read(self, wait: SharedWait) -> bool:
        return wait in self._waits and wait.reading is None and not wait.is_over

    def _note_deadline(self, wait: SharedWait) -> None:
        """Have a wait read when it is to be given up, by what is known of it now."""
        if wait.deadline != wait.watch.gives_up_at:
            wait.deadline = wait.watch.gives_up_at
            heappush(self._deadlines, (wait.deadline, next(self._numbers), wait))

    def _first_deadline(self) -> float:
        """Return when the first wait that is not being read is to be given up; infinity if there is none."""
        while self._deadlines and not self._is_deadline(self._deadlines[0]):
            at, _, wait = heappop(self._deadlines)
            if at == wait.deadline:
                wait.deadline = float("nan")  # it is being read, and noted again then
        return self._deadlines[0][0] if self._deadlines else float("inf")

    def _is_deadline(self, entry: tuple[float, int, SharedWait]) -> bool:
        return entry[0] == entry[2].deadline and self._may_be_read(entry[2])

    def _put_off(self, wait: SharedWait, until: float) -> None:
        self._schedule.hold(wait, until)
        if self._first and self._first[0] is wait:
            self._first.popleft()

    def _start(self, call: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(call)
        self._under_way.add(task)
        task.add_done_callback(self._note_end_of_call)
        return task

    def _note_end_of_call(self, call: asyncio.Task[None]) -> None:
        self._under_way.discard(call)
        if not call.cancelled() and (error := call.exception()) is not None:
            log.error("A call of the reader of Wan tasks ended with %s", _describe(error))
        self._look_again()

    # ------------------------------------------------------------------------------------------------------------
    # Reading one task

    async def _read(self, client: AsyncWanClient, wait: SharedWait) -> None:
        outcome: WanTask | WanError
        was_doubtful = wait.is_doubtful
        self._doubtful_reads += was_doubtful
        try:
            outcome = await client.get_task(wait.watch.wan_task_id)
        except WanError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - the text of a foreign error could end the triggerer
            outcome = GatewayUnavailable(_describe(error), wan_task_id=wait.watch.wan_task_id)
        except asyncio.CancelledError:
            self._schedule.hold(wait, time.time() + RESTART_S)  # if it has not left, the reader begins again
            raise
        finally:
            wait.reading = None
            self._doubtful_reads -= was_doubtful
            self._note_deadline(wait)
        if isinstance(outcome, WanError):
            self._take_in_error(wait, outcome, time.time())
        else:
            self._take_in(wait, outcome, time.time())

    def _take_in(self, wait: SharedWait, task: WanTask, now: float) -> None:
        self._count("task", throttled=False)
        wait.is_doubtful, wait.throttled = False, 0
        if task.submitted_at is not None:
            wait.created = task.submitted_at.timestamp()
        self._schedule.saw(wait, task, now)
        self._compare_with_list(wait, task, now)
        self._decide(wait, wait.watch.see_task(task, now, self._schedule.place_in_queue(wait)), now)

    def _take_in_error(self, wait: SharedWait, error: WanError, now: float) -> None:
        throttled = isinstance(error, RateLimited)
        self._count("task", throttled=throttled)
        if throttled or error.retry_after is not None:
            self._slow_down(self._reads, error, "reads")
        wait.must_read = False  # until the next row says so
        wait.is_doubtful = isinstance(error, GatewayUnavailable) and error.http_status is None
        wait.throttled = wait.throttled + 1 if throttled else 0
        decision = wait.watch.see_error(error, now)
        # The first 429 is the matter of the whole account, which pauses.
        self._decide(wait, decision, now, hold_s=0.0 if wait.throttled == 1 else decision.delay)

    def _decide(self, wait: SharedWait, decision: Decision, now: float, *, hold_s: float | None = None) -> None:
        self._note_deadline(wait)
        if decision.verdict is not Verdict.WAIT:
            self._schedule.leave(wait)
        elif decision.delay:
            wait.held_until = now + (decision.delay if hold_s is None else hold_s)
            self._schedule.hold(wait, wait.held_until)
        wait.tell(decision)

    def _slow_down(self, pace: CallRate, error: WanError, calls: str) -> None:
        now = time.monotonic()
        if pace.slow_down(now, error.retry_after):
            log.warning(
                "%s at %s is asked less often for a while, for all waits: %s (%s)",
                self._account.gateway.title,
                self._account.base_url,
                redact(error.summary),
                calls,
            )

    def _count(self, kind: str, *, throttled: bool) -> None:
        if self._observer is not None:
            self._observer.count_read(self._account.gateway.name, kind, throttled=throttled)

    # ------------------------------------------------------------------------------------------------------------
    # Reading many tasks by the list

    def _leave_to_list(self, wait: SharedWait, now: float) -> bool:
        """Return whether the list shows a wait often enough, or may do so soon, so that it needs no read of its own."""
        if wait.must_read or now >= wait.deadline or not self._list.serves(len(self._waits), now):
            return False
        self._sweep_wanted = True
        is_new = wait.joined > self._swept
        shown_at = [at for at in (wait.row_at, wait.joined if is_new else None) if at is not None]
        if not shown_at or now - max(shown_at) > self._covered_s:
            return False
        if is_new or now - self._audited < AUDIT_EVERY_S:
            return True
        self._audited = now
        return False

    async def _sweep(self, client: AsyncWanClient) -> None:
        """Read the list once, page by page."""
        created = {name: min(wait.created for wait in waits) for name, waits in self._by_task.items()}
        sweep = self._list.begin(created, time.time())
        try:
            while not sweep.is_over:
                await _turn(self._lists)
                listed = await self._read_page(client, sweep)
                if isinstance(listed, WanError):
                    self._say(self._list.fail(listed, time.time()))
                    return
                rows = sweep.take(listed)
                self._row_cost_s = READ_COST_S * sweep.page / max(1, len(sweep.found))
                for row in rows:
                    self._take_in_row(row, time.time())
            self._say(self._list.end(sweep, time.time()))
        finally:
            self._sweeping = False
            if self._list.tries_again:
                self._sweep_wanted, self._sweep_began = True, float("-inf")
            else:
                self._swept = sweep.began
            sweep_s = time.time() - sweep.began
            self._covered_s = max(COVERED_S, min(2 * sweep_s + SWEEP_EVERY_S, LONGEST_COVERED_S))

    async def _read_page(self, client: AsyncWanClient, sweep: Sweep) -> ListPage | WanError:
        answer: ListPage | WanError
        try:
            async with asyncio.timeout(LONGEST_PAGE_S):
                answer = await client.list_page(sweep.page, page_size=sweep.page_size, start=sweep.start, end=sweep.end)
        except TimeoutError:
            answer = GatewayUnavailable(f"No page of the list within {LONGEST_PAGE_S:.0f} s.")
        except WanError as error:
            answer = error
        except Exception as error:  # noqa: BLE001 - the text of a foreign error could end the triggerer
            answer = GatewayUnavailable(_describe(error))
        throttled = isinstance(answer, RateLimited)
        self._count("list", throttled=throttled)
        if isinstance(answer, WanError) and (throttled or answer.retry_after is not None):
            self._slow_down(self._lists, answer, "lists")
        return answer

    def _take_in_row(self, row: ListedTask, now: float) -> None:
        self._say(self._list.see_row(row, now))
        rank = RANKS.get(row.status) if row.status else None
        for wait in [*self._by_task.get(row.wan_task_id, ())]:
            if rank is None or rank < wait.rank or wait.is_over or wait.reading is not None or wait.must_read:
                continue  # the row is late, or less than what a read tells
            wait.created, wait.row_at = row.created_at, now
            if row.status in ENDED:
                self._take_in_end(wait, row, now)
            elif now < wait.deadline:
                wait.rank = rank
                self._schedule.saw(wait, row, now, cost_s=self._row_cost_s)
                place = self._schedule.place_in_queue(wait)
                self._decide(wait, wait.watch.see_task(row.as_task(), now, place), now)

    def _take_in_end(self, wait: SharedWait, row: ListedTask, now: float) -> None:
        """End a wait, or have the task read first: for the reason of a failure, or to see whether the list is right."""
        succeeded = row.status is TaskStatus.SUCCEEDED
        proof = self._list.must_prove(row.wan_task_id) if succeeded else True
        if proof is False:
            self._schedule.saw(wait, row, now)
            self._decide(wait, wait.watch.see_success_in_list(now), now)
        elif proof and now >= wait.held_until:
            wait.must_read = True
            self._first.append(wait)

    def _compare_with_list(self, wait: SharedWait, task: WanTask, now: float) -> None:
        rank = RANKS.get(task.status)
        if rank is None:
            return
        ended = task.status in ENDED
        if wait.must_read:
            wait.must_read = False
            if ended:
                self._list.prove()
            else:
                wait.row_at = None
                self._say(self._list.disagree("it shows a task as ended that has not ended", now))
        elif ended and wait.row_at is not None:
            self._list.miss_end(wait.watch.wan_task_id, now)
        wait.rank = max(wait.rank, rank)

    def _say(self, line: str) -> None:
        if line:
            log.info("%s at %s: %s", self._account.gateway.title, self._account.base_url, redact(line))


_identity = secrets.token_bytes(32)
"""What the identities of accounts are made with in this process, so that nothing of a key can be told from them."""

_readers: dict[AbstractEventLoop, dict[bytes, SharedReader]] = {}


def shared_reader(account: Account, limits: Limits, observer: Observer | None = None) -> SharedReader:
    """Return the reader of an account on this event loop: the same for the same key, host and workspace.

    :param account: the account. Of two that differ in nothing but timeouts, the first one's are used.
    :param limits: how many calls a second it may make here; the first ones are used.
    :param observer: who is told what it does, likewise.
    """
    text = "\0".join((account.base_url, account.workspace or "", account.api_key))
    identity = hmac.digest(_identity, text.encode(errors="backslashreplace"), hashlib.sha256)
    readers = of_running_loop(_readers, dict)
    if identity not in readers:
        readers[identity] = SharedReader(account, limits, observer)
    return readers[identity]


async def _turn(pace: CallRate) -> None:
    """Return when a call may be made, and count it."""
    while (pause_s := pace.ready_at() - time.monotonic()) > 0:  # noqa: ASYNC110 - it may become longer meanwhile
        await asyncio.sleep(pause_s)
    pace.take(time.monotonic())


def _open(account: Account) -> AsyncWanClient:
    """Return a client; called in a thread, for importing httpx and building the TLS context block for a while."""
    from airflow_wan.api.client import AsyncWanClient  # noqa: PLC0415 - httpx loads when first used

    return AsyncWanClient(account)


def _describe(error: BaseException) -> str:
    return redact(f"{type(error).__name__}: {error}")
