"""What a task leaves for the pages: what it ordered, what it waits for, and how it ended."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowSkipException, AirflowTaskTimeout

from airflow_wan.exceptions import (
    BalanceExhausted,
    CostLimitExceeded,
    InvalidVideoRequest,
    SubmitAmbiguous,
    VideoDownloadFailed,
    VideoRejected,
    VideoTaskFailed,
    VideoWaitTimeout,
    WanError,
)
from airflow_wan.operators.wan import WanSubmitVideoOperator
from airflow_wan.purchases.record import Order
from airflow_wan.sensors.wan import WanVideoSensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from task_runner import TaskRunner


def status(runner: TaskRunner) -> dict[str, Any]:
    """Return what the last try has left."""
    left: dict[str, Any] = runner.instance.xcoms["wan_status"]
    return left


def test_a_finished_task_tells_what_was_ordered_and_when(
    film: Callable[..., Any], gateway: Any, runner: TaskRunner
) -> None:
    runner.run(film())

    left = status(runner)
    assert (left["state"], left["operator"], left["model"]) == ("done", "WanImageToVideoOperator", "wan2.7-i2v")
    assert left["prompt"] == left["request"]["input"]["prompt"] == "The clouds drift."
    assert left["sources"][0]["role"] == "first_frame"
    assert left["gateway"] == gateway.name
    assert left["wan_task_id"] == runner.instance.xcoms["wan_video"]["wan_task_id"]
    assert {"submitted", "downloaded", "published"} <= left["times"].keys()
    assert left["estimated_usd"] > 0
    assert left["reused"] is False


def test_a_task_that_waits_tells_what_it_waits_for(
    film: Callable[..., Any], gateway: Any, runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fire(_: Any) -> Any:
        seen.append(dict(status(runner)))
        raise TimeoutError

    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(runner, "_fire", fire)
    gateway.emulator.add_fault("poll", "server_error", times=None)
    with pytest.raises(TimeoutError):
        runner.run(film())

    (left,) = seen
    assert left["state"] == "waiting"
    assert left["wan_task_id"] == gateway.emulator.ledger()[0]["task_id"]
    assert left["times"]["submitted"] < left["wait_until"]
    assert left["resolution"] == "720P"
    assert left["seconds"] == 2


def test_a_submit_says_that_another_task_brings_the_video_home_and_a_sensor_knows_the_order(
    connect_to: Callable[[str], Any], runner: TaskRunner, tmp_path: Path
) -> None:
    connect_to("dashscope")
    submit = WanSubmitVideoOperator(task_id="submit", model="wan2.7-t2v", prompt="Rain.", parameters={"duration": 2})
    wan_task_id = runner.run(submit)
    assert status(runner)["state"] == "submitted"

    sensor = WanVideoSensor(task_id="sense", wan_task_id=wan_task_id, output_path=str(tmp_path / "rain.mp4"))
    runner.run(sensor)
    left = status(runner)
    assert (left["state"], left["operator"], left["wan_task_id"]) == ("done", "WanVideoSensor", wan_task_id)


def test_a_video_that_was_there_already_is_told_as_reused(
    film: Callable[..., Any], gateway: Any, runner: TaskRunner
) -> None:
    runner.run(film())
    runner.run(film())

    assert status(runner)["reused"] is True
    assert status(runner)["state"] == "done"


ENDS: dict[str, tuple[type[WanError], bool | None, tuple[str, ...], dict[str, Any]]] = {
    "the request breaks a rule": (InvalidVideoRequest, False, (), {"duration": 99}),
    "the video would cost too much": (CostLimitExceeded, False, (), {"max_cost": 0.001}),
    "the account has no money": (BalanceExhausted, False, ("create", "insufficient_balance"), {}),
    "the create request has no answer": (SubmitAmbiguous, None, ("create", "drop_connection"), {}),
    "the Wan task fails": (VideoTaskFailed, False, ("create", "task_failed"), {}),
    "the file does not arrive": (VideoDownloadFailed, True, ("download", "forbidden"), {}),
    "the video has another length": (VideoRejected, True, (), {}),
}


def _order(ordered_s: float, **fields: Any) -> Order:
    return Order(**fields | {"seconds": ordered_s})


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("deferrable", [True, False])
def test_each_error_that_ends_a_task_is_told(
    end: str,
    deferrable: bool,
    film: Callable[..., Any],
    connect_to: Callable[[str], Any],
    runner: TaskRunner,
    no_pauses: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind, billed, fault, arguments = ENDS[end]
    if kind is VideoRejected:
        monkeypatch.setattr("airflow_wan.purchases.offer.Order", partial(_order, 7.0))
    emulator = connect_to("dashscope").emulator
    if fault:
        emulator.add_fault(*fault, times=None)
    with pytest.raises(kind) as raised:
        runner.run(film(deferrable=deferrable, **arguments))

    left, failure = status(runner), status(runner)["failure"]
    assert left["state"] == "failed"
    assert (left["model"], left["prompt"]) == ("wan2.7-i2v", "The clouds drift.")
    assert (failure["kind"], failure["billed"]) == (kind.__name__, billed)
    assert failure["message"] == raised.value.message
    assert (failure["code"], failure["request_id"]) == (raised.value.code, raised.value.request_id)
    assert failure["advice"] == raised.value.advice
    assert left["wan_task_id"] == raised.value.wan_task_id or raised.value.wan_task_id is None
    if kind is VideoRejected:
        assert failure["kept_at"].endswith("film.rejected.mp4")
    assert len(emulator.ledger()) <= 1


@pytest.mark.stays_queued
@pytest.mark.parametrize("mode", ["deferrable", "poke"])
@pytest.mark.parametrize("soft_fail", [True, False])
def test_a_sensor_that_gives_up_says_that_it_may_be_billed(
    mode: str, soft_fail: bool, connect_to: Callable[[str], Any], runner: TaskRunner, tmp_path: Path
) -> None:
    connect_to("dashscope")
    submit = WanSubmitVideoOperator(task_id="submit", model="wan2.7-t2v", prompt="Rain.", parameters={"duration": 2})
    wan_task_id = runner.run(submit)
    sensor = WanVideoSensor(
        task_id="sense",
        wan_task_id=wan_task_id,
        output_path=str(tmp_path / "rain.mp4"),
        deferrable=mode == "deferrable",
        timeout=0.05,
        queue_timeout=0.05,
        poke_interval=0.01,
        soft_fail=soft_fail,
    )
    with pytest.raises(AirflowSkipException if soft_fail else VideoWaitTimeout):
        runner.run(sensor)

    left = status(runner)
    assert (left["state"], left["wan_task_id"]) == ("failed", wan_task_id)
    assert left["failure"]["kind"] == "VideoWaitTimeout"
    assert left["failure"]["billed"] is None
    assert "clear it to wait again" in left["failure"]["advice"]


@pytest.mark.parametrize(
    "error", [ValueError("the key is sk-0123456789abcdef"), AirflowTaskTimeout("after 3 s"), AirflowException("no")]
)
def test_an_error_of_others_is_told_without_secrets(
    error: BaseException, film: Callable[..., Any], gateway: Any, runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("airflow_wan.videos.job.VideoJob.wait", fail)
    with pytest.raises(type(error)):
        runner.run(film())

    left = status(runner)
    assert left["failure"]["kind"] == type(error).__name__
    assert left["failure"]["billed"] is None
    assert "0123456789abcdef" not in str(left)
    assert left["wan_task_id"] == gateway.emulator.ledger()[0]["task_id"]


def test_an_event_that_is_not_understood_is_told(film: Callable[..., Any], gateway: Any, runner: TaskRunner) -> None:
    runner.run(film())
    with pytest.raises(AirflowException, match="does not understand"):
        film().execute_complete({"ti": runner.instance, "task": film()}, {"status": "from the future"})

    assert status(runner)["failure"]["kind"] == "AirflowException"


def test_facts_that_cannot_be_left_fail_no_task(
    film: Callable[..., Any], gateway: Any, runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(instance: Any, key: str, value: Any) -> None:
        if key == "wan_status":
            raise ConnectionError("no API server")
        push(instance, key=key, value=value)

    kind = type(runner.instance)
    push = kind.xcom_push
    monkeypatch.setattr(kind, "xcom_push", refuse)
    path = runner.run(film())

    assert path.endswith("film.mp4")
    assert "wan_status" not in runner.instance.xcoms
    assert len(gateway.emulator.ledger()) == 1
