"""What is found out about a list of tasks, and when it is believed. The pages here lie in every way."""

from __future__ import annotations

from datetime import UTC

import pytest

from airflow_wan.api.tasks import CHINA_TIME, ListedTask, ListPage, TaskStatus
from airflow_wan.exceptions import AuthenticationFailed, GatewayUnavailable, RateLimited, RequestRejected, WanError
from airflow_wan.waiting.listing import (
    FAILED_S,
    HANDFUL,
    LONGEST_LAG_S,
    MAX_PAGES,
    OFF_S,
    PAGE_SIZES,
    PROVEN_AGAIN,
    PROVEN_BY,
    Sweep,
    TaskList,
)

NOW = 1_775_000_000.0
MANY = 50


def created(number: int, *, age_s: float = 100.0) -> dict[str, float]:
    return {f"task-{index}": NOW - age_s for index in range(number)}


def row(name: str, status: TaskStatus = TaskStatus.RUNNING) -> ListedTask:
    return ListedTask(name, NOW - 100, status=status)


def page(names: list[str], *, total: int | None = None, total_pages: int | None = None) -> ListPage:
    return ListPage([row(name) for name in names], len(names), total, total_pages)


def swept(tasks: TaskList, wanted: dict[str, float], *names: str, now: float = NOW) -> Sweep:
    """A reading of the list that finds only these."""
    sweep = tasks.begin(wanted, now)
    sweep.take(page(list(names), total=len(names)))
    tasks.end(sweep, now)
    return sweep


def a_list() -> TaskList:
    return TaskList(offered=True)


class TestPaging:
    def test_it_ends_when_all_that_is_looked_for_was_seen(self) -> None:
        sweep = a_list().begin(created(3), NOW)

        rows = sweep.take(page(["task-2", "other", "task-0", "task-1"], total=10**6, total_pages=10**6))

        assert sweep.is_over
        assert [one.wan_task_id for one in rows] == ["task-2", "task-0", "task-1"]

    @pytest.mark.parametrize(("total", "pages"), [(None, None), (10**9, 10**9), (200, None), (None, 10**9)])
    def test_a_page_with_nothing_new_is_the_last(self, total: int | None, pages: int | None) -> None:
        sweep = a_list().begin(created(MANY), NOW)
        same = page(["task-0", "other"], total=total, total_pages=pages)

        sweep.take(same)
        assert not sweep.is_over
        sweep.take(same)

        assert sweep.is_over

    @pytest.mark.parametrize("told", [{"total": 2}, {"total_pages": 1}])
    def test_it_ends_where_the_gateway_says_that_there_are_no_more(self, told: dict[str, int]) -> None:
        sweep = a_list().begin(created(MANY), NOW)

        sweep.take(page(["task-0", "task-1"], **told))

        assert sweep.is_over

    def test_a_list_without_end_is_left_after_so_many_pages(self) -> None:
        sweep = a_list().begin(created(MANY), NOW)
        for number in range(MAX_PAGES):
            assert not sweep.is_over
            sweep.take(page([f"other-{number}"]))

        assert sweep.is_over

    def test_a_page_shorter_than_asked_for_is_not_taken_for_the_last(self) -> None:
        """A gateway may give fewer rows than were asked for."""
        sweep = a_list().begin(created(MANY), NOW)

        sweep.take(page([f"task-{index}" for index in range(20)], total=MANY))

        assert (sweep.is_over, sweep.page) == (False, 2)

    def test_a_refused_page_is_asked_for_smaller(self) -> None:
        tasks, sizes = a_list(), []
        for _ in PAGE_SIZES:
            sizes.append(tasks.begin(created(MANY), NOW).page_size)
            tasks.fail(RequestRejected("page_size", http_status=400), NOW)

        assert sizes == list(PAGE_SIZES)
        assert not tasks.serves(MANY, NOW)
        assert tasks.serves(MANY, NOW + FAILED_S)


class TestTimeZones:
    def test_one_after_the_other_is_tried_until_our_tasks_are_there(self) -> None:
        tasks, zones = a_list(), []
        for found in ((), ("task-1",), ()):
            sweep = swept(tasks, created(MANY), *found)
            zones.append(sweep.start.tzinfo if sweep.start else None)

        assert zones == [CHINA_TIME, UTC, UTC]

    def test_without_any_of_our_tasks_the_list_is_left_alone(self) -> None:
        tasks = a_list()
        for _ in range(3):
            assert tasks.serves(MANY, NOW)
            swept(tasks, created(MANY))

        assert not tasks.serves(MANY, NOW + OFF_S - 1)
        assert tasks.serves(MANY, NOW + OFF_S)

    def test_a_list_that_does_not_show_new_tasks_yet_proves_nothing(self) -> None:
        tasks = a_list()

        sweep = swept(tasks, created(MANY, age_s=3))

        assert tasks.begin(created(MANY, age_s=3), NOW).start == sweep.start

    @pytest.mark.parametrize("age_s", [0, 60, 3600, 23 * 3600, 30 * 3600])
    def test_the_window_holds_what_was_created_within_a_day_and_now(self, age_s: float) -> None:
        sweep = a_list().begin(created(MANY, age_s=age_s), NOW)

        assert sweep.start
        assert sweep.end
        assert sweep.start.timestamp() < max(NOW - age_s, NOW - 23 * 3600)
        assert sweep.end.timestamp() > NOW
        assert (sweep.end - sweep.start).total_seconds() <= 24 * 3600


class TestWhenItIsRead:
    def test_not_for_a_handful_of_waits_nor_where_there_is_none(self) -> None:
        assert not a_list().serves(HANDFUL, NOW)
        assert a_list().serves(HANDFUL + 1, NOW)
        assert not TaskList(offered=False).serves(MANY, NOW)

    @pytest.mark.parametrize("status", [404, 405, 501])
    def test_a_relay_without_a_list_is_remembered_and_told_once(self, status: int) -> None:
        tasks = a_list()

        line = tasks.fail(GatewayUnavailable("no", http_status=status), NOW)

        assert "no list" in line
        assert not tasks.serves(MANY, NOW + 1e9)

    def test_a_429_is_the_matter_of_the_limits(self) -> None:
        tasks = a_list()

        assert not tasks.fail(RateLimited("slow", http_status=429), NOW)
        assert tasks.serves(MANY, NOW)
        assert not tasks.tries_again

    @pytest.mark.parametrize(
        "error", [GatewayUnavailable("away"), GatewayUnavailable("away", http_status=503), AuthenticationFailed("no")]
    )
    def test_a_list_that_cannot_be_read_is_tried_less_and_less_often(self, error: WanError) -> None:
        tasks, now, pauses = a_list(), NOW, []
        for _ in range(8):
            tasks.fail(error, now)
            pause = next(seconds for seconds in range(1, 1000) if tasks.serves(MANY, now + seconds))
            pauses.append(pause)
            now += pause

        assert pauses[:3] == [FAILED_S, 2 * FAILED_S, 4 * FAILED_S]
        assert pauses[-1] == OFF_S

    def test_many_pages_for_few_tasks_are_not_worth_it(self) -> None:
        tasks = a_list()
        sweep = tasks.begin(created(5), NOW)
        for number in range(4):
            sweep.take(page([f"other-{number}"]))
        sweep.take(page([f"task-{index}" for index in range(5)]))

        tasks.end(sweep, NOW)

        assert not tasks.serves(5, NOW + 1)


class TestWhetherItIsRight:
    def test_its_first_ends_are_compared_with_the_task_and_the_others_wait(self) -> None:
        tasks = a_list()
        tasks.begin(created(MANY), NOW)

        judged = [tasks.must_prove(f"task-{index}") for index in range(PROVEN_BY + 2)]

        assert judged == [*[True] * PROVEN_BY, None, None]

    def test_once_proven_it_is_believed_and_compared_now_and_then(self) -> None:
        tasks = a_list()
        tasks.begin(created(MANY), NOW)
        for index in range(PROVEN_BY):
            tasks.must_prove(f"first-{index}")
            tasks.prove()
        tasks.begin(created(MANY), NOW)

        judged = [tasks.must_prove(f"task-{index}") for index in range(2 * PROVEN_AGAIN)]

        assert judged.count(True) == 2
        assert judged.count(False) == 2 * PROVEN_AGAIN - 2

    def test_a_wrong_end_turns_it_off_and_it_must_prove_itself_again(self) -> None:
        tasks = a_list()
        for _ in range(PROVEN_BY):
            tasks.prove()

        line = tasks.disagree("it was wrong", NOW)

        assert "it was wrong" in line
        assert not tasks.serves(MANY, NOW + OFF_S - 1)
        tasks.begin(created(MANY), NOW + OFF_S)
        assert tasks.must_prove("task-0") is True

    def test_it_may_be_a_little_late_and_not_more(self) -> None:
        tasks = a_list()
        tasks.miss_end("task-1", NOW)
        assert "task-1" in tasks.begin({}, NOW + 1).wanted

        assert not tasks.see_row(row("task-1"), NOW + LONGEST_LAG_S)
        assert "unfinished" in tasks.see_row(row("task-1"), NOW + LONGEST_LAG_S + 1)
        assert not tasks.serves(MANY, NOW + LONGEST_LAG_S + 1)

    def test_a_late_row_that_comes_in_time_is_no_lie(self) -> None:
        tasks = a_list()
        tasks.miss_end("task-1", NOW)

        assert not tasks.see_row(row("task-1", TaskStatus.SUCCEEDED), NOW + 5)
        assert not tasks.see_row(row("task-1"), NOW + LONGEST_LAG_S + 1)
        assert tasks.serves(MANY, NOW + LONGEST_LAG_S + 1)
