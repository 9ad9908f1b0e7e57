"""A Wan task that the gateway queues for longer than `timeout` comes home, in each way of waiting."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import AirflowSensorTimeout
from plain_client import submit_plainly

from airflow_wan.emulator.testing import AT_ONCE
from airflow_wan.exceptions import VideoWaitTimeout
from airflow_wan.sensors.wan import WanVideoSensor
from airflow_wan.videos.job import BACKSTOP_MARGIN_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_wan.emulator.testing import MediaServer, RunningEmulator

HOUR_S = 3600.0
TIMEOUT_S = 0.4
"""What the tasks here may take once they have left the queue, in seconds."""


@pytest.fixture(params=["apiyi", "dashscope"])
def queueing(
    request: pytest.FixtureRequest, wan_emulator_for: Callable[..., RunningEmulator], connect: Callable[..., None]
) -> SimpleNamespace:
    """A gateway that queues each task for an hour. Once out of the queue, it is finished at the next read."""
    emulator = wan_emulator_for(replace(AT_ONCE, pending_s=HOUR_S))
    emulator.reset()
    connect(emulator.base_url, gateway=request.param)
    return SimpleNamespace(name=request.param, emulator=emulator)


@pytest.fixture
def leaves_the_queue_late(queueing: SimpleNamespace) -> Iterator[None]:
    """Let every task leave the queue once one was read for twice its timeout."""
    stop = threading.Event()

    def release() -> None:
        first: float | None = None
        while not stop.wait(0.02):
            if first is None and queueing.emulator.counts()["poll"]["requests"]:
                first = time.monotonic()
            if first is not None and time.monotonic() > first + 2 * TIMEOUT_S:
                queueing.emulator.advance_clock(HOUR_S)
                return

    thread = threading.Thread(target=release)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def wan_task_id(queueing: SimpleNamespace, media: MediaServer) -> str:
    """A Wan task that somebody else submitted."""
    return submit_elsewhere(queueing, media)


def submit_elsewhere(gateway: SimpleNamespace, media: MediaServer) -> str:
    return submit_plainly(gateway.emulator.base_url, gateway.name, media.url("frame.png"))


def sensor(wan_task_id: str, tmp_path: Path, **arguments: Any) -> WanVideoSensor:
    defaults = {"output_path": str(tmp_path / "film.mp4"), "poke_interval": 0.05, "timeout": TIMEOUT_S}
    return WanVideoSensor(task_id="wait", wan_task_id=wan_task_id, **defaults | arguments)


@pytest.mark.usefixtures("leaves_the_queue_late")
@pytest.mark.parametrize("deferrable", [True, False])
def test_an_operator_waits_for_it(
    deferrable: bool, film: Callable[..., Any], queueing: SimpleNamespace, runner: Any, tmp_path: Path
) -> None:
    path = runner.run(film(deferrable=deferrable, timeout=TIMEOUT_S))

    assert path == str(tmp_path / "film.mp4")
    assert [row["billed"] for row in queueing.emulator.ledger()] == [True]


@pytest.mark.usefixtures("leaves_the_queue_late")
@pytest.mark.parametrize("deferrable", [True, False])
def test_a_sensor_waits_for_it(deferrable: bool, wan_task_id: str, runner: Any, tmp_path: Path) -> None:
    assert runner.run(sensor(wan_task_id, tmp_path, deferrable=deferrable)) == str(tmp_path / "film.mp4")


def test_a_sensor_that_is_rescheduled_waits_for_it(
    queueing: SimpleNamespace, wan_task_id: str, runner: Any, tmp_path: Path
) -> None:
    began = datetime.now(UTC) - timedelta(seconds=100)
    runner.instance.get_first_reschedule_date = lambda _context: began
    waiting = sensor(wan_task_id, tmp_path, deferrable=False, mode="reschedule")
    with pytest.raises(AirflowRescheduleException):
        runner.run(waiting)

    queueing.emulator.advance_clock(HOUR_S)
    assert runner.run(waiting) == str(tmp_path / "film.mp4")


@pytest.mark.parametrize("deferrable", [True, False])
def test_an_operator_gives_it_up_when_its_queue_timeout_is_over(
    deferrable: bool, film: Callable[..., Any], queueing: SimpleNamespace, runner: Any
) -> None:
    with pytest.raises(VideoWaitTimeout, match=r"\(queue_timeout\), and it is still queued"):
        runner.run(film(deferrable=deferrable, queue_timeout=timedelta(seconds=0.4)))
    assert runner.store.record["state"] == "submitted"

    queueing.emulator.advance_clock(HOUR_S)
    runner.run(film(deferrable=deferrable))
    assert len(queueing.emulator.ledger()) == 1


@pytest.mark.parametrize(
    "how", [{"deferrable": True}, {"deferrable": False}, {"deferrable": False, "mode": "reschedule"}]
)
def test_a_sensor_gives_it_up_when_its_queue_timeout_is_over(
    how: dict[str, Any], wan_task_id: str, runner: Any, tmp_path: Path
) -> None:
    runner.instance.get_first_reschedule_date = lambda _context: datetime.now(UTC) - timedelta(seconds=100)
    with pytest.raises(AirflowSensorTimeout, match=r"\(queue_timeout\), and it is still queued"):
        runner.run(sensor(wan_task_id, tmp_path, queue_timeout=0.4, **how))


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_shorter_execution_timeout_bounds_the_whole_wait(
    deferrable: bool, film: Callable[..., Any], queueing: SimpleNamespace, runner: Any
) -> None:
    with pytest.raises(VideoWaitTimeout, match="in all"):
        runner.run(film(deferrable=deferrable, execution_timeout=timedelta(seconds=0.4)))

    assert len(queueing.emulator.ledger()) == 1


def test_the_triggers_limits_are_moments_and_airflows_own_is_later(
    film: Callable[..., Any], queueing: SimpleNamespace, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.common.compat.sdk import TaskDeferred

    deferred: list[TaskDeferred] = []

    def note(trigger: Any) -> dict[str, Any]:
        raise AssertionError(f"fired {trigger}")

    monkeypatch.setattr(runner, "_fire", note)
    task = film(timeout=100, queue_timeout=1000)
    defer = type(task).defer

    def keep(self: Any, **arguments: Any) -> None:
        try:
            defer(self, **arguments)
        except TaskDeferred as deferral:
            deferred.append(deferral)
            raise

    monkeypatch.setattr(type(task), "defer", keep)
    with pytest.raises(AssertionError, match="fired"):
        runner.run(task)

    (deferral,) = deferred
    kwargs = deferral.trigger.serialize()[1]
    started = runner.store.record["submitted_at"]
    assert kwargs["started"] == started
    assert (kwargs["deadline"], kwargs["queue_deadline"], kwargs["latest"]) == (
        started + 100,
        started + 1000,
        started + 1100,
    )
    assert deferral.timeout is not None
    # Airflow's timeout counts from the deferral, which was a moment ago.
    assert 1100 < deferral.timeout.total_seconds() <= 1100 + BACKSTOP_MARGIN_S


def test_the_sixth_task_of_an_account_comes_home_although_five_others_run_for_longer_than_its_timeout(
    wan_emulator_for: Callable[..., RunningEmulator],
    connect: Callable[..., None],
    media: MediaServer,
    film: Callable[..., Any],
    runner: Any,
    tmp_path: Path,
) -> None:
    emulator = wan_emulator_for(replace(AT_ONCE, running=5, running_s=HOUR_S))
    emulator.reset()
    connect(emulator.base_url, gateway="dashscope")
    others = SimpleNamespace(name="dashscope", emulator=emulator)
    for _ in range(5):
        submit_elsewhere(others, media)

    with pytest.raises(VideoWaitTimeout, match="still queued"):
        runner.run(film(timeout=60, queue_timeout=0.2))
    record = runner.store.record
    runner.store.replace_record(record | {"submitted_at": record["submitted_at"] - 59.9})  # it has queued for that long
    freed = threading.Timer(1.0, emulator.advance_clock, [2 * HOUR_S])
    freed.start()
    path = runner.run(film(timeout=60))
    freed.join()

    assert path == str(tmp_path / "film.mp4")
    assert len(emulator.ledger()) == 6
