"""Tasks that reserve what they spend: whatever their timing and wherever they are killed, they keep within the budget.

The code is the real one. Its threads go on one at a time, in an order that hypothesis draws: at each step, one of them
writes, reads a page of a listing, sleeps, or buys.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from airflow_wan.exceptions import BudgetExceeded
from airflow_wan.purchases import budget as budgets
from airflow_wan.purchases.budget import Budget, Reservation, Reservations, Stage, Verdict, judge, read_reservations
from airflow_wan.purchases.this_try import ThisTry

if TYPE_CHECKING:
    from collections.abc import Callable

STEP_S = 0.2
"""What each step adds to the clock of all threads, s."""

PAGE = 3
"""Names that a listing reads in one step."""


class Killed(BaseException):
    """The worker gets SIGKILL: nothing that comes after runs."""


class Thread(threading.Thread):
    """A thread that goes on only when it is told to, until its next step."""

    def __init__(self, body: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._body, self._go, self._stopped = body, threading.Semaphore(0), threading.Semaphore(0)
        self.has_ended, self.must_die, self.failure = False, False, None
        self.start()

    def run(self) -> None:
        try:
            self.turn()
            self._body()
        except Killed:
            pass
        except BaseException as failure:  # noqa: BLE001 - the test raises it
            self.failure = failure
        self.has_ended = True
        self._stopped.release()

    def turn(self) -> None:
        """Wait until this thread is told to go on; a killed one does nothing more."""
        if self.must_die:
            raise Killed
        self._stopped.release()
        self._go.acquire()
        if self.must_die:
            raise Killed

    def step(self, *, kill: bool = False) -> None:
        """Have this thread go on to its next step."""
        self._stopped.acquire()
        if not self.has_ended:
            self.must_die = kill
            self._go.release()
            self._stopped.acquire()
        self._stopped.release()


@dataclass
class World:
    """The store, the clock, and what has been bought."""

    names: set[str] = field(default_factory=set)
    now: float = 0.0
    bought: dict[str, int] = field(default_factory=dict)
    refused: dict[str, BudgetExceeded] = field(default_factory=dict)
    returned: int = 0

    def turn(self) -> None:
        thread = threading.current_thread()
        assert isinstance(thread, Thread)
        thread.turn()

    def sleep(self, seconds: float) -> None:
        for _ in range(1 + int(seconds / STEP_S)):
            self.turn()

    def monotonic(self) -> float:
        return self.now


class Store:
    """A folder whose listing is read page by page; between two pages, others may write and remove."""

    def __init__(self, world: World) -> None:
        self._world = world

    def names(self) -> list[str]:
        found: list[str] = []
        while True:
            self._world.turn()
            page = sorted(name for name in self._world.names if not found or name > found[-1])[:PAGE]
            found += page
            if len(page) < PAGE:
                return found

    def add(self, name: str, content: bytes) -> None:
        self._world.turn()
        self._world.names.add(name)

    def remove(self, name: str) -> None:
        self._world.turn()
        self._world.names.discard(name)


def owner(number: int) -> str:
    return f"{number:032x}"


def task(world: World, budget: Budget, number: int, wanted: int, fate: str) -> Callable[[], None]:
    """One try of a task instance, as `reserve` and `buy` are."""

    def body() -> None:
        reservations, this_try = budget.reservations, ThisTry("films", "monday", "film", number, None)
        me = owner(number)
        try:
            key = budgets._hold(budget, this_try, wanted, None)
        except BudgetExceeded as error:
            world.refused[me] = error
            return
        world.turn()
        if fate == "unbilled":
            world.returned += 1
            reservations.withdraw(key)
            return
        world.bought[me] = wanted
        reservations.mark(key, "bought")
        if fate == "cheaper":
            cost = wanted // 2
            world.bought[me], world.returned = cost, world.returned + 1
            reservations.mark(key, f"settled-{cost}")

    return body


FATES = ["bought", "bought", "cheaper", "unbilled"]


class Schedule:
    """Lets the tries of several task instances go on in an order, and kills some of them at a step."""

    def __init__(self, world: World, tasks: list[tuple[int, str]], limit: int, kills: dict[int, int]) -> None:
        self.world, self.tasks, self.limit, self.kills = world, tasks, limit, dict(kills)
        self.budget = Budget("dag_run", limit / 1_000_000, Reservations("memory", "runs/a/b", Store(world)))
        self.threads = [self._start(number) for number in range(len(tasks))]
        self.steps = 0

    def _start(self, number: int) -> Thread:
        return Thread(task(self.world, self.budget, number, *self.tasks[number]))

    def run(self, order: list[tuple[int, int]]) -> None:
        for number, steps in order:
            for _ in range(steps if number < len(self.threads) else 0):
                self._go_on(number)
        while any(not thread.has_ended for thread in self.threads):
            for number in range(len(self.threads)):
                self._go_on(number)
        assert [thread.failure for thread in self.threads if thread.failure] == []

    def _go_on(self, number: int) -> None:
        world, me = self.world, owner(number)
        self.steps += 1
        world.now += STEP_S
        kill = self.steps >= self.kills.get(number, self.steps + 1)
        self.threads[number].step(kill=kill)
        if kill:
            del self.kills[number]
            if me not in world.bought and me not in world.refused:
                self.threads[number] = self._start(number)  # Airflow starts another try
        assert sum(world.bought.values()) <= self.limit


@given(
    tasks=st.lists(st.tuples(st.integers(1, 5), st.sampled_from(FATES)), min_size=2, max_size=5),
    limit=st.integers(0, 12),
    order=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 15)), max_size=40),
    kills=st.dictionaries(st.integers(0, 4), st.integers(1, 60), max_size=2),
)
def test_what_tasks_buy_together_is_never_more_than_the_budget(
    tasks: list[tuple[int, str]], limit: int, order: list[tuple[int, int]], kills: dict[int, int]
) -> None:
    world = World()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budgets, "time", world)
        Schedule(world, tasks, limit, kills).run(order)

    event(f"{len(world.bought)} bought")
    if not world.returned and not kills:
        total = sum(world.bought.values())
        for number, (wanted, _) in enumerate(tasks):
            error = world.refused.get(owner(number))
            # Nobody is refused for good while there is room for it.
            assert error is None or error.retry_can_help or total + wanted > limit
        if sum(wanted for wanted, _ in tasks) <= limit:
            assert not world.refused


@pytest.mark.parametrize(("count", "room"), [(2, 1), (5, 1), (5, 3), (8, 8)])
def test_tasks_that_take_turns_use_the_whole_budget(count: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(budgets, "time", world)

    Schedule(world, [(2, "bought")] * count, 2 * room, {}).run([])

    assert len(world.bought) == room
    assert len(world.refused) == count - room
    assert not any(error.retry_can_help for error in world.refused.values())


def one(number: int, millionths: int, stage: Stage = Stage.PENDING) -> Reservation:
    return Reservation(f"{owner(number)}.{number:016x}.{millionths}", owner(number), millionths, stage)


@pytest.mark.parametrize(
    ("others", "verdict"),
    [
        ([], Verdict.GRANT),
        ([one(1, 5)], Verdict.GRANT),
        ([one(1, 6, Stage.BOUGHT)], Verdict.REFUSE),
        ([one(1, 3, Stage.GRANTED), one(9, 3, Stage.SETTLED)], Verdict.REFUSE),
        ([one(1, 6)], Verdict.STEP_BACK),
        ([one(9, 6)], Verdict.STAY),
        ([one(9, 3), one(1, 3, Stage.GRANTED)], Verdict.STAY),
        ([one(9, 3), one(1, 3)], Verdict.STEP_BACK),
    ],
)
def test_one_look_at_all_reservations_decides(others: list[Reservation], verdict: Verdict) -> None:
    mine = one(5, 5)

    assert judge([*others, mine], mine, 10) is verdict


def test_a_listing_tells_stage_and_amount() -> None:
    pending, bought, settled, withdrawn = (one(number, 400_000) for number in range(1, 5))
    names = [
        f"{pending.key}.pending.json",
        *(f"{bought.key}.{stage}.json" for stage in ("pending", "granted", "bought")),
        *(f"{settled.key}.{stage}.json" for stage in ("settled-250000", "bought", "pending")),
        f"{withdrawn.key}.granted.json",
        "notes.txt",
        f"{pending.key}.pending.json.part",
    ]

    found = {reservation.owner: reservation for reservation in read_reservations(names)}

    assert found == {
        owner(1): pending,
        owner(2): one(2, 400_000, Stage.BOUGHT),
        owner(3): Reservation(settled.key, owner(3), 250_000, Stage.SETTLED),
    }
