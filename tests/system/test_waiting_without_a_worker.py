"""Deferred: no slot and no worker is held while a video is in the making."""

from __future__ import annotations

from journeys import SLOW_S, TRIGGERERS, Stage


def test_a_pool_of_one_slot_and_idle_workers_wait_for_three_videos_at_once(stage: Stage) -> None:
    rest = stage.airflow.rest
    rest.post("/api/v2/pools", {"name": "one_slot", "slots": 1})
    journeys = [stage.start(f"in a pool of one {n}", dag_id="system_video_one_slot", on=stage.slow) for n in range(3)]
    for journey in journeys:
        journey.wait_for_log(": queued", by=TRIGGERERS)
        journey.wait_until("deferred")

    pool = rest.get("/api/v2/pools/one_slot")
    workers = stage.airflow.workers()

    assert [journey.state() for journey in journeys] == ["deferred"] * 3
    assert (pool["running_slots"], pool["occupied_slots"], pool["deferred_slots"]) == (0, 0, 3)
    assert len(workers) > 0
    assert [(title, children) for title, children in workers if "<idle>" not in title or children] == []
    stage.slow.advance(2 * SLOW_S)
    for journey in journeys:
        assert journey.wait_for_end() == "success", journey.log()
        assert journey.has_whole_video()
