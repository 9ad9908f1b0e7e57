"""What Airflow and a reader of the log get of an error, and what a purchase changes about it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout, AirflowTaskTimeout

from airflow_wan import exceptions
from airflow_wan.api.client import WanClient, tls_context
from airflow_wan.exceptions import (
    AuthenticationFailed,
    BalanceExhausted,
    CostLimitExceeded,
    InvalidVideoRequest,
    RequestChanged,
    SubmitAmbiguous,
    VideoDownloadFailed,
    VideoTaskFailed,
    VideoTaskLost,
    WanConnectionError,
    WanError,
)
from airflow_wan.videos import delivery
from airflow_wan.videos.airflow_errors import as_airflow_error, errors_for_airflow, fail_for_good

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = [getattr(exceptions, name) for name in exceptions.__all__ if name not in ("error_from_dict", "error_to_dict")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("airflow_class", [AirflowFailException, AirflowSensorTimeout])
def test_an_error_for_airflow_is_still_ours_with_all_it_knows(
    kind: type[WanError], airflow_class: type[Exception]
) -> None:
    ours = InvalidVideoRequest(["why"]) if kind is InvalidVideoRequest else None
    if kind is exceptions.VideoRejected:
        ours = exceptions.VideoRejected(["why"])
    amounts: dict[str, Any] = {}
    if kind is exceptions.BudgetExceeded:
        amounts = {"scope": "month", "budget_usd": 5, "spent_usd": 4, "reserved_usd": 0.5, "wanted_usd": 1}
    error = ours or kind("why", **amounts, code="C", request_id="r-1", wan_task_id="w-1", http_status=418)

    both = as_airflow_error(error, airflow_class)  # type: ignore[arg-type]

    assert isinstance(both, kind)
    assert isinstance(both, airflow_class)
    assert type(both).__name__ == kind.__name__
    assert str(both) == str(error)
    for name in ("code", "request_id", "wan_task_id", "http_status", "billed", "advice", "retry_can_help", *amounts):
        assert getattr(both, name) == getattr(error, name)


def test_what_a_retry_may_mend_is_raised_as_it_is() -> None:
    error = WanConnectionError("why")

    assert fail_for_good(error) is error


def test_a_callback_can_read_what_failed(film: Callable[..., Any], gateway: Any, runner: Any) -> None:
    gateway.emulator.add_fault("create", "insufficient_balance")

    with pytest.raises(AirflowFailException) as raised:
        runner.run(film())

    error: Any = raised.value
    assert isinstance(error, BalanceExhausted)
    assert error.code
    assert error.billed is False
    assert error.__cause__ is None
    assert error.__suppress_context__


@pytest.mark.parametrize(
    ("error", "begins"),
    [
        (
            AuthenticationFailed("refused", code="InvalidApiKey"),
            "AuthenticationFailed, not billed: [InvalidApiKey] refused",
        ),
        (VideoTaskLost("gone"), "VideoTaskLost, perhaps billed: gone"),
        (VideoDownloadFailed("no file"), "VideoDownloadFailed, billed: no file"),
        (
            VideoTaskFailed("one\n\ttwo\x1b[31m\x07\r\nthree\x85"),
            "VideoTaskFailed, not billed: one two\ufffd[31m\ufffd three",
        ),
    ],
)
def test_one_line_tells_what_failed_and_whether_it_is_billed(
    error: WanError, begins: str, film: Callable[..., Any], runner: Any, caplog: pytest.LogCaptureFixture
) -> None:
    context: Any = {"ti": runner.instance, "task": film()}
    with caplog.at_level(logging.ERROR), pytest.raises(WanError), errors_for_airflow(context):
        raise error

    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info is None
    assert record.getMessage().startswith(begins)
    assert record.getMessage().isprintable()
    assert "billed" in record.getMessage()[:100]


def buy(film: Callable[..., Any], runner: Any, gateway: Any) -> str:
    """One try that buys and then fails."""
    gateway.emulator.add_fault("download", "forbidden", times=None)
    with pytest.raises(VideoDownloadFailed) as raised:
        runner.run(film())
    gateway.emulator.clear_faults()
    return str(raised.value.wan_task_id)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"duration": 99}, InvalidVideoRequest),
        ({"output_path": "s3:///no-bucket.mp4"}, WanError),
        ({"prompt": "Another."}, RequestChanged),
    ],
)
def test_a_later_try_that_fails_says_what_an_earlier_one_bought(
    change: dict[str, Any], kind: type[WanError], film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    wan_task_id = buy(film, runner, gateway)

    with pytest.raises(kind, match=wan_task_id) as raised:
        runner.run(film(**change))

    assert raised.value.wan_task_id == wan_task_id
    assert raised.value.billed is not False
    assert "WanVideoSensor" in str(raised.value)
    assert len(gateway.emulator.ledger()) == 1


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("change", ["request", "connection", "destination"])
def test_a_later_try_that_fails_says_that_a_create_request_got_no_answer(
    change: str, film: Callable[..., Any], gateway: Any, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.emulator.add_fault("create", "drop_connection")
    with pytest.raises(SubmitAmbiguous):
        runner.run(film())
    if change == "connection":
        monkeypatch.delenv("AIRFLOW_CONN_WAN_DEFAULT")
    changed = {"request": {"duration": 99}, "destination": {"output_path": "s3:///no-bucket.mp4"}}.get(change, {})

    with pytest.raises(WanError, match="a video may be in the making, and may be billed") as raised:
        runner.run(film(**changed))

    assert raised.value.billed is None
    assert len(gateway.emulator.ledger()) == 1


def times_out(*_: Any, **__: Any) -> None:
    raise AirflowTaskTimeout("Timeout")


def test_a_timeout_during_the_create_request_says_that_a_video_may_be_billed(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(WanClient, "create", times_out)
    with pytest.raises(AirflowTaskTimeout):
        runner.run(film())

    assert "a video may be in the making, and may be billed" in caplog.text


def test_a_timeout_during_the_download_says_that_the_video_is_paid_for(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(delivery, "download", times_out)
    gateway.emulator.add_fault("poll", "unknown_status", word="RUNNING", times=1)  # so that the task defers
    with pytest.raises(AirflowTaskTimeout):
        runner.run(film(deferrable=True))

    (bought,) = gateway.emulator.ledger()
    assert f"This task has submitted wan task {bought['task_id']}, which stays recorded" in caplog.text


def test_a_first_try_that_fails_says_nothing_of_a_purchase(film: Callable[..., Any], gateway: Any, runner: Any) -> None:
    with pytest.raises(CostLimitExceeded) as raised:
        runner.run(film(max_cost=0.001))

    assert raised.value.wan_task_id is None
    assert raised.value.billed is False


@pytest.mark.takes_time
@pytest.mark.parametrize("fault", ["a key", "a connection", "a destination", "a proxy"])
def test_what_fails_after_a_purchase_can_be_retried_and_says_that_the_video_is_paid_for(
    fault: str,
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    connect: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    fire = runner._fire
    task = film(output_path=str(tmp_path / "sub" / "film.mp4"))

    def break_it(trigger: Any) -> Any:
        event = fire(trigger)
        if fault == "a key":
            connect(gateway.emulator.base_url, gateway=gateway.name, password="no-key-of-this-gateway")
        elif fault == "a connection":
            monkeypatch.delenv("AIRFLOW_CONN_WAN_DEFAULT")
        elif fault == "a destination":
            (tmp_path / "sub").rmdir()
            (tmp_path / "sub").write_text("a file")
        else:
            monkeypatch.setattr("airflow_wan.api.gateways.Account.on_private_network", property(lambda _: False))
            monkeypatch.setenv("HTTPS_PROXY", "https://proxy.example")
        return event

    runner._fire = break_it

    with pytest.raises(VideoDownloadFailed, match="is paid for: a retry") as raised:
        runner.run(task)

    assert raised.value.retry_can_help
    assert not isinstance(raised.value, AirflowFailException)
    assert raised.value.wan_task_id == gateway.emulator.ledger()[0]["task_id"]
    assert raised.value.billed is True


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("proxy", "what"),
    [
        ("https://me:p%40ss@proxy.example", "a proxy of scheme 'https'"),
        ("socks5://proxy.example", "a proxy of scheme 'socks5'"),
        ("http://me:p%40ss@[::1", "what is no URL of a proxy"),
        ("http://me:p%40ss@proxy.example:99999", "what is no URL of a proxy"),
    ],
)
def test_a_proxy_that_the_download_cannot_use_is_found_before_buying(
    proxy: str,
    what: str,
    variable: str,
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("airflow_wan.api.gateways.Account.on_private_network", property(lambda _: False))
    monkeypatch.setenv(variable, proxy)

    with pytest.raises(WanConnectionError, match=f"names {what}") as raised:
        runner.run(film())

    assert "p%40ss" not in str(raised.value)
    assert gateway.emulator.requests() == []


@pytest.mark.parametrize(("path", "why"), [("/nowhere/ca.pem", "No such file"), ("/etc/passwd", "cannot be loaded")])
def test_certificates_that_cannot_be_loaded_are_told_before_buying(
    path: str, why: str, film: Callable[..., Any], gateway: Any, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", path)
    tls_context.cache_clear()

    with pytest.raises(WanConnectionError, match=why) as raised:
        runner.run(film())

    assert "SSL_CERT_FILE" in str(raised.value)
    assert gateway.emulator.requests() == []


def test_a_warning_of_the_connection_is_told_once_when_buying(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    connect: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    connect(gateway.emulator.base_url, gateway=gateway.name, read_timout=7)

    with caplog.at_level(logging.WARNING):
        runner.run(film(deferrable=True))

    assert caplog.text.count("did you mean 'read_timeout'?") == 1
