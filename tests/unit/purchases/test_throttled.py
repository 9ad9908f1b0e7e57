"""A gateway that admits few create requests a second: every wish is bought once, in its own try, however long it takes.

Where a test says what the gateway answers, the gateway is a plain server, which counts what it is sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import pytest
import submitting_processes
from task_runner import HAS_STATE_STORE

from airflow_wan.emulator.testing import AT_ONCE
from airflow_wan.exceptions import (
    BalanceExhausted,
    LedgerUnreadable,
    PurchaseUncertain,
    RateLimited,
    RequestRejected,
    SubmitAmbiguous,
)
from airflow_wan.operators.wan import WanSubmitVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_wan.emulator.testing import RunningEmulator

THROTTLED = {"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded.", "request_id": "r-1"}

Answer = tuple[int, dict[str, str], Any]
"""Status, headers, and body; a body of None: the connection is dropped."""


def throttled(**headers: str) -> Answer:
    return 429, {name.replace("_", "-"): value for name, value in headers.items()}, THROTTLED


@dataclass
class Gateway:
    """A gateway that accepts every create request, unless it is told otherwise.

    :param script: the answers to the first create requests, each used once.
    :param otherwise: the answer to all create requests after these; None accepts.
    :param watch: called when a create request arrives, before it is answered.
    """

    script: list[Answer] = field(default_factory=list)
    otherwise: Answer | None = None
    watch: Callable[[], None] = lambda: None
    arrived: list[float] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        gateway, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                gateway.watch()
                with lock:
                    status, headers, answer = gateway._answer(order["input"]["prompt"])
                if answer is None:
                    self.close_connection = True
                    return
                content = json.dumps(answer).encode()
                self.send_response_only(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, prompt: str) -> Answer:
        self.arrived.append(time.monotonic())
        if self.script:
            return self.script.pop(0)
        if self.otherwise is not None:
            return self.otherwise
        self.accepted.append(prompt)
        wan_task_id = f"00000000-0000-4000-8000-{len(self.accepted):012}"
        return 200, {}, {"output": {"task_id": wan_task_id, "task_status": "PENDING"}, "request_id": "r-2"}


@pytest.fixture
def gateway(connect: Callable[..., None]) -> Iterator[Gateway]:
    with Gateway() as gateway:
        connect(gateway.base_url, gateway="dashscope")
        yield gateway


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between create requests, in seconds; nothing sleeps."""
    made: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=made.append))
    return made


def submit(**arguments: Any) -> WanSubmitVideoOperator:
    defaults: dict[str, Any] = {"model": "wan2.7-t2v", "prompt": "A lighthouse.", "parameters": {"duration": 2}}
    return WanSubmitVideoOperator(task_id="submit", **defaults | arguments)


def test_one_try_outlasts_many_refusals_and_buys_once(
    gateway: Gateway, runner: Any, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    gateway.script = [throttled()] * 40

    runner.run(submit())

    assert len(gateway.arrived) == 41
    assert len(gateway.accepted) == 1
    assert max(pauses) > 5
    assert max(pauses) <= 60
    told = [record.getMessage() for record in caplog.records if "worker slot" in record.getMessage()]
    assert len(told) == 1  # not once for each request: no time has passed
    assert "Nothing is bought yet" in told[0]
    assert "at most 3 h 15 min more" in told[0]
    assert "a pool of 4 slots" in told[0]


@pytest.mark.parametrize("has_state_store", [False, *([True] if HAS_STATE_STORE else [])])
def test_between_two_requests_nothing_is_recorded_and_each_request_has_an_intent(
    has_state_store: bool, gateway: Gateway, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.has_state_store = has_state_store
    at_requests: list[dict[str, Any]] = []
    at_pauses: list[dict[str, Any]] = []
    gateway.script = [throttled()] * 3
    gateway.watch = lambda: at_requests.append(runner.store.record)
    monkeypatch.setattr(
        "tenacity.nap.time", SimpleNamespace(sleep=lambda _seconds: at_pauses.append(runner.store.record))
    )

    wan_task_id = runner.run(submit(), killed_before_success=True)

    assert at_pauses == [{}, {}, {}]
    assert [record["state"] for record in at_requests] == ["intent"] * 4
    assert len({record["nonce"] for record in at_requests}) == 4
    assert (runner.store.record["state"], runner.store.record["wan_task_id"]) == ("submitted", wan_task_id)


def test_a_task_gives_up_at_its_own_deadline_and_says_what_to_do(
    gateway: Gateway, runner: Any, film: Callable[..., Any]
) -> None:
    gateway.otherwise = throttled()

    with pytest.raises(RateLimited) as caught:
        runner.run(film(timeout=0.5))

    message = str(caught.value)
    assert "No video was bought" in message
    assert "a pool of 4 slots" in message
    assert "timeout" in message
    assert caught.value.billed is False
    assert caught.value.retry_can_help
    assert gateway.accepted == []
    assert runner.store.rows == {}


def test_a_shorter_execution_timeout_is_the_deadline(gateway: Gateway, runner: Any) -> None:
    from datetime import timedelta

    gateway.otherwise = throttled()

    with pytest.raises(RateLimited, match="execution_timeout"):
        runner.run(submit(execution_timeout=timedelta(seconds=0.5)))

    assert runner.store.rows == {}


def test_airflows_own_timeout_during_the_wait_leaves_no_record(
    gateway: Gateway, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow raises it wherever the task is, from a signal handler."""
    from airflow.exceptions import AirflowTaskTimeout

    def time_out(_seconds: float) -> None:
        raise AirflowTaskTimeout("Timeout")

    gateway.script = [throttled()]
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=time_out))
    with pytest.raises(AirflowTaskTimeout):
        runner.run(submit())
    assert runner.store.rows == {}

    runner.run(submit())
    assert len(gateway.accepted) == 1


@pytest.mark.parametrize("seconds", ["7", "0", "600", "100000"])
def test_a_gateway_says_when_to_ask_again(seconds: str, gateway: Gateway, runner: Any, pauses: list[float]) -> None:
    gateway.script = [throttled(Retry_After=seconds)]

    runner.run(submit())

    (pause,) = pauses
    assert min(int(seconds), 600) <= pause <= min(int(seconds), 600) + 1
    assert len(gateway.accepted) == 1


def test_nobody_waits_for_a_moment_after_the_deadline(
    gateway: Gateway, runner: Any, pauses: list[float], film: Callable[..., Any]
) -> None:
    gateway.otherwise = throttled(Retry_After="500")

    with pytest.raises(RateLimited, match="No video was bought"):
        runner.run(film(timeout=400))

    assert len(gateway.arrived) == 1
    assert pauses == []


@pytest.mark.parametrize("code", ["insufficient_user_quota", "local:quota_not_enough", "PrepaidBillOverdue"])
def test_an_empty_balance_is_not_waited_for(code: str, gateway: Gateway, runner: Any, pauses: list[float]) -> None:
    gateway.otherwise = 429, {}, {"error": {"code": code, "message": "m"}}

    with pytest.raises(BalanceExhausted):
        runner.run(submit())

    assert len(gateway.arrived) == 1
    assert pauses == []
    assert runner.store.rows == {}


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "a_new_code", "message": "no"}},
        {"error": {"message": "Your credit is used up."}},
        {"error": {"message": "您的余额已用完"}},
    ],
)
def test_a_refusal_that_may_mean_money_is_left_to_a_later_try(
    body: Any, gateway: Gateway, runner: Any, pauses: list[float]
) -> None:
    gateway.otherwise = 429, {}, body

    with pytest.raises(RateLimited) as caught:
        runner.run(submit())

    assert len(gateway.arrived) == 5
    assert "a pool of 4 slots" not in str(caught.value)
    assert runner.store.rows == {}


def test_a_refusal_that_names_a_task_is_no_refusal(gateway: Gateway, runner: Any, pauses: list[float]) -> None:
    named = {"output": {"task_id": "11111111-2222-4333-8444-555555555555"}}
    gateway.script = [throttled(), (429, {"Retry-After": "1"}, THROTTLED | named)]

    with pytest.raises(SubmitAmbiguous, match="11111111"):
        runner.run(submit())

    assert len(gateway.arrived) == 2
    assert len(pauses) == 1
    assert runner.store.record["state"] == "intent"


def test_a_lost_answer_after_refusals_is_still_in_doubt(gateway: Gateway, runner: Any, pauses: list[float]) -> None:
    gateway.script = [throttled(), throttled(), (200, {}, None)]
    with pytest.raises(SubmitAmbiguous):
        runner.run(submit())
    assert (len(gateway.arrived), len(pauses)) == (3, 2)
    assert runner.store.record["state"] == "intent"

    with pytest.raises(PurchaseUncertain):
        runner.run(submit())
    assert len(gateway.arrived) == 3


def test_another_refusal_ends_the_wait(gateway: Gateway, runner: Any, pauses: list[float]) -> None:
    gateway.script = [throttled(), (400, {}, {"code": "InvalidParameter", "message": "no"})]

    with pytest.raises(RequestRejected):
        runner.run(submit())

    assert (len(gateway.arrived), len(pauses)) == (2, 1)
    assert runner.store.rows == {}


def test_a_later_try_that_has_taken_over_during_the_wait_is_the_one_that_buys(
    gateway: Gateway, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    later: list[str] = []

    def frozen(_seconds: float) -> None:
        if not later:
            later.append(runner.run(submit(), killed_before_success=True))

    gateway.script = [throttled()]
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=frozen))

    with pytest.raises(LedgerUnreadable):
        runner.run(submit())

    assert len(gateway.accepted) == 1
    assert runner.store.record["wan_task_id"] == later[0]


def test_a_person_who_ends_the_task_during_the_wait_ends_it_before_the_next_request(
    gateway: Gateway, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def marked_as_failed(_seconds: float) -> None:
        runner.state = "failed"

    gateway.script = [throttled()]
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=marked_as_failed))

    with pytest.raises(LedgerUnreadable, match="given up this try"):
        runner.run(submit())

    assert len(gateway.arrived) == 1
    assert runner.store.rows == {}


def test_a_purchase_that_is_replaced_survives_refusals_in_either_kind_of_record(
    gateway: Gateway, runner: Any, pauses: list[float]
) -> None:
    gateway.script = [throttled()]
    runner.run(submit(), killed_before_success=True)
    gateway.script = [throttled(), throttled()]
    runner.run(submit(prompt="A harbour.", on_changed_request="resubmit"), killed_before_success=True)

    assert gateway.accepted == ["A lighthouse.", "A harbour."]
    assert len(pauses) == 3


LONGEST_S = 500.0
"""Seconds after which a test of processes gives up: the machine may be busy with others."""


class Tasks:
    """Tasks in processes of their own, which share what one machine gives them.

    :param folder: where they leave what became of them.
    :param base_url: their gateway.
    :param per_second: ``[wan] creates_per_second``.
    """

    def __init__(self, folder: Path, base_url: str, per_second: float) -> None:
        self.folder, self._base_url = folder, base_url
        paths = [str(Path(submitting_processes.__file__).parent), os.environ.get("PYTHONPATH", "")]
        self._environment = os.environ | {
            "AIRFLOW__WAN__CREATES_PER_SECOND": str(per_second),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "TMPDIR": str(folder),
        }

    @contextmanager
    def running(self, count: int) -> Iterator[None]:
        """Start so many, and wait until all have ended; if the test fails meanwhile, end them."""
        command = [sys.executable, submitting_processes.__file__, self._base_url, str(self.folder), str(count)]
        with subprocess.Popen(command, env=self._environment, start_new_session=True) as parent:
            try:
                yield
                assert parent.wait(LONGEST_S) == 0
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(parent.pid, signal.SIGKILL)

    def outcomes(self) -> list[dict[str, str]]:
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("*.outcome.json"))]

    def kept(self, number: int) -> dict[str, str] | None:
        """What Airflow keeps of a task; None if it has not begun."""
        path = self.folder / f"{number}.kept.json"
        return json.loads(path.read_text()) if path.exists() else None

    def kill(self, number: int) -> None:
        os.kill(int((self.folder / f"{number}.pid").read_text()), signal.SIGKILL)


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < until, "the condition has not come true"
        time.sleep(0.02)


WISHES = 30


@pytest.mark.timeout(LONGEST_S + 60)
@pytest.mark.parametrize("per_second", [0, 4], ids=["each task for itself", "in turns"])
def test_thirty_processes_at_once_buy_thirty_videos_in_one_try_each(
    per_second: float, wan_emulator_for: Callable[..., RunningEmulator], tmp_path: Path
) -> None:
    emulator = wan_emulator_for(replace(AT_ONCE, create_qps=5))
    emulator.reset()
    emulator.add_fault("create", "throttled", times=10)  # on a busy machine, they may keep to the limit by themselves

    tasks = Tasks(tmp_path, emulator.base_url, per_second)
    with tasks.running(WISHES):
        pass  # until all have ended

    outcomes = tasks.outcomes()
    assert sorted(row["task_id"] for row in emulator.ledger()) == sorted(
        outcome.get("wan_task_id", str(outcome)) for outcome in outcomes
    )
    assert len(outcomes) == WISHES


@pytest.mark.timeout(LONGEST_S + 60)
@pytest.mark.parametrize("waits_for", ["a gateway that throttles", "its turn"])
def test_a_process_that_is_killed_while_it_waits_has_bought_nothing_and_the_next_try_buys_once(
    waits_for: str, tmp_path: Path
) -> None:
    with Gateway() as gateway:
        if waits_for == "its turn":
            tasks, count = Tasks(tmp_path, gateway.base_url, per_second=0.01), 2
        else:
            tasks, count = Tasks(tmp_path, gateway.base_url, per_second=0), 1
            gateway.otherwise = throttled(Retry_After="300")
        with tasks.running(count):
            if waits_for == "its turn":
                wait_until(tasks.outcomes)
                (number,) = {0, 1} - {int(path.name[0]) for path in tmp_path.glob("*.outcome.json")}
                turns = next(path for path in tmp_path.glob("airflow_wan-creates-*/*"))
                wait_until(lambda: float(turns.read_text()) > time.monotonic() + 110)  # it has taken its turn
            else:
                number = 0
                wait_until(lambda: gateway.arrived and tasks.kept(0) == {})
            arrived, accepted = len(gateway.arrived), len(gateway.accepted)
            assert tasks.kept(number) == {}
            tasks.kill(number)

        assert tasks.kept(number) == {}
        gateway.otherwise = None
        with Tasks(tmp_path, gateway.base_url, per_second=0).running(number + 1):
            pass  # until it has ended

    assert len(gateway.arrived) - arrived == 1
    assert len(gateway.accepted) - accepted == 1
