"""Keeps what many tasks spend together within a budget: of a DAG run, and of a month.

Airflow gives a worker nothing that counts for several tasks. So each purchase has a reservation in a folder that all
workers share. A task first writes its own reservation, and then lists all of them. It buys only if their sum, its own
included, is within the budget. Of the tasks that buy, the one that was the last to write has seen the reservations of
all others: so together they are within the budget, whatever their timing and wherever they are killed.

If the sum is over the budget only because of tasks that have not decided yet, the one whose name comes first stays and
looks again. The others take their reservations back, and come again after a random pause.

A reservation is a few files with one beginning, none of which is ever changed:

======================== ==========================================================
``….pending.json``       somebody wants to buy; without this file, there is none
``….granted.json``       the budget has room for it: the create request is next
``….bought.json``        the gateway has accepted the create request
``….settled-42.json``    what the video has cost, in millionths of a USD
======================== ==========================================================

Every name tells whose reservation it is, and its amount, so a listing is all that is ever read.
"""

from __future__ import annotations

import enum
import hashlib
import json
import logging
import random
import re
import secrets
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from airflow.exceptions import AirflowConfigException

from airflow_wan import config
from airflow_wan.exceptions import BudgetExceeded, CostLimitExceeded, LedgerUnreadable
from airflow_wan.net.safe_names import safe_name
from airflow_wan.purchases.reservation_store import is_on_disk, open_store, telling_errors
from airflow_wan.telemetry.harmless import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_wan.purchases.record import Order
    from airflow_wan.purchases.reservation_store import ReservationStore
    from airflow_wan.purchases.this_try import ThisTry

log = logging.getLogger(__name__)

LONGEST_CONTENTION_S = 30.0
"""Seconds for which a task comes again while others that have not decided yet stand in its way. They decide within one
listing; one that stays longer is of a task that was killed."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 3.0
"""The longest first pause, and the longest of all, in seconds. Each is a random part of a time that doubles."""

_MILLIONTHS = 1_000_000

_NAME = re.compile(
    r"(?P<key>(?P<owner>[0-9a-f]{32})\.[0-9a-f]{16}\.(?P<amount>[0-9]{1,15}))"
    r"\.(?P<stage>pending|granted|bought|settled-(?P<settled>[0-9]{1,15}))\.json",
    re.ASCII,
)


class Stage(enum.IntEnum):
    """How far a purchase has come."""

    PENDING = 0
    GRANTED = 1
    BOUGHT = 2
    SETTLED = 3


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one purchase takes of a budget.

    :param key: the beginning of its files' names.
    :param owner: digest of the task instance, without its try.
    :param millionths: the amount, in millionths of a USD: settled if that is known, otherwise estimated.
    :param stage: how far the purchase has come.
    """

    key: str
    owner: str
    millionths: int
    stage: Stage = Stage.PENDING


class Verdict(enum.Enum):
    """What a look at all reservations means for one's own."""

    GRANT = "there is room for it"
    REFUSE = "there is no room for it, whatever becomes of those that are not decided"
    STAY = "it is the first of those that are not decided, and looks again"
    STEP_BACK = "it makes room for the first of those that are not decided, and comes again"


def read_reservations(names: Iterable[str]) -> list[Reservation]:
    """Return the reservations that a listing tells of.

    :param names: names of files; those of other files are left out.
    """
    found: dict[str, Reservation] = {}
    are_there: set[str] = set()
    for name in names:
        part = _NAME.fullmatch(name)
        if part is None:
            continue
        key = part["key"]
        stage = Stage[part["stage"].partition("-")[0].upper()]
        if stage is Stage.PENDING:
            are_there.add(key)
        if key not in found or stage > found[key].stage:
            found[key] = Reservation(key, part["owner"], int(part["settled"] or part["amount"]), stage)
    return [reservation for key, reservation in found.items() if key in are_there]


def judge(seen: Sequence[Reservation], mine: Reservation, budget: int) -> Verdict:
    """Decide about a reservation that has been written, from a listing that began after that.

    :param seen: all reservations of the budget.
    :param mine: the one in question, not decided yet.
    :param budget: the budget, in millionths of a USD.
    """
    others = [one for one in seen if one.key != mine.key]
    decided = mine.millionths + sum(one.millionths for one in others if one.stage > Stage.PENDING)
    undecided = [one for one in others if one.stage is Stage.PENDING]
    if decided + sum(one.millionths for one in undecided) <= budget:
        return Verdict.GRANT
    if decided > budget:
        return Verdict.REFUSE
    return Verdict.STAY if all(mine.key < one.key for one in undecided) else Verdict.STEP_BACK


@dataclass(frozen=True, slots=True)
class Reservations:
    """All reservations within one budget.

    :param base: `config.budget_base`.
    :param folder: their folder, below the base.
    :param store: that folder.
    """

    base: str
    folder: str
    store: ReservationStore

    @classmethod
    def at(cls, base: str, folder: str) -> Self:
        """Return those in a folder.

        :raises LedgerUnreadable: when the store cannot be reached.
        """
        return cls(base, folder, open_store(base, folder))

    def read(self) -> list[Reservation]:
        """Return all of them.

        :raises LedgerUnreadable: when the store cannot be read.
        """
        with telling_errors(self.base):
            return read_reservations(self.store.names())

    def mark(self, key: str, stage: str, about: object = None) -> None:
        """Write a file of a reservation: see the top of this module.

        :param key: the reservation.
        :param stage: the stage that it has reached.
        :param about: what the file tells to people, as JSON.
        :raises LedgerUnreadable: when it may not have been written.
        """
        with telling_errors(self.base):
            self.store.add(f"{key}.{stage}.json", json.dumps(about, indent=1).encode())

    def withdraw(self, key: str) -> None:
        """Remove a reservation.

        :raises LedgerUnreadable: when it may still be there.
        """
        with telling_errors(self.base):
            for stage in ("pending", "granted", "bought"):  # without the first file, there is no reservation
                self.store.remove(f"{key}.{stage}.json")


@dataclass(frozen=True, slots=True)
class Budget:
    """What the purchases of one DAG run, or of one month, may cost together.

    :param scope: ``dag_run`` or ``month``.
    :param limit_usd: the budget, USD.
    :param reservations: all reservations within it.
    """

    scope: str
    limit_usd: float
    reservations: Reservations

    @property
    def option(self) -> str:
        """The option that sets it."""
        return f"max_cost_per_{self.scope}"

    @property
    def subject(self) -> str:
        """What has the budget, for a message."""
        return "this DAG run" if self.scope == "dag_run" else f"{self.reservations.folder.rpartition('/')[2]} (UTC)"

    @property
    def limit(self) -> int:
        """The budget, in millionths of a USD."""
        return round(self.limit_usd * _MILLIONTHS)

    def exceeded(self, seen: Sequence[Reservation], wanted: int, *, retry_can_help: bool = False) -> BudgetExceeded:
        """Return the error for a purchase that the budget has no room for.

        :param seen: the reservations of all others.
        :param wanted: the amount, in millionths of a USD.
        :param retry_can_help: whether some of them may yet be given back.
        """
        spent = sum(one.millionths for one in seen if one.stage >= Stage.BOUGHT) / _MILLIONTHS
        reserved = sum(one.millionths for one in seen if one.stage < Stage.BOUGHT) / _MILLIONTHS
        return BudgetExceeded(
            f"No more than {self.limit_usd:g} USD may be spent in {self.subject} ([wan] {self.option}). "
            f"{spent:.2f} USD are spent and {reserved:.2f} USD reserved, so the video of about "
            f"{wanted / _MILLIONTHS:.2f} USD is not bought. "
            + (
                "Some of it is reserved by tasks that have not decided yet, so a retry looks again."
                if retry_can_help
                else "To have it made, raise this option and clear the task."
            ),
            scope=self.scope,
            budget_usd=self.limit_usd,
            spent_usd=spent,
            reserved_usd=reserved,
            wanted_usd=wanted / _MILLIONTHS,
            retry_can_help=retry_can_help,
        )


def open_budgets(this_try: ThisTry, now: float | None = None) -> list[Budget]:
    """Return the budgets that a purchase must be within; none if none is configured.

    :param this_try: the try that buys.
    :param now: unix time in s; by default that of now.
    :raises CostLimitExceeded: when a budget is no number, or there is no folder that all workers share.
    """
    try:
        run, month = config.max_cost_per_dag_run(), config.max_cost_per_month()
    except AirflowConfigException as error:
        raise CostLimitExceeded(str(error)) from error
    if run is None and month is None:
        return []
    base = _checked_base()
    of_run = f"runs/{safe_name(this_try.dag_id)}/{safe_name(this_try.run_id)}"
    of_month = f"months/{datetime.fromtimestamp(time.time() if now is None else now, UTC):%Y-%m}"
    return [
        Budget(scope, limit, Reservations.at(base, folder))
        for scope, limit, folder in (("dag_run", run, of_run), ("month", month, of_month))
        if limit is not None
    ]


def _checked_base() -> str:
    base = config.budget_base()
    if base is None:
        raise CostLimitExceeded(
            "A budget is set ([wan] max_cost_per_dag_run or max_cost_per_month), and there is no place where the tasks "
            "can tell each other what they spend. Set [wan] budget_base, or output_base, to an object store such as "
            "s3://conn_id@bucket/wan or to a folder that all machines share."
        )
    remote = [name for name in config.executors() if name not in config.LOCAL_EXECUTORS]
    if is_on_disk(base) and remote and not config.local_paths_are_shared():
        raise CostLimitExceeded(
            f"A budget is set ([wan] max_cost_per_dag_run or max_cost_per_month), but its reservations would be in "
            f"{base} on this machine, and {', '.join(remote)} may run other tasks on another one. Set [wan] "
            "budget_base to an object store such as s3://conn_id@bucket/wan. If all machines share this folder, set "
            "[wan] local_paths_are_shared = True."
        )
    return base


@dataclass(frozen=True, slots=True)
class Held:
    """The reservations of one purchase, one in each budget.

    :param parts: all reservations of a budget, with the key of its own, for each budget.
    """

    parts: tuple[tuple[Reservations, str], ...] = ()

    @property
    def places(self) -> list[str]:
        """What to remember of them in the purchase record, see `give_back` and `settle`."""
        return [f"{reservations.folder}/{key}" for reservations, key in self.parts]

    @harmless("That a video is bought")
    def confirm(self, wan_task_id: str) -> None:
        """Note that the gateway has accepted the create request.

        :param wan_task_id: the Wan task.
        """
        for reservations, key in self.parts:
            reservations.mark(key, "bought", {"wan_task_id": wan_task_id})

    @harmless("That nothing was bought")
    def give_back(self) -> None:
        """Take the reservations back: nothing was bought."""
        for reservations, key in self.parts:
            reservations.withdraw(key)


def check_budgets(this_try: ThisTry, usd: float | None) -> None:
    """Check that the budgets have room for a purchase now; nothing is reserved.

    :param this_try: the try that would buy.
    :param usd: the estimated cost, USD; None if it is not known.
    :raises CostLimitExceeded: when they have not, or the cost is not known.
    :raises LedgerUnreadable: when the reservations cannot be read.
    """
    for budget in open_budgets(this_try):
        wanted = _millionths(usd, budget)
        seen = [one for one in budget.reservations.read() if one.owner != _owner(this_try) or one.stage >= Stage.BOUGHT]
        if wanted + sum(one.millionths for one in seen) > budget.limit:
            raise budget.exceeded(seen, wanted)


def reserve(this_try: ThisTry, usd: float | None, *, uncertain: Order | None, unbilled: Order | None) -> Held:
    """Reserve what a purchase will cost in each budget, right before it is made.

    What an earlier try of this task instance has reserved, and not spent, is given back first.

    :param this_try: the try that buys.
    :param usd: the estimated cost, USD; None if it is not known.
    :param uncertain: an order of an earlier try that may be billed: it keeps its reservations.
    :param unbilled: an order of an earlier try that the gateway does not bill.
    :raises BudgetExceeded: when a budget has no room for it; nothing is reserved then.
    :raises CostLimitExceeded: when the cost is not known, or there is no folder that all workers share.
    :raises LedgerUnreadable: when the reservations cannot be read or written.
    """
    budgets = open_budgets(this_try)
    if not budgets:
        return Held()
    if unbilled is not None:
        give_back(unbilled)
    held = Held()
    try:
        for budget in budgets:
            key = _hold(budget, this_try, _millionths(usd, budget), uncertain)
            held = Held((*held.parts, (budget.reservations, key)))
    except (CostLimitExceeded, LedgerUnreadable):
        held.give_back()
        raise
    return held


def _millionths(usd: float | None, budget: Budget) -> int:
    if usd is None:
        raise CostLimitExceeded(
            f"[wan] {budget.option} is set, but the cost of this video is not known. Set its rate in "
            "[wan] usd_per_second."
        )
    return round(usd * _MILLIONTHS)


def _owner(this_try: ThisTry) -> str:
    """Return what all tries of a task instance have in common, and no other task instance has."""
    identity = "\0".join((this_try.dag_id, this_try.run_id, this_try.task_id, str(this_try.map_index)))
    return hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()[:32]


def _hold(budget: Budget, this_try: ThisTry, wanted: int, uncertain: Order | None) -> str:
    """Return the key of a granted reservation.

    :param budget: the budget.
    :param this_try: the try that buys.
    :param wanted: the amount, in millionths of a USD.
    :param uncertain: see `reserve`.
    :raises BudgetExceeded: when there is no room for it.
    """
    owner = _owner(this_try)
    until, pause_s = time.monotonic() + LONGEST_CONTENTION_S, FIRST_PAUSE_S
    while True:
        mine = Reservation(f"{owner}.{secrets.token_hex(8)}.{wanted}", owner, wanted)
        verdict, others = _decide(budget, mine, this_try, uncertain, until)
        if verdict is Verdict.GRANT:
            log.info(
                "With this video, %.2f of %g USD are spent or reserved in %s ([wan] %s).",
                (wanted + sum(one.millionths for one in others)) / _MILLIONTHS,
                budget.limit_usd,
                budget.subject,
                budget.option,
            )
            return mine.key
        if verdict is Verdict.REFUSE or time.monotonic() >= until:
            raise budget.exceeded(others, wanted, retry_can_help=verdict is not Verdict.REFUSE)
        time.sleep(random.uniform(0, pause_s))  # noqa: S311 - it only keeps tasks from coming together again
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _decide(
    budget: Budget, mine: Reservation, this_try: ThisTry, uncertain: Order | None, until: float
) -> tuple[Verdict, list[Reservation]]:
    """Write a reservation, and look at all others until there is a verdict; if it is not granted, it is withdrawn.

    :returns: the verdict, and the reservations of all others.
    """
    about = {name: str(value) for name, value in asdict(this_try).items()} | {"usd": mine.millionths / _MILLIONTHS}
    granted = False
    try:
        budget.reservations.mark(mine.key, "pending", about)
        while True:
            seen = _look(budget.reservations, mine, this_try, uncertain)
            verdict = judge(seen, mine, budget.limit)
            if verdict is Verdict.GRANT:
                budget.reservations.mark(mine.key, "granted")
                granted = True
            if verdict is not Verdict.STAY or time.monotonic() >= until:
                return verdict, [one for one in seen if one.key != mine.key]
            time.sleep(FIRST_PAUSE_S)
    finally:
        if not granted:
            budget.reservations.withdraw(mine.key)


def _look(
    reservations: Reservations, mine: Reservation, this_try: ThisTry, uncertain: Order | None
) -> list[Reservation]:
    """Return all reservations; what killed tries of the same task instance left is taken over first.

    What they have reserved for an order that may be billed counts as spent; anything else is given back.

    :raises LedgerUnreadable: when the reservations cannot be read, or one's own is not among them.
    """
    kept = {place.rpartition("/")[2] for place in uncertain.reservations} if uncertain else set()
    while True:
        seen = reservations.read()
        if mine not in seen:
            raise LedgerUnreadable(
                f"The store at {reservations.base} does not list what was just written to it, so it cannot hold a "
                "budget; or another try of this task instance has taken over."
            )
        left = [one for one in seen if one.owner == mine.owner and one.key != mine.key and one.stage < Stage.BOUGHT]
        if not left:
            return seen
        this_try.check_is_running()  # a try that was frozen must take nothing from the one after it
        for one in left:
            if one.key in kept:
                reservations.mark(one.key, "bought")
            else:
                reservations.withdraw(one.key)


@harmless("That the gateway does not bill a video")
def give_back(order: Order) -> None:
    """Take back what an order has reserved, because the gateway does not bill it.

    :param order: the order.
    """
    for reservations, key in _parts_of(order):
        reservations.withdraw(key)


@harmless("What a video has cost")
def settle(order: Order, usd: float | None) -> None:
    """Note what a video has cost, in place of what was reserved for it.

    :param order: its order.
    :param usd: what it has cost, USD; None if that is not known, and the estimate stays.
    """
    stage = "bought" if usd is None else f"settled-{round(usd * _MILLIONTHS)}"
    for reservations, key in _parts_of(order):
        reservations.mark(key, stage)


def _parts_of(order: Order) -> Iterator[tuple[Reservations, str]]:
    """Yield what `Held.places` has told of an order's reservations; nothing if they cannot be reached any more."""
    base = config.budget_base()
    for place in order.reservations if base else ():
        folder, _, key = place.rpartition("/")
        yield Reservations.at(str(base), folder), key
