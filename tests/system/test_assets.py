"""A delivered video starts the DAGs that are scheduled on its asset, and its event describes the video."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_processes import wait_for

if TYPE_CHECKING:
    from journeys import Stage

ON_ASSET = "/api/v2/dags/system_on_asset/dagRuns"


def test_the_asset_event_names_path_digest_duration_and_cost(stage: Stage) -> None:
    journey = stage.start("filmed", dag_id="system_asset")
    assert journey.wait_for_end() == "success", journey.log()
    rest = stage.airflow.rest

    def successful_runs() -> list[dict[str, Any]]:
        return [run for run in rest.get(ON_ASSET)["dag_runs"] if run["state"] == "success"]

    wait_for("the run that the asset starts", successful_runs, 120)
    (run,) = successful_runs()
    xcom = f"{ON_ASSET}/{run['dag_run_id']}/taskInstances/read_events/xcomEntries/return_value"
    (event,) = rest.get(xcom, deserialize=True)["value"]

    assert event["path"] == str(journey.output_path)
    assert (event["duration_s"], event["spent_usd"], event["model"]) == (2.0, 0.168, "wan2.7-i2v")
    assert len(event["sha256"]) == 64
    assert journey.billed() == 1
