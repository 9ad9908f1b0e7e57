"""What the trigger does on the event loop: asks without blocking it, survives trouble, and only reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import TriggerEvent
from plain_client import submit_plainly

from airflow_wan.exceptions import VideoWaitTimeout, WanConnectionError, error_from_dict
from airflow_wan.hooks import look_up
from airflow_wan.triggers import wan as trigger_module
from airflow_wan.triggers.wan import WanVideoTrigger
from airflow_wan.waiting import shared_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_wan.emulator.testing import MediaServer, RunningEmulator

LONGEST_BLOCK = 0.05
"""s for which nothing on the trigger's event loop may hold it up."""


@pytest.fixture(autouse=True)
def no_first_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no scheduler that has to keep up, and no supervisor that takes long to look a connection up."""
    monkeypatch.setattr(trigger_module, "FIRST_READ_S", 0.0)
    monkeypatch.setattr(look_up, "KNOWN_FOR_S", 0.0)


def submit(emulator: RunningEmulator, media: MediaServer, gateway: str = "dashscope") -> str:
    """A task made by a plain HTTP client."""
    return submit_plainly(emulator.base_url, gateway, media.url("frame.png"))


def trigger(wan_task_id: str, **arguments: Any) -> WanVideoTrigger:
    now = time.time()
    defaults = {"wan_conn_id": "wan_default", "started": now, "deadline": now + 30, "poll_interval": 0.05}
    return WanVideoTrigger(wan_task_id=wan_task_id, **defaults | arguments)


async def run_like_airflow(waiting: WanVideoTrigger) -> None:
    """The part of the triggerer's `run_trigger` in Airflow 3.3.2 that is about a kill."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(waiting.on_kill(), timeout=30)
        raise
    finally:
        await waiting.cleanup()


async def events_of(waiting: WanVideoTrigger) -> list[dict[str, Any]]:
    return [event.payload async for event in waiting.run()]


def test_it_is_made_again_from_what_the_database_keeps() -> None:
    path, kwargs = trigger("abc", base_url="https://api.apiyi.com", cancel_on_kill=True).serialize()

    assert path == "airflow_wan.triggers.wan.WanVideoTrigger"
    assert WanVideoTrigger(**kwargs).serialize() == (path, kwargs)
    assert all(value is None or isinstance(value, (str, int, float, bool)) for value in kwargs.values())


async def test_the_first_read_waits_for_the_scheduler_however_short_the_poll_interval(
    gateway: Any, media: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wan_task_id = submit(gateway.emulator, media, gateway.name)
    monkeypatch.setattr(trigger_module, "FIRST_READ_S", 0.4)
    started = time.monotonic()

    await events_of(trigger(wan_task_id, poll_interval=0.01))

    assert time.monotonic() - started >= 0.4


@pytest.mark.takes_time
async def test_it_fires_once_and_stops(gateway: Any, media: MediaServer) -> None:
    wan_task_id = submit(gateway.emulator, media, gateway.name)

    (event,) = await events_of(trigger(wan_task_id))

    assert (event["status"], event["wan_task_id"]) == ("success", wan_task_id)
    assert not [value for value in event.values() if "http" in str(value)]


async def test_two_of_it_for_one_task_do_no_harm(gateway: Any, media: MediaServer) -> None:
    wan_task_id = submit(gateway.emulator, media, gateway.name)

    both = await asyncio.gather(events_of(trigger(wan_task_id)), events_of(trigger(wan_task_id)))

    assert [events[0]["status"] for events in both] == ["success", "success"]
    assert len(gateway.emulator.ledger()) == 1


async def test_many_of_it_look_their_connection_up_once_and_share_one_reader(
    connect_to: Callable[..., Any], media: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator = connect_to("dashscope").emulator
    wan_task_ids = [submit(emulator, media) for _ in range(8)]
    monkeypatch.setattr(look_up, "KNOWN_FOR_S", 60.0)
    monkeypatch.setattr(shared_reader, "SWEEP_EVERY_S", 0.1)
    look_ups: list[str] = []
    get_async_account = trigger_module.WanHook.get_async_account

    async def counted(self: Any) -> Any:
        look_ups.append(self.wan_conn_id)
        return await get_async_account(self)

    monkeypatch.setattr(trigger_module.WanHook, "get_async_account", counted)

    events = await asyncio.gather(*(events_of(trigger(wan_task_ids[n % 8])) for n in range(200)))

    assert [event["status"] for (event,) in events] == ["success"] * 200
    assert look_ups == ["wan_default"]
    assert emulator.counts()["poll"]["throttled"] == 0
    (readers,) = (readers for loop, readers in shared_reader._readers.items() if loop is asyncio.get_running_loop())
    assert [len(reader) for reader in readers.values()] == [0]


async def test_one_that_is_canceled_leaves_the_look_up_to_the_others(
    gateway: Any, media: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wan_task_id = submit(gateway.emulator, media, gateway.name)
    begun, go_on = asyncio.Event(), asyncio.Event()
    get_async_account = trigger_module.WanHook.get_async_account

    async def slow(self: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await get_async_account(self)

    monkeypatch.setattr(trigger_module.WanHook, "get_async_account", slow)
    first, second = (asyncio.create_task(events_of(trigger(wan_task_id))) for _ in range(2))
    await begun.wait()
    first.cancel()
    await asyncio.wait([first])
    go_on.set()

    (event,) = await second

    assert first.cancelled()
    assert event["status"] == "success"


def test_one_that_an_older_version_wrote_down_is_made_again() -> None:
    _, kwargs = trigger("abc").serialize()
    old = {name: kwargs[name] for name in ("wan_task_id", "wan_conn_id", "started", "deadline", "poll_interval")}

    made = WanVideoTrigger(**old)

    assert (made.model, made.resolution, made.duration) == (None, None, None)


@pytest.mark.takes_time
async def test_nothing_holds_up_the_event_loop(gateway: Any, media: MediaServer) -> None:
    wan_task_id = submit(gateway.emulator, media, gateway.name)

    # The machine may stop any one run for a while, but hardly all three.
    longest = min([await longest_step(trigger(wan_task_id)) for _ in range(3)])

    assert longest < LONGEST_BLOCK


async def test_a_blocking_call_would_be_noticed(gateway: Any, media: MediaServer, monkeypatch: Any) -> None:
    wan_task_id = submit(gateway.emulator, media, gateway.name)
    look_up = trigger_module.WanHook.get_async_account

    async def blocking(self: Any) -> Any:
        time.sleep(2 * LONGEST_BLOCK)  # noqa: ASYNC251 - the fault to be noticed
        return await look_up(self)

    monkeypatch.setattr(trigger_module.WanHook, "get_async_account", blocking)

    assert await longest_step(trigger(wan_task_id)) > LONGEST_BLOCK


async def longest_step(waiting: WanVideoTrigger) -> float:
    """The longest that the event loop spends in one callback while a trigger runs, in s."""
    longest = 0.0
    run_step = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        nonlocal longest
        before = time.perf_counter()
        run_step(handle)
        longest = max(longest, time.perf_counter() - before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", timed)
        await events_of(waiting)
    return longest


@pytest.fixture
def nasty() -> Iterator[str]:
    """A gateway whose task failed, with texts and numbers that nothing can hold."""
    output = {"task_status": "FAILED", "code": "half \ud83d", "message": "cut \ud83d\0\x1b[31m", "usage": 10**400}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps({"output": output, "request_id": "\ud83d\0"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


async def test_what_a_gateway_says_of_a_failure_survives_the_triggerers_own_messages(
    nasty: str, connect: Callable[..., None]
) -> None:
    connect(nasty, gateway="dashscope")

    (event,) = await events_of(trigger("abc"))

    assert msgspec.msgpack.encode(TriggerEvent(event).model_dump())  # what the triggerer sends its supervisor
    assert "\\u0000" not in json.dumps(event)  # which PostgreSQL refuses
    assert event["error"]["message"] == "The Wan task ended failed: cut �[31m."


async def test_a_foreign_error_of_a_read_is_survived_like_a_gateway_that_is_away(
    gateway: Any, media: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_wan.api.client import AsyncWanClient

    wan_task_id = submit(gateway.emulator, media, gateway.name)
    get_task, failures = AsyncWanClient.get_task, iter([ValueError("half \ud83d"), RuntimeError("\0")])

    async def sometimes(self: AsyncWanClient, asked: str) -> Any:
        for failure in failures:
            raise failure
        return await get_task(self, asked)

    monkeypatch.setattr(AsyncWanClient, "get_task", sometimes)

    (event,) = await events_of(trigger(wan_task_id))

    assert event["status"] == "success"


@pytest.mark.takes_time
async def test_a_passed_deadline_ends_the_wait_with_the_id(gateway: Any, media: MediaServer) -> None:
    wan_task_id = submit(gateway.emulator, media, gateway.name)

    (event,) = await events_of(trigger(wan_task_id, deadline=time.time()))

    assert (event["status"], event["error"]["kind"]) == ("error", "VideoWaitTimeout")
    assert event["error"]["wan_task_id"] == wan_task_id


async def test_a_task_the_gateway_does_not_know_is_asked_for_until_the_deadline(gateway: Any) -> None:
    (event,) = await events_of(trigger("00000000-0000-4000-8000-00000000dead", deadline=time.time() + 1))

    error = error_from_dict(event["error"])
    assert isinstance(error, VideoWaitTimeout)
    assert "refused to tell" in error.message
    assert error.retry_can_help


async def test_a_video_whose_key_is_refused_again_and_again_is_waited_for(gateway: Any, media: MediaServer) -> None:
    wan_task_id = submit(gateway.emulator, media, gateway.name)
    gateway.emulator.add_fault("poll", "unauthorized", times=6)

    (event,) = await events_of(trigger(wan_task_id, poll_interval=0.01))

    assert event["status"] == "success"


async def test_a_key_that_is_corrected_while_it_is_refused_takes_effect(
    gateway: Any, media: MediaServer, connect: Callable[..., None]
) -> None:
    wan_task_id = submit(gateway.emulator, media, gateway.name)
    connect(gateway.emulator.base_url, gateway=gateway.name, password="no-key-of-this-gateway")
    asking = asyncio.create_task(events_of(trigger(wan_task_id, poll_interval=0.01)))
    await asyncio.sleep(0.2)
    connect(gateway.emulator.base_url, gateway=gateway.name)

    (event,) = await asking

    assert event["status"] == "success"


async def test_a_gateway_that_cannot_be_reached_is_survived(
    gateway: Any, media: MediaServer, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    wan_task_id = submit(gateway.emulator, media, gateway.name)
    notes: list[str] = []
    waiting = trigger(wan_task_id)
    monkeypatch.setattr(
        type(waiting), "log", SimpleNamespace(info=lambda text, *args: notes.append(text % args)), raising=False
    )
    connect("http://127.0.0.1:9", gateway=gateway.name)  # nobody listens there
    asking = asyncio.create_task(events_of(waiting))
    async with asyncio.timeout(10):
        while not notes:  # noqa: ASYNC110 - the log is no awaitable
            await asyncio.sleep(0.01)
    assert "polling failed" in notes[0]
    asking.cancel()
    connect(gateway.emulator.base_url, gateway=gateway.name)

    (event,) = await events_of(trigger(wan_task_id))

    assert event["status"] == "success"


async def test_a_connection_that_airflow_cannot_look_up_for_now_is_survived(
    gateway: Any, media: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wan_task_id = submit(gateway.emulator, media, gateway.name)
    hook = trigger_module.WanHook
    look_up = hook.get_async_account
    failures = iter([RuntimeError("API_SERVER_ERROR"), RuntimeError("API_SERVER_ERROR")])

    async def sometimes(self: Any) -> Any:
        for failure in failures:
            raise failure
        return await look_up(self)

    monkeypatch.setattr(hook, "get_async_account", sometimes)

    (event,) = await events_of(trigger(wan_task_id))

    assert event["status"] == "success"


@pytest.mark.parametrize("fault", ["undefined", "moved", "of another type"])
async def test_a_connection_that_the_triggerer_cannot_use_hands_the_wait_back_to_a_worker(
    fault: str, gateway: Any, media: MediaServer, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    wan_task_id = submit(gateway.emulator, media, gateway.name)
    base_url = gateway.emulator.base_url
    if fault == "undefined":
        monkeypatch.delenv("AIRFLOW_CONN_WAN_DEFAULT")
    elif fault == "moved":
        connect("http://127.0.0.1:9", gateway=gateway.name)
    else:
        monkeypatch.setenv("AIRFLOW_CONN_WAN_DEFAULT", json.dumps({"conn_type": "http", "password": "p" * 20}))

    (event,) = await events_of(trigger(wan_task_id, base_url=base_url))

    error = error_from_dict(event["error"])
    assert isinstance(error, WanConnectionError)
    assert error.retry_can_help
    assert "triggerer" in str(error)
    assert "paid for" in str(error)
    assert wan_task_id in str(error)


@pytest.mark.stays_queued
@pytest.mark.parametrize("gateway", ["dashscope"], indirect=True)
class TestKilledByAUser:
    async def test_a_queued_task_is_canceled(self, gateway: Any, media: MediaServer) -> None:
        wan_task_id = submit(gateway.emulator, media)

        await trigger(wan_task_id, cancel_on_kill=True).on_kill()

        assert gateway.emulator.ledger()[0]["status"] == "CANCELED"

    @pytest.mark.parametrize("latency_s", [0.0, 1.5])
    async def test_it_is_canceled_and_told_however_often_airflow_cancels_the_trigger(
        self, latency_s: float, gateway: Any, media: MediaServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wan_task_id = submit(gateway.emulator, media)
        gateway.emulator.set_latency(latency_s)
        said: list[str] = []
        log = SimpleNamespace(**dict.fromkeys(("info", "warning"), lambda text, *args: said.append(text % args)))
        monkeypatch.setattr(trigger_module.WanHook, "log", log)
        killed = asyncio.create_task(run_like_airflow(trigger(wan_task_id, cancel_on_kill=True)))
        await asyncio.sleep(0)

        while not killed.done():
            killed.cancel("user-action")
            await asyncio.wait([killed], timeout=0.3)

        assert gateway.emulator.ledger()[0]["status"] == "CANCELED"
        assert said == [f"Wan task {wan_task_id} is canceled; it will not be billed."]

    async def test_a_cancel_whose_look_up_is_slow_is_not_cut_off_either(
        self, gateway: Any, media: MediaServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wan_task_id = submit(gateway.emulator, media)
        killed_trigger = trigger(wan_task_id, cancel_on_kill=True)
        killed_trigger.task_instance = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, task=None)
        asked = threading.Event()
        monkeypatch.setattr(trigger_module, "state_of_task", lambda *_: asked.wait(10) and "failed")
        killed = asyncio.create_task(run_like_airflow(killed_trigger))
        for _ in range(3):
            await asyncio.sleep(0.05)
            killed.cancel("user-action")
        asked.set()

        await asyncio.wait([killed])

        assert gateway.emulator.ledger()[0]["status"] == "CANCELED"

    async def test_a_gateway_that_does_not_answer_the_cancel_holds_no_trigger_for_ever(
        self, gateway: Any, media: MediaServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wan_task_id = submit(gateway.emulator, media)
        gateway.emulator.add_fault("cancel", "hold")
        monkeypatch.setattr(trigger_module, "LONGEST_KILL_S", 0.3)
        said: list[str] = []
        waiting = trigger(wan_task_id, cancel_on_kill=True)
        log = SimpleNamespace(**dict.fromkeys(("info", "warning"), lambda text, *args: said.append(text % args)))
        monkeypatch.setattr(type(waiting), "log", log, raising=False)

        await waiting.on_kill()

        assert "may go on and be billed" in said[0]
        gateway.emulator.release_faults()
        await asyncio.gather(*trigger_module._endings)

    async def test_it_is_left_alone_where_the_author_says_so(self, gateway: Any, media: MediaServer) -> None:
        wan_task_id = submit(gateway.emulator, media)

        await trigger(wan_task_id, cancel_on_kill=False).on_kill()

        assert gateway.emulator.ledger()[0]["status"] != "CANCELED"

    @pytest.mark.parametrize(
        ("task_states", "goes_on"),
        [
            ({"animate": "deferred"}, True),  # only the trigger moves
            ({"animate": None}, True),  # the task was cleared, and no worker has its next try yet
            ({"animate": "queued"}, True),
            ({"animate": "running"}, True),
            ({"animate": "failed"}, False),
            ({"animate": "success"}, False),
            ({}, False),  # the DAG run was deleted
        ],
    )
    async def test_it_is_left_alone_as_long_as_a_try_will_continue_with_it(
        self,
        task_states: dict[str, str | None],
        goes_on: bool,
        gateway: Any,
        media: MediaServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        wan_task_id = submit(gateway.emulator, media)
        killed = trigger(wan_task_id, cancel_on_kill=True)
        killed.task_instance = SimpleNamespace(dag_id="films", run_id="r", task_id="animate", map_index=-1, task=None)
        monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", lambda **_: {"r": task_states})

        await killed.on_kill()

        assert (gateway.emulator.ledger()[0]["status"] != "CANCELED") is goes_on
