from __future__ import annotations

import json
import math
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import httpx
import pytest
from fastcrc import crc64

from airflow_wan.emulator.__main__ import main
from airflow_wan.emulator.faults import CallKind, Fault, FaultKind
from airflow_wan.emulator.testing import AT_ONCE, RunningEmulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "sk-emulator-test-0123456789"
CREATE = "/api/v1/services/aigc/video-generation/video-synthesis"
HEADERS = {"Authorization": f"Bearer {KEY}", "X-DashScope-Async": "enable"}
TEXT = {"model": "wan2.7-t2v", "input": {"prompt": "a kite"}, "parameters": {"resolution": "720P", "duration": 2}}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_holding(emulator: RunningEmulator, answers: int = 1) -> Callable[[], bool]:
    return lambda: sum(row["holding"] for row in emulator.faults()) == answers


def bills(emulator: RunningEmulator) -> int:
    return sum(row["billed"] for row in emulator.ledger())


@contextmanager
def in_thread(send: Callable[[], httpx.Response]) -> Iterator[Callable[[], httpx.Response]]:
    """Send a request in a thread; yield a function that waits for its answer."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(send)
        yield lambda: future.result(timeout=10)


@contextmanager
def raw(emulator: RunningEmulator, request: str, body: bytes = b"") -> Iterator[socket.socket]:
    """Send one request over a bare socket."""
    place = urlsplit(emulator.base_url)
    headers = {"Host": place.netloc, "Content-Length": str(len(body)), **HEADERS}
    if not body:
        del headers["Authorization"]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection((str(place.hostname), place.port or 0), timeout=10) as client:
        client.sendall(f"{request} HTTP/1.1\r\n{head}\r\n".encode() + body)
        yield client


def raw_create(emulator: RunningEmulator) -> Any:
    return raw(emulator, f"POST {CREATE}", json.dumps(TEXT).encode())


def drained(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65536), b""))


class TestACreate:
    @pytest.mark.parametrize(("parameters", "billed"), [({}, 1), ({"accepted": True}, 1), ({"accepted": False}, 0)])
    def test_looks_the_same_to_its_client_whether_it_was_accepted_before_the_drop(
        self, gateway: Any, wan_emulator: RunningEmulator, *, parameters: dict[str, bool], billed: int
    ) -> None:
        wan_emulator.add_fault("create", "drop_connection", **parameters)

        with pytest.raises(httpx.RemoteProtocolError):
            gateway.create(TEXT)

        assert bills(wan_emulator) == billed
        assert [entry["status"] for entry in wan_emulator.requests()] == [None]
        assert gateway.create(TEXT).status_code == 200

    def test_may_be_reset(self, gateway: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "drop_connection", reset=True)

        with pytest.raises(httpx.ReadError):
            gateway.create(TEXT)

        assert bills(wan_emulator) == 1

    def test_dropped_ends_with_fin_and_reset_with_rst(self, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "drop_connection")
        wan_emulator.add_fault("create", "drop_connection", reset=True)

        with raw_create(wan_emulator) as client:
            assert client.recv(1) == b""
        with raw_create(wan_emulator) as client, pytest.raises(ConnectionResetError):
            client.recv(1)

    @pytest.mark.parametrize(("kind", "status"), [("bad_gateway", 502), ("gateway_timeout", 504), ("html", 200)])
    def test_may_be_answered_by_a_proxy(
        self, gateway: Any, wan_emulator: RunningEmulator, kind: str, status: int
    ) -> None:
        wan_emulator.add_fault("create", kind)

        answer = gateway.create(TEXT)

        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.text.startswith("<html>")
        assert bills(wan_emulator) == 1
        assert [entry["status"] for entry in wan_emulator.requests()] == [status]

    @pytest.mark.parametrize("accepted", [True, False])
    @pytest.mark.parametrize("kind", ["bad_gateway", "gateway_timeout", "html", "server_error", "unavailable"])
    def test_is_accepted_or_not_as_the_fault_says(
        self, dashscope: Any, wan_emulator: RunningEmulator, kind: str, *, accepted: bool
    ) -> None:
        wan_emulator.add_fault("create", kind, accepted=accepted)

        dashscope.create(TEXT)

        assert bills(wan_emulator) == accepted

    @pytest.mark.parametrize(
        ("kind", "status", "code"), [("server_error", 500, "InternalError"), ("unavailable", 503, "ModelUnavailable")]
    )
    def test_may_meet_an_error_of_the_gateway(
        self, apiyi: Any, dashscope: Any, wan_emulator: RunningEmulator, kind: str, status: int, code: str
    ) -> None:
        wan_emulator.add_fault("create", kind, times=2)

        at_apiyi, at_dashscope = apiyi.create(TEXT), dashscope.create(TEXT)

        assert (at_apiyi.status_code, at_dashscope.status_code) == (status, status)
        assert at_apiyi.json()["error"] == {
            "message": "",
            "type": "shell_api_error",
            "param": str(status),
            "code": "bad_response_status_code",
        }
        assert at_dashscope.json()["code"] == code
        assert wan_emulator.ledger() == []

    def test_may_be_answered_with_half_its_json(self, gateway: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "malformed_json")

        answer = gateway.create(TEXT)

        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.text.startswith('{"output":{"task_id":')
        with pytest.raises(json.JSONDecodeError):
            answer.json()
        assert bills(wan_emulator) == 1

    def test_may_be_answered_late(self, gateway: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "delay", delay_s=0.2)

        began = time.monotonic()
        answer = gateway.create(TEXT)

        assert time.monotonic() - began >= 0.2
        assert answer.json()["output"]["task_id"] == wan_emulator.ledger()[0]["task_id"]

    def test_is_billed_although_its_client_timed_out(self, gateway: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "delay")

        with pytest.raises(httpx.ReadTimeout):
            gateway.http.post(gateway.create_path, json=TEXT, headers=HEADERS, timeout=0.2)

        assert wan_emulator.faults()[0]["delay_s"] == 70
        assert bills(wan_emulator) == 1
        until(is_holding(wan_emulator, 0))

    def test_may_be_throttled_in_the_words_of_its_gateway(
        self, apiyi: Any, dashscope: Any, wan_emulator: RunningEmulator
    ) -> None:
        wan_emulator.add_fault("create", "throttled", times=2)

        at_apiyi, at_dashscope = apiyi.create(TEXT), dashscope.create(TEXT)

        assert (at_apiyi.status_code, at_dashscope.status_code) == (429, 429)
        assert at_apiyi.json()["error"]["type"] == "shell_api_error"
        assert at_dashscope.json()["code"] == "Throttling.RateQuota"
        assert "retry-after" not in at_apiyi.headers
        assert wan_emulator.ledger() == []

    @pytest.mark.parametrize("when", [7, "Wed, 21 Oct 2026 07:28:00 GMT"])
    def test_may_get_a_retry_after_header(self, gateway: Any, wan_emulator: RunningEmulator, when: int | str) -> None:
        wan_emulator.add_fault("create", "throttled", retry_after=when)

        assert gateway.create(TEXT).headers["retry-after"] == str(when)

    @pytest.mark.parametrize(
        ("name", "asked", "answered", "code"),
        [
            ("apiyi", 429, 429, "insufficient_user_quota"),
            ("apiyi", 403, 403, "insufficient_user_quota"),
            ("apiyi", 400, 403, "insufficient_user_quota"),
            ("dashscope", 429, 429, "PostpaidBillOverdue"),
            ("dashscope", 403, 400, "Arrearage"),
            ("dashscope", 400, 400, "Arrearage"),
        ],
    )
    def test_may_find_no_balance(
        self,
        request: pytest.FixtureRequest,
        wan_emulator: RunningEmulator,
        name: str,
        asked: int,
        answered: int,
        code: str,
    ) -> None:
        wan_emulator.add_fault("create", "insufficient_balance", status=asked)

        answer = request.getfixturevalue(name).create(TEXT)

        body = answer.json()
        assert (answer.status_code, body.get("error", body)["code"]) == (answered, code)
        assert wan_emulator.ledger() == []

    def test_may_meet_a_key_that_no_longer_works(self, gateway: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "unauthorized")

        assert gateway.create(TEXT).status_code == 401
        assert wan_emulator.ledger() == []


class TestAHeldCreate:
    def test_is_accepted_and_answered_on_release(self, gateway: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "hold")

        with in_thread(lambda: gateway.create(TEXT)) as answer:
            until(is_holding(wan_emulator))
            bought = wan_emulator.ledger()
            told = wan_emulator.requests()
            released = wan_emulator.release_faults()

            assert answer().json()["output"]["task_id"] == bought[0]["task_id"]
        assert [entry["status"] for entry in told] == [None]
        assert [entry["status"] for entry in wan_emulator.requests()] == [200]
        assert released == 1
        until(is_holding(wan_emulator, 0))

    def test_is_held_and_released_over_http_too(
        self, gateway: Any, web: httpx.Client, wan_emulator: RunningEmulator
    ) -> None:
        wan_emulator.add_fault("create", "hold")

        with in_thread(lambda: gateway.create(TEXT)) as answer:
            faults = f"{wan_emulator.base_url}/_emulator/faults"
            until(lambda: bool(web.get(faults).json()[0]["holding"]))

            assert web.post(f"{faults}/release").json() == {"released": 1}
            assert answer().status_code == 200

    @pytest.mark.parametrize(("accepted", "billed"), [(True, 1), (False, 0)])
    def test_is_billed_if_accepted_although_its_client_disconnected(
        self, wan_emulator: RunningEmulator, *, accepted: bool, billed: int
    ) -> None:
        wan_emulator.add_fault("create", "hold", accepted=accepted)

        with raw_create(wan_emulator):
            until(is_holding(wan_emulator))
        until(is_holding(wan_emulator, 0))

        assert bills(wan_emulator) == billed
        assert wan_emulator.release_faults() == 0

    def test_may_be_accepted_only_on_release(self, gateway: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "hold", accepted=False)

        with in_thread(lambda: gateway.create(TEXT)) as answer:
            until(is_holding(wan_emulator))
            before = wan_emulator.ledger()
            wan_emulator.release_faults()

            assert answer().status_code == 200
        assert before == []
        assert bills(wan_emulator) == 1

    @pytest.mark.parametrize("end", ["clear_faults", "reset"])
    def test_is_released_when_its_fault_is_removed(self, gateway: Any, wan_emulator: RunningEmulator, end: str) -> None:
        wan_emulator.add_fault("create", "hold")

        with in_thread(lambda: gateway.create(TEXT)) as answer:
            until(is_holding(wan_emulator))
            getattr(wan_emulator, end)()

            assert answer().status_code == 200


class TestAPoll:
    @pytest.fixture
    def task_id(self, gateway: Any) -> str:
        return str(gateway.created(TEXT))

    @pytest.fixture
    def poll(self, gateway: Any, task_id: str) -> Callable[..., httpx.Response]:
        return lambda **options: gateway.http.get(f"{gateway.task_path}{task_id}", **options)

    def test_may_fail_a_few_times(self, poll: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("poll", "server_error", times=3)

        assert [poll().status_code for _ in range(4)] == [500, 500, 500, 200]

    @pytest.mark.parametrize(
        ("kind", "status"),
        [
            ("unauthorized", 401),
            ("throttled", 429),
            ("bad_gateway", 502),
            ("unavailable", 503),
            ("gateway_timeout", 504),
            ("html", 200),
        ],
    )
    def test_may_be_answered_with_a_status(
        self, poll: Any, wan_emulator: RunningEmulator, kind: str, status: int
    ) -> None:
        wan_emulator.add_fault("poll", kind)

        answer = poll()

        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html") == (
            kind in {"bad_gateway", "gateway_timeout", "html"}
        )

    def test_may_be_answered_too_late(self, poll: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("poll", "delay", delay_s=60)

        with pytest.raises(httpx.ReadTimeout):
            poll(timeout=0.1)
        assert poll().status_code == 200

    def test_may_be_held(self, poll: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("poll", "hold")

        with in_thread(poll) as answer:
            until(is_holding(wan_emulator))
            wan_emulator.release_faults()

            assert answer().status_code == 200

    def test_may_be_answered_with_half_its_json(self, poll: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("poll", "malformed_json")

        with pytest.raises(json.JSONDecodeError):
            poll().json()

    def test_may_be_dropped(self, poll: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("poll", "drop_connection")

        with pytest.raises(httpx.RemoteProtocolError):
            poll()

    @pytest.mark.parametrize("word", [None, "ARCHIVED"])
    def test_may_return_an_unknown_state(
        self, poll: Any, task_id: str, wan_emulator: RunningEmulator, word: str | None
    ) -> None:
        wan_emulator.add_fault("poll", "unknown_status", **({"word": word} if word else {}))

        body = poll().json()

        state = body.get("output", body)
        assert state["task_id"] == task_id
        assert (state.get("task_status") or state.get("status")) == (word or "SUSPENDED")


class TestATask:
    def test_may_fail_moderation(self, apiyi: Any, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "task_failed", times=2)

        flat, nested = apiyi.ended(apiyi.created(TEXT)), dashscope.ended(dashscope.created(TEXT))["output"]

        assert (flat["status"], flat["fail_reason"].partition(" ")[0]) == ("failed", "[DataInspectionFailed]")
        assert (nested["task_status"], nested["code"]) == ("FAILED", "DataInspectionFailed")
        assert [row["billed"] for row in wan_emulator.ledger()] == [False, False]

    def test_may_fail_with_any_code(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "task_failed", code="InternalError.Timeout", message="three hours")

        output = dashscope.ended(dashscope.created(TEXT))["output"]

        assert (output["code"], output["message"]) == ("InternalError.Timeout", "three hours")

    def test_may_be_canceled(self, apiyi: Any, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "task_canceled", times=2)

        flat, nested = apiyi.ended(apiyi.created(TEXT)), dashscope.ended(dashscope.created(TEXT))["output"]

        assert (flat["status"], nested["task_status"]) == ("failed", "CANCELED")
        assert bills(wan_emulator) == 0

    def test_may_become_unknown_and_stays_billed(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "task_unknown", after_s=100)
        task_id = dashscope.created(TEXT)
        dashscope.ended(task_id)

        wan_emulator.advance_clock(100)

        assert dashscope.poll(task_id)["output"] == {"task_id": task_id, "task_status": "UNKNOWN"}
        assert bills(wan_emulator) == 1

    def test_may_be_unknown_from_the_start(self, apiyi: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "task_unknown")

        answer = apiyi.http.get(f"{apiyi.task_path}{apiyi.created(TEXT)}")

        assert (answer.status_code, answer.json()["code"]) == (400, "task_not_exist")

    def test_may_fail_after_its_answer_was_lost(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "drop_connection")
        wan_emulator.add_fault("create", "task_failed")

        with pytest.raises(httpx.RemoteProtocolError):
            dashscope.create(TEXT)

        assert [row["status"] for row in wan_emulator.ledger()] == ["FAILED"]

    def test_fault_waits_for_an_accepted_create(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "task_canceled")

        dashscope.create(b"no json")
        dashscope.created(TEXT)

        assert [row["status"] for row in wan_emulator.ledger()] == ["CANCELED"]

    class TestPending:
        @pytest.fixture
        def wan_emulator_settings(self) -> Any:
            return replace(AT_ONCE, pending_s=100, running_s=100)

        def test_is_canceled_when_it_would_start(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
            wan_emulator.add_fault("create", "task_canceled")
            task_id = dashscope.created(TEXT)
            early = dashscope.poll(task_id)["output"]["task_status"]

            wan_emulator.advance_clock(100)

            assert (early, dashscope.poll(task_id)["output"]["task_status"]) == ("PENDING", "CANCELED")


class TestADownload:
    @pytest.fixture
    def url(self, apiyi: Any) -> str:
        return str(apiyi.ended(apiyi.created(TEXT))["result_url"])

    @pytest.fixture
    def whole(self, web: httpx.Client, url: str) -> bytes:
        return web.get(url).content

    @pytest.mark.parametrize(
        ("kind", "status", "code"),
        [
            ("expired", 403, "AccessDenied"),
            ("server_error", 500, "InternalError"),
            ("unavailable", 503, "ServiceUnavailable"),
        ],
    )
    def test_may_be_refused_by_the_store(
        self, web: httpx.Client, url: str, wan_emulator: RunningEmulator, kind: str, status: int, code: str
    ) -> None:
        wan_emulator.add_fault("download", kind)

        answer = web.get(url)

        error = ET.fromstring(answer.text)
        assert (answer.status_code, error.findtext("Code")) == (status, code)
        assert error.findtext("Message")
        assert web.get(url).status_code == 200

    @pytest.mark.parametrize(
        ("kind", "status", "content_type"),
        [("forbidden", 403, "text/plain"), ("bad_gateway", 502, "text/html"), ("html", 200, "text/html")],
    )
    def test_may_be_refused_by_a_proxy(
        self, web: httpx.Client, url: str, wan_emulator: RunningEmulator, kind: str, status: int, content_type: str
    ) -> None:
        wan_emulator.add_fault("download", kind)

        answer = web.get(url)

        assert answer.status_code == status
        assert answer.headers["content-type"].startswith(content_type)

    def test_may_be_empty(self, web: httpx.Client, url: str, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("download", "empty")

        answer = web.get(url)

        assert (answer.status_code, answer.content) == (200, b"")
        assert (answer.headers["content-type"], answer.headers["content-length"]) == ("video/mp4", "0")

    @pytest.mark.parametrize(("kind", "error"), [("truncated", httpx.RemoteProtocolError), ("reset", httpx.ReadError)])
    @pytest.mark.parametrize("at_bytes", [0, 1000, None, 10**9])
    def test_may_end_too_early(
        self,
        web: httpx.Client,
        url: str,
        whole: bytes,
        wan_emulator: RunningEmulator,
        kind: str,
        error: type[Exception],
        at_bytes: int | None,
    ) -> None:
        wan_emulator.add_fault("download", kind, at_bytes=at_bytes)
        received: list[bytes] = []

        with web.stream("GET", url) as answer:
            assert answer.headers["content-length"] == str(len(whole))
            with pytest.raises(error):
                received.extend(answer.iter_raw())

        expected = len(whole) // 2 if at_bytes is None else min(at_bytes, len(whole) - 1)
        assert b"".join(received) == whole[:expected]

    def test_may_have_a_content_length_that_is_too_long(
        self, web: httpx.Client, url: str, whole: bytes, wan_emulator: RunningEmulator
    ) -> None:
        wan_emulator.add_fault("download", "wrong_length")

        with web.stream("GET", url) as answer:
            assert answer.headers["content-length"] == str(len(whole) + 1000)
            with pytest.raises(httpx.RemoteProtocolError):
                answer.read()

    def test_may_have_a_content_length_that_is_too_short(
        self, web: httpx.Client, url: str, whole: bytes, wan_emulator: RunningEmulator
    ) -> None:
        wan_emulator.add_fault("download", "wrong_length", off_by=-700, times=2)
        place = urlsplit(url)

        answer = web.get(url)
        with raw(wan_emulator, f"GET {place.path}?{place.query}") as client:
            on_the_wire = drained(client)

        assert answer.headers["content-length"] == str(len(whole) - 700)
        assert answer.content == whole[:-700]
        assert on_the_wire.partition(b"\r\n\r\n")[2] == whole

    def test_may_be_corrupt_under_the_correct_checksums(
        self, web: httpx.Client, url: str, whole: bytes, wan_emulator: RunningEmulator
    ) -> None:
        true = web.get(url)
        wan_emulator.add_fault("download", "corrupt", times=2)

        answer, part = web.get(url), web.get(url, headers={"Range": "bytes=-10"})

        assert answer.content != whole
        assert len(answer.content) == len(whole)
        for header in ("etag", "content-md5", "x-oss-hash-crc64ecma"):
            assert answer.headers[header] == true.headers[header]
        assert part.content[1:] == whole[-9:]
        assert part.content[0] == whole[-10] ^ 0xFF

    def test_may_find_a_changed_file(
        self, web: httpx.Client, url: str, whole: bytes, wan_emulator: RunningEmulator
    ) -> None:
        etag = web.get(url).headers["etag"]
        wan_emulator.add_fault("download", "changed", times=2)

        answer = web.get(url, headers={"Range": "bytes=10-", "If-Range": etag})
        part = web.get(url, headers={"Range": "bytes=10-", "If-Range": answer.headers["etag"]})

        assert answer.status_code == 200
        assert answer.content == whole + b"\0\0\0\x08free"
        assert answer.headers["etag"] != etag
        assert answer.headers["x-oss-hash-crc64ecma"] == str(crc64.xz(answer.content))
        assert (part.status_code, part.content) == (206, answer.content[10:])

    def test_may_have_no_validators(
        self, web: httpx.Client, url: str, whole: bytes, wan_emulator: RunningEmulator
    ) -> None:
        wan_emulator.add_fault("download", "no_validators")

        answer = web.get(url, headers={"Range": "bytes=10-"})

        assert (answer.status_code, answer.content) == (200, whole)
        told = {"etag", "last-modified", "accept-ranges", "content-md5", "x-oss-hash-crc64ecma"}
        assert not told & set(answer.headers)

    @pytest.mark.parametrize("kind", ["changed", "no_validators"])
    def test_with_a_fault_needs_a_valid_signature_too(
        self, web: httpx.Client, url: str, wan_emulator: RunningEmulator, kind: str
    ) -> None:
        wan_emulator.add_fault("download", kind)

        assert web.get(url.replace("Signature=", "Signature=x")).status_code == 403

    def test_may_be_slow(self, web: httpx.Client, url: str, whole: bytes, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("download", "slow", bytes_per_s=len(whole) * 4)

        began = time.monotonic()
        answer = web.get(url)

        assert time.monotonic() - began >= 0.25
        assert answer.content == whole

    def test_that_is_slow_ends_when_its_client_disconnects(
        self, web: httpx.Client, url: str, wan_emulator: RunningEmulator
    ) -> None:
        wan_emulator.add_fault("download", "slow", bytes_per_s=20)

        with web.stream("GET", url, timeout=5) as answer:
            next(answer.iter_raw())
        until(is_holding(wan_emulator, 0))

    def test_that_is_slow_is_sent_at_once_on_release(
        self, web: httpx.Client, url: str, whole: bytes, wan_emulator: RunningEmulator
    ) -> None:
        wan_emulator.add_fault("download", "slow", bytes_per_s=1)

        with web.stream("GET", url) as answer:
            until(is_holding(wan_emulator))
            wan_emulator.release_faults()

            assert answer.read() == whole

    @pytest.mark.parametrize(("parameters", "sent"), [({"at_bytes": 1000}, 1000), ({}, 0)])
    def test_may_be_held_after_some_bytes(
        self,
        web: httpx.Client,
        url: str,
        whole: bytes,
        wan_emulator: RunningEmulator,
        parameters: dict[str, int],
        sent: int,
    ) -> None:
        wan_emulator.add_fault("download", "hold", **parameters)

        with web.stream("GET", url) as answer:
            until(is_holding(wan_emulator))
            parts = answer.iter_raw()
            first = next(parts) if sent else b""
            assert first == whole[:sent]
            wan_emulator.release_faults()

            assert first + b"".join(parts) == whole

    def test_may_be_delayed_or_dropped(self, web: httpx.Client, url: str, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("download", "delay", delay_s=60)
        wan_emulator.add_fault("download", "drop_connection")

        with pytest.raises(httpx.ReadTimeout):
            web.get(url, timeout=0.1)
        with pytest.raises(httpx.RemoteProtocolError):
            web.get(url)

    def test_of_a_range_may_be_truncated_too(
        self, web: httpx.Client, url: str, whole: bytes, wan_emulator: RunningEmulator
    ) -> None:
        wan_emulator.add_fault("download", "truncated", at_bytes=10)

        with web.stream("GET", url, headers={"Range": "bytes=500-"}) as answer:
            assert answer.status_code == 206
            with pytest.raises(httpx.RemoteProtocolError):
                answer.read()
        assert web.get(url, headers={"Range": "bytes=500-"}).content == whole[500:]


class TestListAndCancel:
    def test_a_list_may_fail_or_be_dropped(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("list", "server_error")
        wan_emulator.add_fault("list", "drop_connection")

        assert dashscope.http.get("/api/v1/tasks/").json()["code"] == "InternalError"
        with pytest.raises(httpx.RemoteProtocolError):
            dashscope.http.get("/api/v1/tasks/")
        assert dashscope.http.get("/api/v1/tasks/").status_code == 200

    class TestCancel:
        @pytest.fixture
        def wan_emulator_settings(self) -> Any:
            return replace(AT_ONCE, pending_s=100, running_s=100)

        def test_may_fail(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
            task_id = dashscope.created(TEXT)
            wan_emulator.add_fault("cancel", "server_error")

            assert dashscope.http.post(f"/api/v1/tasks/{task_id}/cancel").status_code == 500
            assert bills(wan_emulator) == 1

        @pytest.mark.parametrize(("accepted", "billed"), [(True, 0), (False, 1)])
        def test_may_be_accepted_or_not_before_the_drop(
            self, dashscope: Any, wan_emulator: RunningEmulator, *, accepted: bool, billed: int
        ) -> None:
            task_id = dashscope.created(TEXT)
            wan_emulator.add_fault("cancel", "drop_connection", accepted=accepted)

            with pytest.raises(httpx.RemoteProtocolError):
                dashscope.http.post(f"/api/v1/tasks/{task_id}/cancel")

            assert bills(wan_emulator) == billed


class TestOrder:
    def polls(self, gateway: Any, count: int) -> list[int]:
        return [gateway.http.get(f"{gateway.task_path}none").status_code for _ in range(count)]

    def test_after_is_how_many_pass(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("poll", "server_error", after=2, times=2)

        assert self.polls(dashscope, 5) == [200, 200, 500, 500, 200]

    def test_null_times_strikes_all_that_follow(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("poll", "server_error", times=None)

        assert self.polls(dashscope, 5) == [500] * 5
        wan_emulator.clear_faults()
        assert self.polls(dashscope, 1) == [200]

    def test_the_oldest_fault_goes_first(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("poll", "server_error", times=2)
        wan_emulator.add_fault("poll", "unavailable")

        assert self.polls(dashscope, 4) == [500, 500, 503, 200]

    def test_after_counts_what_other_faults_struck(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("poll", "server_error")
        wan_emulator.add_fault("poll", "unavailable", after=1)
        wan_emulator.add_fault("poll", "unauthorized", after=3)

        assert self.polls(dashscope, 5) == [500, 503, 200, 401, 200]

    def test_a_fault_leaves_other_requests_alone(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("list", "server_error", times=None)

        assert self.polls(dashscope, 2) == [200, 200]

    def test_reset_forgets_them(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("poll", "server_error")

        wan_emulator.reset()

        assert wan_emulator.faults() == []
        assert self.polls(dashscope, 1) == [200]


class TestTheEndpoints:
    def test_faults_are_added_shown_and_cleared(self, http: httpx.Client, wan_emulator: RunningEmulator) -> None:
        one = {"on": "create", "kind": "throttled", "retry_after": 3}
        several = [
            {"on": "poll", "kind": "server_error", "times": None},
            {"on": "download", "kind": "hold", "after": 2},
        ]

        added = http.post("/_emulator/faults", json=one).json()
        http.post("/_emulator/faults", json=several)
        http.get("/api/v1/tasks/none")
        shown = http.get("/_emulator/faults").json()
        http.delete("/_emulator/faults")

        counts = {"fired": 0, "left": 1, "holding": 0}
        assert added == [{"on": "create", "kind": "throttled", "times": 1, "after": 0, "retry_after": 3, **counts}]
        assert shown == [
            added[0],
            {
                "on": "poll",
                "kind": "server_error",
                "times": None,
                "after": 0,
                **counts,
                "fired": 1,
                "left": None,
            },
            {"on": "download", "kind": "hold", "times": 1, "after": 2, "at_bytes": None, **counts},
        ]
        assert http.get("/_emulator/faults").json() == []

    def test_a_spent_fault_still_shows_that_it_struck(self, http: httpx.Client, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("poll", "server_error")

        http.get("/api/v1/tasks/none")

        (row,) = wan_emulator.faults()
        assert (row["fired"], row["left"]) == (1, 0)

    def test_a_row_says_whether_a_create_is_accepted(self, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("create", "bad_gateway")
        wan_emulator.add_fault("create", "unavailable")

        assert [row["accepted"] for row in wan_emulator.faults()] == [True, False]

    @pytest.mark.parametrize(
        ("fault", "named"),
        [
            ("no object", "no object"),
            ({"kind": "html"}, "'on' create poll cancel list download None"),
            ({"on": "create", "kind": "gremlin"}, "'kind' create drop_connection delay 'gremlin'"),
            ({"on": "poll", "kind": "task_failed"}, "'kind' poll drop_connection delay 'task_failed'"),
            ({"on": "poll", "kind": "hold", "accepted": True}, "hold poll times after 'accepted'"),
            ({"on": "create", "kind": "hold", "at_bytes": 1}, "hold create times after accepted 'at_bytes'"),
            ({"on": "create", "kind": "html", "tmies": 1}, "html create times after accepted 'tmies'"),
            ({"on": "create", "kind": "html", "times": 0}, "times null 0"),
            ({"on": "create", "kind": "html", "after": -1}, "after -1"),
            ({"on": "create", "kind": "html", "after": True}, "after True"),
            ({"on": "create", "kind": "delay", "delay_s": "1"}, "delay_s seconds '1'"),
            ({"on": "create", "kind": "delay", "delay_s": math.nan}, "NaN JSON"),
            ({"on": "create", "kind": "throttled", "retry_after": "a\nb"}, r"retry_after seconds date 'a\nb'"),
            ({"on": "create", "kind": "insufficient_balance", "status": 402}, "status 429 403 400 402"),
            ({"on": "download", "kind": "wrong_length", "off_by": 0}, "off_by 0"),
            ([{"on": "poll", "kind": "html"}, {"on": "poll"}], "'kind' poll None"),
        ],
    )
    def test_an_invalid_fault_is_refused(
        self, http: httpx.Client, wan_emulator: RunningEmulator, fault: object, named: str
    ) -> None:
        answer = http.post("/_emulator/faults", content=json.dumps(fault))

        message = answer.json()["error"]
        assert answer.status_code == 400
        assert not [word for word in named.split() if word not in message]
        assert wan_emulator.faults() == []

    def test_a_fault_that_is_not_json_is_refused(self, http: httpx.Client, wan_emulator: RunningEmulator) -> None:
        assert http.post("/_emulator/faults", content="no json").status_code == 400
        assert wan_emulator.faults() == []

    def test_a_fault_made_in_python_is_checked_too(self) -> None:
        with pytest.raises(ValueError, match="'word'"):
            Fault(CallKind.POLL, FaultKind.HTML, word="X")
        with pytest.raises(ValueError, match=r"delay_s.*seconds.*nan"):
            Fault(CallKind.POLL, FaultKind.DELAY, delay_s=math.nan)
        with pytest.raises(ValueError, match="'slow'"):
            Fault(CallKind.LIST, FaultKind.SLOW)

    @pytest.mark.parametrize("kind", FaultKind)
    def test_every_kind_strikes_some_request_and_survives_json(self, kind: FaultKind) -> None:
        struck = 0
        for on in CallKind:
            try:
                fault = Fault(on, kind)
            except ValueError:
                continue
            struck += 1
            assert Fault.from_json(fault.to_json()).to_json() == fault.to_json()

        assert struck


class TestTheEnd:
    @pytest.mark.parametrize(
        ("on", "kind", "parameters"),
        [
            ("create", "hold", {}),
            ("create", "delay", {"delay_s": 60}),
            ("download", "hold", {"at_bytes": 10}),
            ("download", "slow", {"bytes_per_s": 10}),
        ],
    )
    def test_an_emulator_stops_without_waiting_for_faulty_answers(
        self, caplog: pytest.LogCaptureFixture, on: str, kind: str, parameters: dict[str, Any]
    ) -> None:
        before = set(threading.enumerate())
        with RunningEmulator(AT_ONCE) as emulator:
            with httpx.Client(base_url=emulator.base_url, headers=HEADERS, verify=False) as client:
                task_id = client.post(CREATE, json=TEXT).json()["output"]["task_id"]
                url = urlsplit(client.get(f"/api/v1/tasks/{task_id}").json()["output"]["video_url"])
            emulator.add_fault(on, kind, **parameters)
            connection = raw_create(emulator) if on == "create" else raw(emulator, f"GET {url.path}?{url.query}")
            client_side = connection.__enter__()
            until(is_holding(emulator))
            began = time.monotonic()
        took = time.monotonic() - began

        assert took < 1.5
        assert "timeout graceful shutdown exceeded" not in caplog.text
        assert "Exception" not in caplog.text
        assert not [one for one in set(threading.enumerate()) - before if one.name.startswith("wan-")]
        with client_side:
            client_side.settimeout(1)
            drained(client_side)

    def test_faults_write_nothing_into_the_servers_log(
        self, dashscope: Any, wan_emulator: RunningEmulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        for parameters in ({}, {"reset": True}, {"accepted": False}):
            wan_emulator.add_fault("create", "drop_connection", **parameters)
            with pytest.raises(httpx.TransportError):
                dashscope.create(TEXT)

        assert [record for record in caplog.records if record.name.startswith(("uvicorn", "asyncio"))] == []

    def test_a_late_answer_keeps_its_connection_open(self, dashscope: Any, wan_emulator: RunningEmulator) -> None:
        wan_emulator.add_fault("poll", "delay", delay_s=0.05, times=3)
        network = [dashscope.http.get(f"{dashscope.task_path}none").extensions["network_stream"] for _ in range(4)]

        ports = {stream.get_extra_info("client_addr") for stream in network}

        assert len(ports) == 1


class TestTheCommandLine:
    def test_faults_from_the_start_and_no_wait_at_the_end(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        command = [sys.executable, "-m", "airflow_wan.emulator", "--port", str(port)]
        command += ["--fault", '{"on": "list", "kind": "unavailable"}', "--fault", '{"on": "list", "kind": "hold"}']
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                until(lambda: is_listening(port))
                with (
                    httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=HEADERS, verify=False) as client,
                    ThreadPoolExecutor(1) as pool,
                ):
                    first = client.get("/api/v1/tasks/")
                    held = pool.submit(client.get, "/api/v1/tasks/", timeout=20)
                    until(lambda: client.get("/_emulator/faults").json()[-1]["holding"] == 1)
                    process.send_signal(signal.SIGINT)
                    output, _ = process.communicate(timeout=10)
                    assert isinstance(held.exception(timeout=10), httpx.TransportError)
            finally:
                process.kill()

        assert first.status_code == 503
        assert "Traceback" not in output

    def test_an_invalid_fault_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["--fault", '{"on": "create", "kind": "gremlin"}'])

        assert "'gremlin'" in capsys.readouterr().err


def test_faults_work_with_uvicorns_other_parser_too() -> None:
    program = f"""
import sys
sys.modules["httptools"] = None
import httpx
from airflow_wan.emulator.testing import AT_ONCE, RunningEmulator
from airflow_wan.emulator.connections import HttpProtocol
assert HttpProtocol.__mro__[1].__name__ == "H11Protocol"
with RunningEmulator(AT_ONCE) as emulator:
    client = httpx.Client(base_url=emulator.base_url, headers={HEADERS!r}, verify=False)
    for reset, error in ((False, httpx.RemoteProtocolError), (True, httpx.ReadError)):
        emulator.add_fault("create", "drop_connection", reset=reset)
        try:
            client.post({CREATE!r}, json={TEXT!r})
        except error as seen:
            print(type(seen).__name__)
    task_id = client.post({CREATE!r}, json={TEXT!r}).json()["output"]["task_id"]
    url = client.get(f"/api/v1/tasks/{{task_id}}").json()["output"]["video_url"]
    for kind in ("truncated", "reset", "wrong_length"):
        emulator.add_fault("download", kind)
        try:
            httpx.get(url, verify=False)
        except httpx.TransportError as seen:
            print(kind, type(seen).__name__)
    emulator.add_fault("download", "wrong_length", off_by=-7)
    httpx.get(url, verify=False)
    emulator.add_fault("download", "slow", bytes_per_s=10**7)
    httpx.get(url, verify=False)
    print(len(emulator.ledger()))
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stdout.split("\n")[:-1] == [
        "RemoteProtocolError",
        "ReadError",
        "truncated RemoteProtocolError",
        "reset ReadError",
        "wrong_length RemoteProtocolError",
        "3",
    ], done.stderr
    assert done.stderr == ""


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
