from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.emulator.testing import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from airflow_wan.emulator.testing import RunningEmulator


def test_the_ledger_has_a_row_for_each_accepted_create(
    apiyi: Any, i2v: Any, wan_emulator: RunningEmulator, http: httpx.Client
) -> None:
    created = apiyi.create(i2v).json()
    apiyi.create({**i2v, "model": "wan9.9-i2v"})
    apiyi.ended(created["output"]["task_id"])

    rows = http.get("/_emulator/ledger").json()

    assert rows == wan_emulator.ledger()
    assert len(rows) == 1
    times = [datetime.fromisoformat(rows[0].pop(name)) for name in ("time", "scheduled_time", "end_time")]
    assert times == sorted(times)
    assert abs(times[0] - datetime.now(UTC)) < timedelta(minutes=1)
    assert rows[0] == {
        "gateway": "apiyi",
        "model": "wan2.7-i2v",
        "task_id": created["output"]["task_id"],
        "request_id": created["request_id"],
        "resolution": "720P",
        "seconds": 2,
        "key_last4": "6789",
        "status": "SUCCEEDED",
        "billed": True,
    }


def test_a_failed_task_is_not_billed(dashscope: Any, wan_emulator: RunningEmulator) -> None:
    dashscope.ended(dashscope.created({"model": "wan2.7-i2v", "input": {"prompt": "x"}}))

    (row,) = wan_emulator.ledger()

    assert (row["gateway"], row["status"], row["billed"]) == ("dashscope", "FAILED", False)


def test_an_expired_task_stays_billed(dashscope: Any, i2v: Any, wan_emulator: RunningEmulator) -> None:
    dashscope.ended(dashscope.created(i2v))
    wan_emulator.advance_clock(25 * 3600)

    (row,) = wan_emulator.ledger()

    assert (row["status"], row["billed"]) == ("SUCCEEDED", True)


class TestLatency:
    @pytest.fixture(autouse=True)
    def no_latency_afterwards(self, wan_emulator: RunningEmulator) -> Iterator[None]:
        yield
        wan_emulator.reset()

    def test_every_call_of_a_client_is_answered_later(
        self, dashscope: Any, i2v: Any, http: httpx.Client, wan_emulator: RunningEmulator
    ) -> None:
        assert http.post("/_emulator/latency", json={"latency_s": 0.3}).json() == {"latency_s": 0.3}

        for path in ("/v1/tasks/x", "/api/v1/tasks/x", "/api/v1/tasks/", "/api/v1/uploads", "/result/x.mp4"):
            began = time.monotonic()
            http.get(path)
            assert time.monotonic() - began >= 0.3

    def test_a_reset_ends_it(self, http: httpx.Client, wan_emulator: RunningEmulator) -> None:
        wan_emulator.set_latency(3600)
        wan_emulator.reset()

        assert http.get("/v1/tasks/x").status_code == 400

    @pytest.mark.parametrize("body", [{}, {"latency_s": -1}, {"latency_s": "soon"}, {"latency_s": None}, [1]])
    def test_what_is_no_latency_is_refused(self, body: Any, http: httpx.Client) -> None:
        assert http.post("/_emulator/latency", json=body).status_code == 400


class TestCanceled:
    @pytest.fixture
    def wan_emulator_settings(self) -> Any:
        return replace(AT_ONCE, pending_s=100, running_s=100)

    def test_a_canceled_task_is_not_billed(self, dashscope: Any, i2v: Any, wan_emulator: RunningEmulator) -> None:
        task_id = dashscope.created(i2v)
        in_flight = wan_emulator.ledger()[0]["billed"]
        dashscope.http.post(f"/api/v1/tasks/{task_id}/cancel")

        (row,) = wan_emulator.ledger()

        assert in_flight is True
        assert (row["status"], row["billed"]) == ("CANCELED", False)


def test_a_short_key_is_not_shown_at_all(dashscope: Any, i2v: Any, wan_emulator: RunningEmulator) -> None:
    dashscope.create(i2v, Authorization="Bearer sk-tiny")

    assert wan_emulator.ledger()[0]["key_last4"] == ""


def test_creates_are_recorded_as_they_were_received(
    apiyi: Any, i2v: Any, wan_emulator: RunningEmulator, http: httpx.Client
) -> None:
    apiyi.create(i2v, **{"Accept-Encoding": "identity"})
    apiyi.create(b"no json")

    first, second = http.get("/_emulator/requests").json()

    assert wan_emulator.requests() == [first, second]
    assert (first["method"], first["path"], first["status"]) == (
        "POST",
        "/wan/api/v1/services/aigc/video-generation/video-synthesis",
        200,
    )
    assert first["body"] == i2v
    assert first["bearer"] is True
    assert first["headers"]["content-type"] == "application/json"
    assert first["headers"]["x-dashscope-async"] == "enable"
    assert first["headers"]["accept-encoding"] == "identity"
    assert (second["body"], second["status"]) == ("no json", 400)


def test_no_key_is_recorded(apiyi: Any, i2v: Any, http: httpx.Client) -> None:
    apiyi.create(i2v)

    told = http.get("/_emulator/requests").text + http.get("/_emulator/ledger").text

    assert "sk-emulator-test" not in told


def test_the_clock_moves_over_http(http: httpx.Client) -> None:
    before = http.post("/_emulator/clock", json={"advance_s": 0}).json()["now"]
    after = http.post("/_emulator/clock", json={"advance_s": 3600}).json()["now"]

    assert 3600 <= after - before < 3610


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"advance_s": "soon"}'])
def test_a_clock_request_without_seconds_is_refused(http: httpx.Client, body: bytes) -> None:
    assert http.post("/_emulator/clock", content=body).status_code == 400


def test_reset_forgets_everything(apiyi: Any, i2v: Any, http: httpx.Client) -> None:
    task_id = apiyi.created(i2v)
    http.post("/_emulator/clock", json={"advance_s": 3600})

    http.post("/_emulator/reset")

    assert http.get("/_emulator/ledger").json() == []
    assert http.get("/_emulator/requests").json() == []
    assert http.get(f"/v1/tasks/{task_id}").json()["code"] == "task_not_exist"
    now = http.post("/_emulator/clock", json={"advance_s": 0}).json()["now"]
    assert abs(now - datetime.now(UTC).timestamp()) < 5


class TestKeys:
    @pytest.fixture
    def wan_emulator_settings(self) -> Any:
        return replace(AT_ONCE, rejected_keys=frozenset({"sk-revoked"}))

    def test_a_rejected_key_is_invalid_and_others_work(self, http: httpx.Client) -> None:
        answers = [
            http.get("/api/v1/tasks/", headers={"Authorization": f"Bearer {key}"}) for key in ("sk-revoked", "sk-good")
        ]

        assert [answer.status_code for answer in answers] == [401, 200]


class TestOneKey:
    @pytest.fixture
    def wan_emulator_settings(self) -> Any:
        return replace(AT_ONCE, api_key="sk-the-one")

    def test_only_that_key_is_accepted(self, http: httpx.Client) -> None:
        answers = [
            http.get("/api/v1/tasks/", headers={"Authorization": f"Bearer {key}"}) for key in ("sk-the-one", "sk-good")
        ]

        assert [answer.status_code for answer in answers] == [200, 401]


class TestMirror:
    @pytest.fixture
    def wan_emulator_settings(self, media: Any) -> Any:
        mirrors = (("https://your-cdn.com/", f"{media.base_url}/"),)
        return replace(AT_ONCE, media_mirrors=mirrors)

    def test_public_urls_are_fetched_from_the_mirror(self, gateway: Any, i2v: Any) -> None:
        i2v["input"]["media"][0]["url"] = "https://your-cdn.com/first.png"

        assert gateway.video(i2v)
