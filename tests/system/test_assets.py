"""A video that came home starts the DAGs that are scheduled on its asset, and they know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_processes import wait_for

if TYPE_CHECKING:
    from journeys import Stage

ON_ASSET = "/api/v2/dags/system_on_asset/dagRuns"


def test_a_dag_scheduled_on_the_asset_is_told_path_digest_length_and_cost(stage: Stage) -> None:
    journey = stage.start("filmed", dag_id="system_asset")
    assert journey.wait_for_end() == "success", journey.log()
    rest = stage.airflow.rest

    def ended() -> list[dict[str, Any]]:
        return [run for run in rest.get(ON_ASSET)["dag_runs"] if run["state"] == "success"]

    wait_for("the run that the asset starts", ended, 120)
    (run,) = ended()
    xcom = f"{ON_ASSET}/{run['dag_run_id']}/taskInstances/told/xcomEntries/return_value"
    (told,) = rest.get(xcom, deserialize=True)["value"]

    assert told["path"] == str(journey.output_path)
    assert (told["duration_s"], told["spent_usd"], told["model"]) == (2.0, 0.168, "wan2.7-i2v")
    assert len(told["sha256"]) == 64
    assert journey.billed() == 1
