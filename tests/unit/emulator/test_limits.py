"""The limits of an account, the queue that follows from them, and what is counted."""

from __future__ import annotations

import statistics
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.emulator.durations import Draw, Durations
from airflow_wan.emulator.testing import AT_ONCE, Settings

if TYPE_CHECKING:
    from airflow_wan.emulator.testing import RunningEmulator

T2V = {"model": "wan2.7-t2v", "input": {"prompt": "a kite"}, "parameters": {"resolution": "720P", "duration": 2}}
OTHER_KEY = {"Authorization": "Bearer sk-somebody-else-1"}
OTHER_MODEL = {**T2V, "model": "wan2.6-t2v", "parameters": {"size": "1280*720", "duration": 2}}
# Longer than any test takes: such tasks go on only when a test moves the clock.
RUNNING_S = 1000.0


def states(gateway: Any, task_ids: list[str]) -> list[str]:
    """Return the first letter of each state."""
    return [gateway.poll(task_id)["output"]["task_status"][0] for task_id in task_ids]


def seconds_between(output: dict[str, str], first: str, second: str) -> float:
    then, now = (datetime.fromisoformat(output[name]) for name in (first, second))
    return (now - then).total_seconds()


class TestCreates:
    @pytest.fixture
    def wan_emulator_settings(self) -> Settings:
        return replace(AT_ONCE, create_qps=2)

    def test_more_than_so_many_a_second_are_throttled_for_that_model_and_key_only(
        self, dashscope: Any, apiyi: Any, wan_emulator: RunningEmulator
    ) -> None:
        answers = [dashscope.create(T2V) for _ in range(8)]
        other_model, other_key = dashscope.create(OTHER_MODEL), dashscope.create(T2V, **OTHER_KEY)
        at_apiyi = [apiyi.create(T2V).status_code for _ in range(8)]

        throttled = [answer for answer in answers if answer.status_code == 429]
        assert [answer.status_code for answer in answers[:2]] == [200, 200]
        assert throttled
        assert throttled[0].json()["code"] == "Throttling.RateQuota"
        assert "retry-after" not in throttled[0].headers
        assert (other_model.status_code, other_key.status_code) == (200, 200)
        assert at_apiyi == [200] * 8
        assert len(wan_emulator.ledger()) == 18 - len(throttled)

    def test_what_is_refused_is_not_counted(self, dashscope: Any) -> None:
        refused = [dashscope.create({**T2V, "parameters": {"duration": "2"}}).status_code for _ in range(5)]

        assert refused == [400] * 5
        assert dashscope.create(T2V).status_code == 200


class TestRetryAfter:
    @pytest.fixture
    def wan_emulator_settings(self) -> Settings:
        return replace(AT_ONCE, create_qps=1, read_qps=1, list_qps=1, cancel_qps=1, retry_after=7)

    def test_every_429_of_a_limit_names_it(self, dashscope: Any) -> None:
        for send in (
            lambda: dashscope.create(T2V),
            lambda: dashscope.http.get("/api/v1/tasks/x"),
            lambda: dashscope.http.get("/api/v1/tasks/"),
            lambda: dashscope.http.post("/api/v1/tasks/x/cancel"),
        ):
            answers = [send() for _ in range(6)]
            throttled = [answer for answer in answers if answer.status_code == 429]
            assert throttled
            assert {answer.headers["retry-after"] for answer in throttled} == {"7"}


class TestCounts:
    @pytest.fixture
    def wan_emulator_settings(self) -> Settings:
        return replace(AT_ONCE, read_qps=3)

    def test_they_tell_requests_429s_and_the_busiest_second_of_each_kind(
        self, dashscope: Any, wan_emulator: RunningEmulator
    ) -> None:
        task_id = dashscope.created(T2V)
        answers = [dashscope.http.get(f"/api/v1/tasks/{task_id}").status_code for _ in range(7)]
        wan_emulator.add_fault("list", "throttled")
        dashscope.http.get("/api/v1/tasks/")
        dashscope.http.get("/api/v1/tasks/")

        counts = wan_emulator.counts()

        assert counts == dashscope.http.get("/_emulator/counts").json()
        assert counts["create"] == {"requests": 1, "throttled": 0, "peak_per_s": 1}
        assert (counts["poll"]["requests"], counts["poll"]["throttled"]) == (7, answers.count(429))
        assert 1 <= counts["poll"]["peak_per_s"] <= 7
        assert (counts["list"]["requests"], counts["list"]["throttled"]) == (2, 1)
        assert counts["cancel"]["requests"] == counts["download"]["requests"] == 0

    def test_a_reset_begins_at_0(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        dashscope.created(T2V)
        wan_emulator.reset()

        assert {one["requests"] for one in wan_emulator.counts().values()} == {0}


class TestQueue:
    @pytest.fixture
    def wan_emulator_settings(self) -> Settings:
        return replace(AT_ONCE, running=2, running_s=RUNNING_S)

    def test_tasks_beyond_the_places_wait_in_the_order_of_their_creates(
        self, dashscope: Any, wan_emulator: RunningEmulator
    ) -> None:
        task_ids = [dashscope.created(T2V) for _ in range(5)]
        _all_rendered(dashscope, wan_emulator, task_ids)

        seen = []
        for _ in range(4):
            seen.append("".join(states(dashscope, task_ids)))
            wan_emulator.advance_clock(RUNNING_S)

        assert seen == ["RRPPP", "SSRRP", "SSSSR", "SSSSS"]

    def test_each_key_and_model_has_places_of_its_own_and_apiyi_has_no_queue(self, dashscope: Any, apiyi: Any) -> None:
        full = [dashscope.created(T2V) for _ in range(3)]
        other_model = dashscope.created(OTHER_MODEL)
        other_key = dashscope.create(T2V, **OTHER_KEY).json()["output"]["task_id"]
        at_apiyi = [apiyi.created(T2V) for _ in range(4)]

        of_other_key = dashscope.http.get(f"/api/v1/tasks/{other_key}", headers=OTHER_KEY).json()
        assert states(dashscope, [*full, other_model]) == ["R", "R", "P", "R"]
        assert of_other_key["output"]["task_status"] == "RUNNING"
        assert [apiyi.poll(task_id)["status"] for task_id in at_apiyi] == ["in_progress"] * 4

    def test_its_times_tell_the_wait_in_the_queue_and_the_run(
        self, dashscope: Any, wan_emulator: RunningEmulator
    ) -> None:
        task_ids = [dashscope.created(T2V) for _ in range(3)]
        _all_rendered(dashscope, wan_emulator, task_ids)
        wan_emulator.advance_clock(10 * RUNNING_S)

        # Nobody has asked in the meantime: the queue is worked out afterwards.
        output = dashscope.poll(task_ids[2])["output"]
        first = dashscope.poll(task_ids[0])["output"]
        row = next(row for row in _rows(dashscope) if row["task_id"] == task_ids[2])
        billed = wan_emulator.ledger()[2]

        assert output["scheduled_time"] == first["end_time"]
        assert seconds_between(first, "submit_time", "scheduled_time") == 0
        assert seconds_between(output, "scheduled_time", "end_time") == pytest.approx(RUNNING_S, abs=0.01)
        assert (row["end_time"] - row["start_time"]) / 1000 == pytest.approx(RUNNING_S, abs=0.01)
        took = datetime.fromisoformat(billed["end_time"]) - datetime.fromisoformat(billed["scheduled_time"])
        assert took.total_seconds() == pytest.approx(RUNNING_S, abs=0.01)

    def test_a_cancel_lets_the_next_one_move_up(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        task_ids = [dashscope.created(T2V) for _ in range(4)]
        _all_rendered(dashscope, wan_emulator, task_ids)

        dashscope.http.post(f"/api/v1/tasks/{task_ids[2]}/cancel")
        wan_emulator.advance_clock(RUNNING_S)

        assert states(dashscope, task_ids) == ["S", "S", "C", "R"]

    def test_a_task_that_fails_gives_its_place_back(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "task_failed", times=2)
        task_ids = [dashscope.created(T2V) for _ in range(4)]

        assert states(dashscope, task_ids) == ["F", "F", "R", "R"]

    def test_a_task_that_is_canceled_when_it_would_start_takes_no_place(
        self, dashscope: Any, wan_emulator: RunningEmulator
    ) -> None:
        wan_emulator.add_fault("create", "task_canceled", after=2)
        task_ids = [dashscope.created(T2V) for _ in range(4)]
        _all_rendered(dashscope, wan_emulator, task_ids[:2])
        before = states(dashscope, task_ids)
        wan_emulator.advance_clock(RUNNING_S)

        assert before == ["R", "R", "P", "P"]
        assert states(dashscope, task_ids) == ["S", "S", "C", "R"]


class TestList:
    @pytest.fixture
    def wan_emulator_settings(self) -> Settings:
        return replace(
            AT_ONCE,
            running_s=RUNNING_S,
            list_key="tasks",
            list_largest_page=3,
            list_order="oldest first",
            list_utc_offset_h=0,
            list_delay_s=60,
        )

    def test_it_is_what_the_settings_say(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        task_ids = [dashscope.created(T2V) for _ in range(4)]
        _all_rendered(dashscope, wan_emulator, task_ids)
        too_early = _listed(dashscope)
        wan_emulator.advance_clock(RUNNING_S + 30)
        read, before_delay = dashscope.poll(task_ids[0])["output"]["task_status"], _listed(dashscope, page_size=100)
        wan_emulator.advance_clock(60)
        after_delay = _listed(dashscope, page_size=100, page_no=2)

        assert too_early["tasks"] == []
        assert (before_delay["page_size"], before_delay["total"], before_delay["total_page"]) == (3, 4, 2)
        assert [row["task_id"] for row in before_delay["tasks"]] == task_ids[:3]
        assert (read, before_delay["tasks"][0]["status"]) == ("SUCCEEDED", "RUNNING")
        assert [(row["task_id"], row["status"]) for row in after_delay["tasks"]] == [(task_ids[3], "SUCCEEDED")]

    def test_its_times_are_read_in_the_zone_of_the_settings(
        self, dashscope: Any, wan_emulator: RunningEmulator
    ) -> None:
        dashscope.created(T2V)
        wan_emulator.advance_clock(100)
        now = datetime.fromisoformat(wan_emulator.ledger()[0]["time"])
        asked = {"start_time": f"{now:%Y%m%d}000000", "end_time": f"{now:%Y%m%d}235959"}

        assert _listed(dashscope, **asked)["total"] == 1

    def test_it_can_be_asked_for_a_state(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        dashscope.created(T2V)
        wan_emulator.advance_clock(100)

        assert (_listed(dashscope, status="RUNNING")["total"], _listed(dashscope, status="FAILED")["total"]) == (1, 0)


class TestLyingList:
    def test_rows_are_missing(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        task_ids = [dashscope.created(T2V) for _ in range(4)]
        wan_emulator.add_fault("list", "rows_missing")
        body = _listed(dashscope)

        assert [row["task_id"] for row in body["data"]] == [task_ids[3], task_ids[1]]
        assert (body["total"], len(_rows(dashscope))) == (4, 4)

    def test_a_page_is_cut(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        for _ in range(3):
            dashscope.created(T2V)
        wan_emulator.add_fault("list", "rows_cut", rows=2)
        body = _listed(dashscope, page_size=100)

        assert (len(body["data"]), body["page_size"], body["total"], body["total_page"]) == (2, 100, 3, 1)

    def test_the_number_of_pages_is_wrong(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        for _ in range(3):
            dashscope.created(T2V)
        wan_emulator.add_fault("list", "wrong_page_count", pages=7)
        body = _listed(dashscope)

        assert (body["total_page"], len(body["data"])) == (7, 3)

    def test_apiyis_rows_are_missing_too(self, apiyi: Any, wan_emulator: RunningEmulator) -> None:
        apiyi.created(T2V)
        wan_emulator.add_fault("list", "rows_missing", every=1)
        body = apiyi.http.get("/api/task/self", headers={"Authorization": "token"}).json()

        assert body == {"data": {"items": []}}

    def test_an_error_stays_an_error(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("list", "wrong_page_count")
        answer = dashscope.http.get("/api/v1/tasks/", params={"page_no": 0})

        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")

    def test_a_relay_has_no_list(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("list", "not_found", times=None)
        answers = [dashscope.http.get("/api/v1/tasks/") for _ in range(2)]

        assert [answer.status_code for answer in answers] == [404, 404]
        assert dashscope.http.get("/api/v1/tasks/x").status_code == 200


class TestDurations:
    @pytest.mark.parametrize(
        ("durations", "shortest", "median", "longest"),
        [
            (Durations.SPREAD, (83, 85), (104, 106), (248, 253)),
            (Durations.TWO_HUMPED, (60, 61), (79, 221), (258, 260)),
            (Durations.WAN3, (600, 610), (715, 725), (890, 900)),
            (Durations.FIXED, (6, 6), (6, 6), (6, 6)),
        ],
    )
    def test_they_have_the_published_spread(
        self, durations: Durations, shortest: tuple[int, int], median: tuple[int, int], longest: tuple[int, int]
    ) -> None:
        draw = Draw(durations, fixed_s=6)
        drawn = [draw.next_s() for _ in range(2000)]

        measured = (min(drawn), statistics.median(drawn), max(drawn))
        assert all(
            low <= value <= high for value, (low, high) in zip(measured, (shortest, median, longest), strict=True)
        )

    def test_two_humps_leave_a_gap(self) -> None:
        draw = Draw(Durations.TWO_HUMPED, fixed_s=0)

        assert not [seconds for seconds in (draw.next_s() for _ in range(2000)) if 80 < seconds < 220]

    def test_a_reset_draws_the_same_again(self) -> None:
        draw = Draw(Durations.SPREAD, fixed_s=0)
        first = [draw.next_s() for _ in range(5)]
        draw.reset()

        assert [draw.next_s() for _ in range(5)] == first


class TestSpeed:
    @pytest.fixture
    def wan_emulator_settings(self) -> Settings:
        return replace(AT_ONCE, durations=Durations.SPREAD, speed=100)

    def test_a_task_takes_its_share_of_a_drawn_time(self, dashscope: Any) -> None:
        output = dashscope.ended(dashscope.created(T2V))["output"]

        assert seconds_between(output, "scheduled_time", "end_time") >= 0.83


@pytest.mark.parametrize(
    "wrong",
    [
        {"create_qps": 0},
        {"running": -1},
        {"read_qps": True},
        {"list_qps": 1.5},
        {"speed": 0},
        {"list_largest_page": 101},
        {"list_utc_offset_h": 15},
        {"list_delay_s": -1},
    ],
)
def test_what_is_no_limit_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)


def _listed(gateway: Any, **query: Any) -> dict[str, Any]:
    answer = gateway.http.get("/api/v1/tasks/", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _rows(gateway: Any) -> list[dict[str, Any]]:
    return list(_listed(gateway, page_size=100)["data"])


def _all_rendered(gateway: Any, emulator: RunningEmulator, task_ids: list[str]) -> None:
    """Wait until the mp4s are there, so that the clock alone decides."""
    for task_id in task_ids:
        task = emulator._emulator.tasks.get(task_id, 0)
        assert task is not None
        task.work.result(timeout=60)
