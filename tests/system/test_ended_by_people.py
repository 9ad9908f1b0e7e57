"""A person marks a task failed or clears it: what happens to the video at the gateway, and what the log says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dag_runs import SLOW_S, TRIGGERERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from journeys import Journey, Stage


@pytest.fixture
def waiting_at(stage: Stage) -> Callable[..., Journey]:
    """Return a function that starts a run and waits until the triggerer has seen its video queued (or running)."""

    def start(gateway: str, name: str, *, state: str = "queued") -> Journey:
        journey = stage.start(f"{name}, {gateway}", gateway=gateway, on=stage.slow)
        journey.wait_for_log(": queued", by=TRIGGERERS)
        if state == "running":
            stage.slow.advance(1.2 * SLOW_S)
            journey.wait_for_log(": running", by=TRIGGERERS)
        journey.wait_until("deferred")
        return journey

    return start


def status_at_gateway(journey: Journey) -> str:
    return str(journey.creates()[0]["status"])


def test_a_queued_video_marked_failed_is_canceled_and_not_billed_on_dashscope(
    waiting_at: Callable[..., Journey],
) -> None:
    journey = waiting_at("dashscope", "marked failed while queued")

    journey.mark("failed")

    journey.wait_for_log("is canceled; it will not be billed.")
    assert status_at_gateway(journey) == "CANCELED"
    assert journey.billed() == 0
    assert journey.state() == "failed"


def test_a_running_video_marked_failed_goes_on_and_the_log_says_that_it_may_be_billed(
    waiting_at: Callable[..., Journey],
) -> None:
    journey = waiting_at("dashscope", "marked failed while running", state="running")

    journey.mark("failed")

    journey.wait_for_log("could not be canceled and may go on and be billed")
    assert status_at_gateway(journey) == "RUNNING"
    assert journey.billed() == 1
    assert journey.state() == "failed"


def test_a_video_marked_failed_goes_on_at_apiyi_because_apiyi_cannot_cancel(waiting_at: Callable[..., Journey]) -> None:
    journey = waiting_at("apiyi", "marked failed")

    journey.mark("failed")

    journey.wait_for_log("goes on and may be billed: APIYI cannot cancel.")
    assert journey.billed() == 1
    assert journey.state() == "failed"


def test_a_queued_video_marked_failed_is_canceled_by_the_worker_that_waits_for_it(stage: Stage) -> None:
    journey = stage.start("marked failed on a worker", gateway="dashscope", dag_id="system_video_sync", on=stage.slow)
    journey.wait_for_log(": queued")

    journey.mark("failed")

    journey.wait_for_log("is canceled; it will not be billed.")
    assert status_at_gateway(journey) == "CANCELED"


def test_a_cleared_task_at_apiyi_waits_for_the_video_that_it_has_bought(
    stage: Stage, waiting_at: Callable[..., Journey]
) -> None:
    journey = waiting_at("apiyi", "cleared while waiting")

    journey.clear()
    journey.wait_for_log("An earlier try bought this video as wan task")
    stage.slow.advance(2 * SLOW_S)

    assert journey.wait_for_end() == "success", journey.log()
    assert journey.billed() == len(journey.creates()) == 1
    assert journey.has_whole_video()


def test_a_cleared_task_on_dashscope_pays_for_one_video(stage: Stage, waiting_at: Callable[..., Journey]) -> None:
    """Clearing ends the trigger, which leaves the queued video to the next try, whether that has begun or not."""
    journey = waiting_at("dashscope", "cleared while waiting")

    journey.clear()
    journey.wait_for_log("invoking on_kill")
    journey.wait_for_log("trigger completed")
    stage.slow.turn_clock_until(journey.has_ended)

    assert journey.wait_for_end() == "success", journey.log()
    assert journey.billed() == 1, journey.creates()
    assert journey.has_whole_video()


def test_a_failed_task_that_is_cleared_delivers_the_video_that_it_had_bought(
    stage: Stage, waiting_at: Callable[..., Journey]
) -> None:
    journey = waiting_at("apiyi", "cleared after it was marked failed")
    journey.mark("failed")
    journey.wait_for_log("goes on and may be billed: APIYI cannot cancel.")
    assert journey.wait_for_end() == "failed"

    journey.clear()
    journey.wait_for_log("An earlier try bought this video as wan task")
    stage.slow.advance(2 * SLOW_S)

    journey.wait_until("success")
    assert journey.billed() == len(journey.creates()) == 1
    assert journey.has_whole_video()


def test_a_successful_task_that_is_cleared_reuses_the_delivered_video(stage: Stage) -> None:
    journey = stage.start("cleared after success")
    assert journey.wait_for_end() == "success", journey.log()

    journey.clear()

    journey.wait_for_log("This very video is at")
    journey.wait_until("success")
    assert journey.billed() == len(journey.creates()) == 1
    assert journey.has_whole_video()
