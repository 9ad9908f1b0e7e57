"""A deferred task holds no pool slot and no worker while the gateway makes its video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_processes import wait_for
from dag_runs import SLOW_S, TRIGGERERS

if TYPE_CHECKING:
    from journeys import Stage


def is_idle(title: str, children: int) -> bool:
    """Return whether a process of the executor runs no task."""
    return "<idle>" in title and children == 0


def test_three_videos_are_waited_for_with_one_pool_slot_and_idle_workers(stage: Stage) -> None:
    rest = stage.airflow.rest
    rest.post("/api/v2/pools", {"name": "one_slot", "slots": 1})
    journeys = [stage.start(f"in a pool of one {n}", dag_id="system_video_one_slot", on=stage.slow) for n in range(3)]
    for journey in journeys:
        journey.wait_for_log(": queued", by=TRIGGERERS)
        journey.wait_until("deferred")

    wait_for("idle workers", lambda: all(is_idle(*worker) for worker in stage.airflow.workers()))
    pool = rest.get("/api/v2/pools/one_slot")
    workers = stage.airflow.workers()

    assert [journey.state() for journey in journeys] == ["deferred"] * 3
    assert (pool["running_slots"], pool["occupied_slots"], pool["deferred_slots"]) == (0, 0, 3)
    assert workers
    assert all(is_idle(*worker) for worker in workers)
    stage.slow.advance(2 * SLOW_S)
    for journey in journeys:
        assert journey.wait_for_end() == "success", journey.log()
        assert journey.has_whole_video()
