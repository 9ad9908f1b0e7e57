"""What the sensor does in each of its modes: it waits, brings the video home, and never submits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)
from plain_client import submit_plainly

from airflow_wan.exceptions import DestinationError, VideoWaitTimeout, WanConnectionError
from airflow_wan.hooks.wan import WanHook
from airflow_wan.sensors.wan import WanVideoSensor
from airflow_wan.videos.destination import Destination
from airflow_wan.videos.job import VideoJob

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_wan.emulator.testing import MediaServer


@pytest.fixture
def wan_task(gateway: Any, media: MediaServer) -> Callable[..., str]:
    """Submits a video with a plain HTTP client."""

    def submit(first_frame: str = "frame.png") -> str:
        return submit_plainly(gateway.emulator.base_url, gateway.name, media.url(first_frame))

    return submit


def sensor(wan_task_id: str, tmp_path: Path, **arguments: Any) -> WanVideoSensor:
    defaults = {"output_path": str(tmp_path / "film.mp4"), "poke_interval": 0.05}
    return WanVideoSensor(task_id="wait", wan_task_id=wan_task_id, **defaults | arguments)


@pytest.mark.takes_time
def test_a_triggerer_without_the_connection_hands_the_wait_back_to_a_worker(
    wan_task: Callable[..., str], runner: Any, tmp_path: Path, without_connection_in_the_triggerer: None
) -> None:
    path = runner.run(sensor(wan_task(), tmp_path, deferrable=True))

    assert runner.events[0]["error"]["kind"] == "WanConnectionError"
    assert path == str(tmp_path / "film.mp4")


@pytest.mark.parametrize(
    "mode",
    [pytest.param("deferrable", marks=pytest.mark.stays_queued), pytest.param("poke", marks=pytest.mark.takes_time)],
)
def test_the_video_of_a_running_task_lands_at_its_path(
    mode: str, wan_task: Callable[..., str], runner: Any, tmp_path: Path, gateway: Any
) -> None:
    wan_task_id = wan_task()
    runner.before_firing = lambda: gateway.emulator.advance_clock(7200)

    path = runner.run(sensor(wan_task_id, tmp_path, deferrable=mode == "deferrable"))

    assert path == str(tmp_path / "film.mp4")
    assert runner.instance.xcoms["wan_video"]["wan_task_id"] == wan_task_id
    assert len(runner.events) == (mode == "deferrable")


@pytest.mark.takes_time
def test_rescheduling_frees_the_worker_between_two_asks(
    wan_task: Callable[..., str], runner: Any, tmp_path: Path, gateway: Any
) -> None:
    runner.instance.get_first_reschedule_date = lambda _context: None
    waiting = sensor(wan_task(), tmp_path, deferrable=False, mode="reschedule")
    with pytest.raises(AirflowRescheduleException):
        runner.run(waiting)
    gateway.emulator.advance_clock(60)

    path = None
    for _ in range(200):  # the film may still be in the making
        try:
            path = runner.run(waiting)
            break
        except AirflowRescheduleException:
            continue

    assert path == str(tmp_path / "film.mp4")


@pytest.mark.stays_queued
def test_a_task_that_is_done_already_needs_no_triggerer(
    wan_task: Callable[..., str], runner: Any, tmp_path: Path, gateway: Any
) -> None:
    wan_task_id = wan_task()
    runner.before_firing = lambda: gateway.emulator.advance_clock(7200)
    runner.run(sensor(wan_task_id, tmp_path))
    runner.run(sensor(wan_task_id, tmp_path))

    assert len(runner.events) == 1


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_failed_task_fails_for_good_with_the_gateways_code(
    deferrable: bool, wan_task: Callable[..., str], runner: Any, tmp_path: Path
) -> None:
    with pytest.raises(AirflowFailException, match=r"\[Invalid"):
        runner.run(sensor(wan_task("missing.png"), tmp_path, deferrable=deferrable))


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_task_the_gateway_does_not_know_is_asked_for_until_the_timeout(
    deferrable: bool, gateway: Any, runner: Any, tmp_path: Path
) -> None:
    with pytest.raises(AirflowSensorTimeout):
        runner.run(sensor("00000000-0000-4000-8000-00000000dead", tmp_path, deferrable=deferrable, timeout=0.3))


@pytest.mark.stays_running
@pytest.mark.parametrize("deferrable", [True, False])
def test_a_timeout_is_a_sensors_timeout(
    deferrable: bool, wan_task: Callable[..., str], runner: Any, tmp_path: Path
) -> None:
    with pytest.raises(AirflowSensorTimeout):
        runner.run(sensor(wan_task(), tmp_path, deferrable=deferrable, timeout=0.01))


@pytest.mark.stays_running
def test_soft_fail_skips_on_a_timeout(wan_task: Callable[..., str], runner: Any, tmp_path: Path) -> None:
    with pytest.raises(AirflowSkipException):
        runner.run(sensor(wan_task(), tmp_path, deferrable=False, timeout=0.01, soft_fail=True))


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("switch", ["soft_fail", "never_fail"])
@pytest.mark.parametrize("end", ["failed", pytest.param("timed out", marks=pytest.mark.stays_running), "empty id"])
def test_soft_fail_and_never_fail_skip_in_every_mode(
    end: str, switch: str, deferrable: bool, wan_task: Callable[..., str], runner: Any, tmp_path: Path
) -> None:
    wan_task_id = {"failed": "missing.png", "timed out": "frame.png"}.get(end)
    options: dict[str, Any] = {switch: True, "deferrable": deferrable, "timeout": 0.01 if end == "timed out" else 60}

    with pytest.raises(AirflowSkipException):
        runner.run(sensor(wan_task(wan_task_id) if wan_task_id else "", tmp_path, **options))


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_first_ask_that_finds_a_failed_task_skips_as_soft_fail_says(
    deferrable: bool, wan_task: Callable[..., str], runner: Any, tmp_path: Path
) -> None:
    with pytest.raises(AirflowSkipException, match="soft_fail"):
        runner.run(sensor(wan_task("missing.png"), tmp_path, deferrable=deferrable, soft_fail=True))

    assert runner.events == []


def test_never_fail_skips_for_what_a_retry_might_mend(gateway: Any, runner: Any, tmp_path: Path) -> None:
    with pytest.raises(AirflowSkipException):
        runner.run(sensor("x", tmp_path, wan_conn_id="nowhere", deferrable=True, never_fail=True))
    with pytest.raises(WanConnectionError):
        runner.run(sensor("x", tmp_path, wan_conn_id="nowhere", deferrable=True, soft_fail=True))


@pytest.mark.stays_running
def test_a_timeout_is_of_both_classes_and_promises_no_retry(
    wan_task: Callable[..., str], runner: Any, tmp_path: Path
) -> None:
    wan_task_id = wan_task()

    with pytest.raises(AirflowSensorTimeout) as raised:
        runner.run(sensor(wan_task_id, tmp_path, deferrable=True, timeout=0.01))

    assert isinstance(raised.value, VideoWaitTimeout)
    assert (raised.value.wan_task_id, raised.value.billed) == (wan_task_id, None)
    assert "A retry" not in str(raised.value)
    assert "does not retry" in str(raised.value)


@pytest.mark.parametrize("nothing", [None, "", "None"])
def test_an_empty_task_id_is_named(nothing: Any, gateway: Any, runner: Any, tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match="wan_task_id is empty"):
        runner.run(sensor(nothing, tmp_path))


@pytest.mark.stays_queued
@pytest.mark.parametrize("impossible", ["two words", "half\ud83d", "x" * 70_000, ".."])
@pytest.mark.parametrize("deferrable", [True, False])
def test_an_id_that_no_task_can_have_is_not_waited_for(
    deferrable: bool, impossible: str, gateway: Any, runner: Any, tmp_path: Path
) -> None:
    with pytest.raises(AirflowFailException, match="No Wan task can have the id") as raised:
        runner.run(sensor(impossible, tmp_path, deferrable=deferrable, timeout=1))

    assert gateway.emulator.requests() == []
    assert len(str(raised.value)) < 1_000
    assert str(raised.value).encode().decode().isprintable()


@pytest.mark.parametrize("deferrable", [True, False])
def test_what_a_template_of_several_lines_puts_around_the_id_does_not_count(
    deferrable: bool, wan_task: Callable[..., str], runner: Any, tmp_path: Path
) -> None:
    path = runner.run(sensor(f"\n  {wan_task()}\n", tmp_path, deferrable=deferrable, timeout=60))

    assert path == str(tmp_path / "film.mp4")


@pytest.mark.stays_queued
@pytest.mark.parametrize("gateway", ["dashscope"], indirect=True)
def test_a_kill_during_the_first_ask_of_a_deferrable_sensor_cancels_the_task_if_that_is_wanted(
    wan_task: Callable[..., str], gateway: Any, runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminated(BaseException):
        pass

    def terminate(job: Any, *_: Any, **__: Any) -> None:
        job.task.on_kill()
        raise Terminated

    monkeypatch.setattr(VideoJob, "wait", terminate)
    with pytest.raises(Terminated):
        runner.run(sensor(wan_task(), tmp_path, deferrable=True, cancel_on_kill=True))

    assert gateway.emulator.ledger()[0]["status"] == "CANCELED"


def test_a_killed_sensor_leaves_the_task_alone(wan_task: Callable[..., str], gateway: Any, tmp_path: Path) -> None:
    wan_task_id = wan_task()
    waiting = sensor(wan_task_id, tmp_path)
    waiting.running = wan_task_id, WanHook()

    waiting.on_kill()

    assert gateway.emulator.ledger()[0]["status"] != "CANCELED"


@pytest.mark.parametrize("deferrable", [True, False])
def test_what_keeps_a_sensor_from_waiting_names_the_wan_task_which_may_be_billed(
    deferrable: bool, wan_task: Callable[..., str], runner: Any, tmp_path: Path
) -> None:
    wan_task_id = wan_task()
    (tmp_path / "film.mp4").mkdir()

    with pytest.raises(DestinationError, match=wan_task_id) as raised:
        runner.run(sensor(wan_task_id, tmp_path, deferrable=deferrable))

    assert (raised.value.wan_task_id, raised.value.billed) == (wan_task_id, None)


def test_a_mapped_sensor_with_the_path_of_another_does_not_say_that_nothing_was_sent(
    wan_task: Callable[..., str], runner: Any, tmp_path: Path
) -> None:
    wan_task_id = wan_task()
    runner.instance.map_index = 1
    told = {"map_index": 0, "place": Destination(str(tmp_path / "film.mp4")).place}
    runner.instance.xcom_pull = lambda **_: [told]

    with pytest.raises(DestinationError, match="Map index 0 of this task writes to") as raised:
        sensor(wan_task_id, tmp_path).execute({"ti": runner.instance, "task": None})

    assert "Nothing was sent" not in str(raised.value)
    assert raised.value.wan_task_id == wan_task_id
