"""Airflow's own processes are killed with SIGKILL while the gateway makes a video, and are started again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from airflow_processes import wait_for
from dag_runs import SLOW_S, TRIGGERERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from journeys import Journey, Stage

API_OUTAGE_S = 10.0


@pytest.fixture
def waiting(stage: Stage) -> list[Journey]:
    """Start a run at each gateway, and wait until the triggerer waits for its unfinished video."""
    return start_waiting(stage, "system_video")


def start_waiting(stage: Stage, dag_id: str) -> list[Journey]:
    gateways = ("apiyi", "dashscope")
    started = [stage.start(f"waited for at {name}", gateway=name, dag_id=dag_id, on=stage.slow) for name in gateways]
    for journey in started:
        journey.wait_for_log(": queued", by=TRIGGERERS)
        journey.wait_until("deferred")
    return started


def assert_bought_once_and_delivered(journey: Journey) -> None:
    assert journey.wait_for_end() == "success", journey.log()
    assert journey.billed() == len(journey.creates()) == 1
    assert journey.has_whole_video()
    assert journey.files() == ["video.mp4", "video.mp4.json"]


def test_a_video_is_delivered_after_its_triggerer_was_killed(stage: Stage, waiting: list[Journey]) -> None:
    triggerer = stage.airflow.component("triggerer")
    triggerer.kill()
    stage.slow.advance(2 * SLOW_S)
    triggerer.start()

    for journey in waiting:
        assert_bought_once_and_delivered(journey)
        assert journey.instance()["try_number"] == 1


def test_a_video_is_delivered_after_the_scheduler_and_its_workers_were_killed(
    stage: Stage, waiting: list[Journey]
) -> None:
    scheduler = stage.airflow.component("scheduler")
    scheduler.kill()
    stage.slow.advance(2 * SLOW_S)
    for journey in waiting:
        journey.wait_for_log("Trigger fired event")
    scheduler.start()

    for journey in waiting:
        assert_bought_once_and_delivered(journey)
        assert journey.instance()["try_number"] == 1


def test_a_video_that_is_finished_while_the_api_server_is_down_is_delivered(stage: Stage) -> None:
    waiting = start_waiting(stage, "system_video_patient")
    api_server = stage.airflow.component("api-server")
    api_server.kill()
    stage.slow.advance(2 * SLOW_S)
    for journey in waiting:
        journey.wait_for_log("Trigger fired event")
    time.sleep(API_OUTAGE_S)
    api_server.start()

    for journey in waiting:
        assert_bought_once_and_delivered(journey)


@pytest.fixture
def patient_scheduler(stage: Stage) -> Iterator[None]:
    """Let the scheduler wait 300 s for a worker's heartbeat, Airflow's default, not the few of these tests."""
    scheduler = stage.airflow.component("scheduler")
    impatient = scheduler.environment
    scheduler.environment = impatient | {"AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "300"}
    scheduler.kill()
    scheduler.start()
    yield
    scheduler.environment = impatient
    scheduler.kill()
    scheduler.start()


@pytest.mark.usefixtures("patient_scheduler")
def test_a_task_id_is_recorded_as_soon_as_the_api_server_is_back(stage: Stage) -> None:
    journey = stage.start(
        "api server down between answer and ledger",
        dag_id="system_video_patient",
        pause_at="between answer and ledger",
    )
    journey.wait_for_pause()
    api_server = stage.airflow.component("api-server")
    api_server.kill()
    journey.release()
    time.sleep(API_OUTAGE_S)
    api_server.start()

    assert_bought_once_and_delivered(journey)
    assert "The task state store cannot be written" in journey.log()
    assert "Attempt 2 of 6 follows in" in journey.log()
    assert journey.instance()["try_number"] == 1


def test_a_trigger_that_moves_to_another_triggerer_does_not_cancel_its_video(
    stage: Stage, waiting: list[Journey]
) -> None:
    """Airflow 3.3.0 to 3.3.2 call `on_kill` when a triggerer that was taken for dead finds its trigger moved."""
    first = stage.airflow.component("triggerer")
    second = stage.airflow.component("triggerer", "-second")
    second.start()
    first.freeze()
    try:
        for journey in waiting:
            wait_for("the second triggerer", lambda journey=journey: journey.log().count(" starting") >= 2, 120)
    finally:
        first.thaw()
    try:
        for journey in waiting:
            journey.wait_for_log("goes on: its Airflow task is still deferred.")
            journey.wait_for_log("trigger completed")
        assert all(row["status"] == "PENDING" for journey in waiting for row in journey.creates())
        stage.slow.advance(2 * SLOW_S)
        for journey in waiting:
            assert_bought_once_and_delivered(journey)
    finally:
        second.kill()
