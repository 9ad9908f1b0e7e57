"""One reader for all waits of an account: what it sends, who gets what, and what is left when a wait goes."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from unit.waiting.conftest import FAST, KEY, LoopGateway, loop_gateway, until, watch

from airflow_wan.exceptions import VideoTaskFailed, VideoWaitTimeout
from airflow_wan.waiting import listing, shared_reader, shared_wait
from airflow_wan.waiting.limits import Limits
from airflow_wan.waiting.shared_reader import SharedReader
from airflow_wan.waiting.watch import Decision, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_wan.api.gateways import Account

pytestmark = pytest.mark.usefixtures("quick")


def reader_of(account: Account, limits: Limits = FAST) -> SharedReader:
    return shared_reader.shared_reader(account, limits)


async def end_of(reader: SharedReader, name: str, **fields: Any) -> Decision:
    """Wait for a task as a trigger does, and return what ended the wait."""
    with reader.joined(watch(name, **fields)) as wait:
        while True:
            decision = await wait.decision()
            if decision.verdict is not Verdict.WAIT or wait.watch.refused:
                return decision


def waits_for(reader: SharedReader, names: Iterable[str], **fields: Any) -> list[asyncio.Task[Decision]]:
    return [asyncio.create_task(end_of(reader, name, **fields)) for name in names]


async def ends_of(waits: list[asyncio.Task[Decision]]) -> list[Verdict]:
    async with asyncio.timeout(30):
        return [decision.verdict for decision in await asyncio.gather(*waits)]


async def is_gone(reader: SharedReader, gateway: LoopGateway) -> None:
    """Check that nothing is left of a reader that nobody needs."""
    await until(lambda: len(asyncio.all_tasks()) <= 1 + gateway.open)
    await until(lambda: gateway.open == 0)
    assert len(reader) == 0
    assert not reader._by_task
    assert not reader._under_way
    assert len(reader._schedule) == 0


class TestManyWaits:
    async def test_the_list_serves_them_all_and_nobody_is_read_alone_but_to_see_whether_it_is_right(self) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(300), reader_of(gateway.account())
            waits = waits_for(reader, names)
            await until(lambda: gateway.counts["list"] > 6)
            gateway.finish()

            assert set(await ends_of(waits)) == {Verdict.SUCCEEDED}
            assert gateway.counts["task"] < 50
            await is_gone(reader, gateway)

    async def test_a_handful_is_read_alone(self) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(listing.HANDFUL), reader_of(gateway.account())
            waits = waits_for(reader, names)
            await until(lambda: gateway.counts["task"] > 8)
            gateway.finish()

            assert await ends_of(waits) == [Verdict.SUCCEEDED] * len(names)
            assert gateway.counts["list"] == 0

    async def test_apiyi_is_never_asked_for_a_list(self) -> None:
        async with loop_gateway() as gateway:
            gateway.states = dict.fromkeys(gateway.add(100), "submitted")
            reader = reader_of(gateway.account(apiyi=True))
            waits = waits_for(reader, gateway.states)
            await until(lambda: gateway.counts["task"] > 200)
            gateway.finish()

            assert set(await ends_of(waits)) == {Verdict.SUCCEEDED}
            assert gateway.counts["list"] == 0

    async def test_few_connections_are_kept_for_all(self) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(20), reader_of(gateway.account(apiyi=True), Limits(50, 50))
            waits = waits_for(reader, names, poll_interval=0.2)
            await until(lambda: gateway.counts["task"] > 120)
            gateway.finish()
            await ends_of(waits)

            assert gateway.connections < 60  # of more than 120 reads

    async def test_two_waits_for_one_task_both_end(self) -> None:
        async with loop_gateway() as gateway:
            (name,), reader = gateway.add(1), reader_of(gateway.account())
            waits = waits_for(reader, [name, name])
            await until(lambda: gateway.counts["task"] > 3)
            gateway.finish()

            assert await ends_of(waits) == [Verdict.SUCCEEDED] * 2


class TestTheLimits:
    async def test_no_more_is_sent_than_the_account_allows(self) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(200), reader_of(gateway.account(apiyi=True), Limits(20, 20))
            sent: list[float] = []
            gateway.on_task = lambda _: sent.append(time.monotonic())
            waits = waits_for(reader, names)
            await until(lambda: len(sent) > 60)
            gateway.finish()
            for wait in waits:
                wait.cancel()

            assert sent[-1] - sent[0] > (len(sent) - 3) / 20 - 0.3

    async def test_a_429_slows_the_account_and_costs_no_wait_its_turn(self) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(30, "SUCCEEDED"), reader_of(gateway.account(apiyi=True))
            refused = iter(names[:3])
            gateway.on_task = lambda name: (429, {}) if next(refused, None) else None

            waits = waits_for(reader, names)
            await until(lambda: gateway.counts["task"] >= 3)
            at_once = gateway.counts["task"]

            assert set(await ends_of(waits)) == {Verdict.SUCCEEDED}
            assert at_once < len(names)
            assert reader._reads.share(time.monotonic()) < 1
            assert gateway.counts["task"] == len(names) + 3

    async def test_a_slow_answer_holds_up_no_other(self) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(120, "SUCCEEDED"), reader_of(gateway.account(apiyi=True))
            gateway.held = set(names[:40])
            waits = waits_for(reader, names)

            assert set(await ends_of(waits[40:])) == {Verdict.SUCCEEDED}
            gateway.held = set()
            assert set(await ends_of(waits)) == {Verdict.SUCCEEDED}

    async def test_tasks_without_an_answer_take_few_places_the_next_time(self) -> None:
        async with loop_gateway() as gateway:
            names = gateway.add(shared_reader.MOST_DOUBTFUL_READS + 10)
            gateway.held = set(names)
            reader = reader_of(gateway.account(apiyi=True, total_timeout=0.3))
            waits = waits_for(reader, names, poll_interval=0.01)
            await until(lambda: gateway.counts["task"] > 5 * len(names))

            assert reader._doubtful_reads <= shared_reader.MOST_DOUBTFUL_READS
            gateway.held = set()
            gateway.finish()
            assert set(await ends_of(waits)) == {Verdict.SUCCEEDED}

    async def test_a_wait_that_nobody_could_read_ends_soon_after_its_deadline(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared_wait, "LAST_READ_S", 0.2)
        async with loop_gateway() as gateway:
            (name,), reader = gateway.add(1), reader_of(gateway.account())
            gateway.held = {name}

            decision = await end_of(reader, name, deadline=time.time() + 0.2)

            assert isinstance(decision.error, VideoWaitTimeout)
            gateway.held = set()
            await is_gone(reader, gateway)

    async def test_a_wait_ends_at_its_deadline_although_the_gateway_asks_for_a_longer_pause(self) -> None:
        async with loop_gateway() as gateway:
            (name,), reader = gateway.add(1), reader_of(gateway.account())
            reader._reads.slow_down(time.monotonic(), 3600.0)

            async with asyncio.timeout(shared_wait.LAST_READ_S / 2):
                decision = await end_of(reader, name, deadline=time.time() + 0.3)

            assert isinstance(decision.error, VideoWaitTimeout)
            assert gateway.counts["task"] == 0

    async def test_at_the_deadline_the_task_itself_is_read_once_more(self) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(20), reader_of(gateway.account())

            waits = waits_for(reader, names, deadline=time.time() + 0.4)

            assert {type((await wait).error) for wait in waits} == {VideoWaitTimeout}
            assert all(gateway.reads[name] for name in names)


class TestAListThatCannotBeBelieved:
    async def test_an_end_that_is_none_ends_no_wait(self) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(50), reader_of(gateway.account())
            gateway.rows = dict.fromkeys(names, "SUCCEEDED")
            waits = waits_for(reader, names)
            await until(lambda: all(gateway.reads[name] > 1 for name in names))

            assert not any(wait.done() for wait in waits)
            assert gateway.counts["list"] < 10  # it is not believed for long
            gateway.finish()
            assert set(await ends_of(waits)) == {Verdict.SUCCEEDED}

    async def test_a_failure_is_read_for_its_reason(self) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(20, "FAILED"), reader_of(gateway.account())
            gateway.fields = {name: {"code": "DataInspectionFailed", "message": "no kites"} for name in names}

            errors = [(await wait).error for wait in waits_for(reader, names)]

            assert {type(error) for error in errors} == {VideoTaskFailed}
            assert {error.code for error in errors if error} == {"DataInspectionFailed"}

    async def test_a_relay_without_a_list_is_asked_for_it_once(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "airflow_wan")
        async with loop_gateway() as gateway:
            gateway.on_list = lambda _: (404, {"code": "NotFound"})
            for _ in range(2):  # what is known outlasts the waits
                names, reader = gateway.add(20), reader_of(gateway.account())
                waits = waits_for(reader, names)
                await until(lambda names=names: all(gateway.reads[name] for name in names))
                gateway.finish()
                assert set(await ends_of(waits)) == {Verdict.SUCCEEDED}

            assert gateway.counts["list"] == 1
            assert sum("no list of tasks" in message for message in caplog.messages) == 1

    @pytest.mark.parametrize("shown", [0, 10])
    async def test_tasks_that_it_does_not_show_are_read_alone(self, shown: int) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(60), reader_of(gateway.account())
            rows = [
                {"task_id": name, "status": "RUNNING", "gmt_create": int(time.time() * 1000)} for name in names[:shown]
            ]
            gateway.on_list = lambda _: (200, {"data": rows})
            waits = waits_for(reader, names)
            await until(lambda: all(gateway.reads[name] for name in names[shown:]))
            gateway.finish(*names[shown:])

            assert set(await ends_of(waits[shown:])) == {Verdict.SUCCEEDED}
            for wait in waits[:shown]:
                wait.cancel()

    async def test_the_window_is_asked_for_in_another_zone_until_it_shows_our_tasks(self) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(20), reader_of(gateway.account())
            gateway.on_list = lambda query: (200, {"data": []}) if "start_time" in query else None
            waits = waits_for(reader, names)
            await until(lambda: gateway.counts["list"] > 4)
            gateway.finish()

            assert set(await ends_of(waits)) == {Verdict.SUCCEEDED}
            starts = [query.get("start_time") for query in gateway.queries]
            assert len(set(starts[:3])) == 3
            assert set(starts[2:]) == {None}

    async def test_a_page_size_that_is_refused_is_made_smaller(self) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(60), reader_of(gateway.account())
            gateway.on_list = lambda query: (
                (400, {"code": "InvalidParameter", "message": "page_size"}) if int(query["page_size"]) > 20 else None
            )
            waits = waits_for(reader, names)
            await until(lambda: gateway.counts["list"] > 6)
            gateway.finish()

            assert set(await ends_of(waits)) == {Verdict.SUCCEEDED}
            assert [query["page_size"] for query in gateway.queries[:3]] == ["100", "50", "20"]
            assert {query["page_size"] for query in gateway.queries[3:]} == {"20"}

    async def test_a_list_that_never_answers_leaves_the_waits_to_single_reads(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared_reader, "LONGEST_PAGE_S", 0.2)
        async with loop_gateway() as gateway:
            names, reader = gateway.add(20, "SUCCEEDED"), reader_of(gateway.account())
            gateway.held = {"list"}

            assert set(await ends_of(waits_for(reader, names))) == {Verdict.SUCCEEDED}

    async def test_a_list_that_may_not_be_read_for_long_leaves_the_waits_to_single_reads(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared_reader, "COVERED_S", 0.2)
        async with loop_gateway() as gateway:
            names, reader = gateway.add(10), reader_of(gateway.account())
            reader._lists.slow_down(time.monotonic(), 600.0)
            gateway.finish()

            assert set(await ends_of(waits_for(reader, names))) == {Verdict.SUCCEEDED}
            assert gateway.counts["list"] == 0

    async def test_a_list_whose_pages_take_long_does_not_stand_for_reads_as_long_as_it_takes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared_reader, "COVERED_S", 0.1)
        monkeypatch.setattr(shared_reader, "LONGEST_COVERED_S", 0.3)
        monkeypatch.setattr(listing, "MAX_PAGES", 3)
        monkeypatch.setattr(listing, "HANDFUL", 1)
        async with loop_gateway() as gateway:
            names, reader = gateway.add(10), reader_of(gateway.account(), Limits(500, 5))
            numbers = count()

            def answer(_query: dict[str, str]) -> tuple[int, Any]:
                rows = [
                    {"task_id": name, "status": gateway.states[name]} for name in names[1:]
                ]  # one is always missing
                others = [{"task_id": f"other-{next(numbers)}", "status": "RUNNING"}]
                made = int(time.time() * 1000)
                return 200, {"total": 1000, "data": [row | {"gmt_create": made} for row in rows + others]}

            gateway.on_list = answer
            waits = waits_for(reader, names)
            await until(lambda: gateway.counts["list"] > 3)

            assert reader._covered_s <= 0.3
            gateway.finish()
            assert set(await ends_of(waits)) == {Verdict.SUCCEEDED}

    async def test_a_list_that_stays_behind_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(listing, "LONGEST_LAG_S", 0.1)
        monkeypatch.setattr(shared_reader, "AUDIT_EVERY_S", 0.0)
        async with loop_gateway() as gateway:
            names, reader = gateway.add(50), reader_of(gateway.account())
            gateway.rows = dict.fromkeys(names, "RUNNING")
            waits = waits_for(reader, names)
            await until(lambda: gateway.counts["list"] > 2)
            gateway.finish()

            assert set(await ends_of(waits)) == {Verdict.SUCCEEDED}


class TestAClockThatIsSetBack:
    async def test_the_list_goes_on_to_be_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(50), reader_of(gateway.account())
            waits = waits_for(reader, names)
            await until(lambda: gateway.counts["list"] > 3)
            clock = SimpleNamespace(time=lambda: time.time() - 3600, monotonic=time.monotonic)
            monkeypatch.setattr(shared_reader, "time", clock)
            monkeypatch.setattr(shared_wait, "time", clock)
            before = gateway.counts["list"]

            await until(lambda: gateway.counts["list"] > before + 3)
            gateway.finish()

            assert set(await ends_of(waits)) == {Verdict.SUCCEEDED}


class TestWhoSharesAReader:
    async def test_the_same_key_and_host(self) -> None:
        async with loop_gateway() as gateway:
            account = gateway.account()

            assert reader_of(account) is reader_of(gateway.account(read_timeout=7))
            assert reader_of(account) is not reader_of(gateway.account(key="sk-another-0123456789"))
            assert reader_of(account) is not reader_of(gateway.account(workspace="ws-1"))

    def test_each_event_loop_has_its_own_and_closed_ones_are_forgotten(self) -> None:
        account = LoopGateway().account()

        async def make() -> SharedReader:
            return reader_of(account)

        assert asyncio.run(make()) is not asyncio.run(make())
        assert len(shared_reader._readers) <= 1

    async def test_no_key_is_in_its_repr_its_log_or_the_names_of_its_tasks(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        async with loop_gateway() as gateway:
            names, reader = gateway.add(20), reader_of(gateway.account())
            gateway.on_task = lambda _: (429, {"code": "Throttling", "message": f"slow down, {KEY}"})
            gateway.on_list = lambda _: (500, {"code": "InternalError", "message": f"away, {KEY}"})
            waits = waits_for(reader, names)
            await until(lambda: gateway.counts["task"] > 2)
            shown = [repr(reader), repr(shared_reader._readers), *map(repr, asyncio.all_tasks()), caplog.text]
            for wait in waits:
                wait.cancel()

            assert gateway.keys == {f"Bearer {KEY}"}
            assert KEY not in "".join(shown)
            assert "TOPSECRET" not in "".join(shown)


class TestAWaitThatLeaves:
    @pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144])
    async def test_it_leaves_nothing_wherever_it_is_canceled(self, steps: int) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(8), reader_of(gateway.account())
            waits = waits_for(reader, names)
            for _ in range(steps):
                await asyncio.sleep(0)
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

            await is_gone(reader, gateway)

    async def test_others_go_on_when_one_is_canceled_while_it_is_read(self) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(4), reader_of(gateway.account())
            gateway.held = {names[0]}
            waits = waits_for(reader, names)
            await until(lambda: gateway.reads[names[0]])
            waits[0].cancel()
            gateway.finish()

            assert set(await ends_of(waits[1:])) == {Verdict.SUCCEEDED}
            gateway.held = set()
            await is_gone(reader, gateway)

    async def test_one_may_join_while_the_last_one_leaves(self) -> None:
        async with loop_gateway() as gateway:
            names, reader = gateway.add(30), reader_of(gateway.account())
            for name in names:
                (wait,) = waits_for(reader, [name])
                await asyncio.sleep(0.001)
                wait.cancel()
            gateway.finish()

            assert await ends_of(waits_for(reader, [names[0]])) == [Verdict.SUCCEEDED]
            await is_gone(reader, gateway)

    def test_the_end_of_the_loop_closes_its_connections(self) -> None:
        async def leave_it_waiting() -> None:
            async with loop_gateway() as gateway:
                reader = reader_of(gateway.account())
                waits_for(reader, gateway.add(2))
                await until(lambda: gateway.counts["task"] > 1)

        asyncio.run(leave_it_waiting())
        gc.collect()  # a connection left open would warn here, which is an error


class TestTroubleOfItsOwn:
    async def test_it_begins_again_after_an_error_of_its_own(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        start, failures = SharedReader._start_what_is_due, iter([RuntimeError("half \ud83d"), ValueError("\0")])

        def sometimes(self: SharedReader, client: Any) -> float:
            for failure in failures:
                raise failure
            return start(self, client)

        monkeypatch.setattr(SharedReader, "_start_what_is_due", sometimes)
        async with loop_gateway() as gateway:
            reader = reader_of(gateway.account())

            assert await ends_of(waits_for(reader, gateway.add(3, "SUCCEEDED"))) == [Verdict.SUCCEEDED] * 3
        assert sum("begins again" in message for message in caplog.messages) == 2

    async def test_a_foreign_error_of_a_read_is_one_of_the_gateway(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from airflow_wan.api.client import AsyncWanClient

        get_task, failures = AsyncWanClient.get_task, iter([ValueError("half \ud83d")])

        async def sometimes(self: AsyncWanClient, name: str) -> Any:
            for failure in failures:
                raise failure
            return await get_task(self, name)

        monkeypatch.setattr(AsyncWanClient, "get_task", sometimes)
        async with loop_gateway() as gateway:
            reader = reader_of(gateway.account())
            (name,) = gateway.add(1, "SUCCEEDED")
            with reader.joined(watch(name)) as wait:
                first = await wait.decision()
                last = await wait.decision()

        assert "polling failed" in first.notes[0]
        assert last.verdict is Verdict.SUCCEEDED
