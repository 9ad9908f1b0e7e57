"""The DAGs of the cluster's tests. The conf of a run names the pictures, the connections and the paths."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from airflow_wan.operators.wan import WanImageToVideoOperator, WanSubmitVideoOperator
from airflow_wan.sensors.wan import WanVideoSensor

PARAMS = {"orders": [], "wan_conn_id": "wan_default", "store": "store", "shared_path": ""}
BUCKET = "s3://{{ params.store }}@clips"
FOLDER = f"{BUCKET}/{{{{ run_id }}}}"
# A service that is away costs a try for each retry_delay.
WITH_RETRIES = {"retries": 5, "retry_delay": timedelta(seconds=10)}
VIDEO: dict[str, Any] = {
    "resolution": "720P",
    "duration": 2,
    "wan_conn_id": "{{ params.wan_conn_id }}",
    **WITH_RETRIES,
}
ORDER: dict[str, Any] = {
    "prompt": "{{ params.orders[0].prompt }}",
    "first_frame": "{{ params.orders[0].first_frame }}",
    **VIDEO,
}
OTHER_ORDER = ORDER | {
    "prompt": "{{ params.orders[1].prompt }}",
    "first_frame": "{{ params.orders[1].first_frame }}",
}

with DAG("clips", schedule=None, params=PARAMS):

    @task(retries=5, retry_delay=timedelta(seconds=10))
    def orders(params: Any = None) -> list[dict[str, str]]:
        """Return what is to be made; a real DAG would ask a database."""
        return list(params["orders"])

    WanImageToVideoOperator.partial(
        task_id="video", output_path=f"{FOLDER}/{{{{ ti.map_index }}}}.mp4", **VIDEO
    ).expand_kwargs(orders())

# Nobody says where the video goes.
with DAG("default_path", schedule=None, params=PARAMS):
    made = WanImageToVideoOperator(task_id="video", queue="worker-1", **ORDER)

    @task(queue="worker-2")
    def look(path: str) -> int:
        """Return the size of the file, as seen by another machine; it fails if there is none."""
        return Path(path).stat().st_size

    look(made.output)

with DAG("on_each_machine", schedule=None, params=PARAMS):
    for number, order in enumerate((ORDER, OTHER_ORDER), 1):
        WanImageToVideoOperator(
            task_id=f"video_{number}",
            queue=f"worker-{number}",
            output_path=f"{BUCKET}/{{{{ params.shared_path or run_id ~ '/{number}.mp4' }}}}",
            **order,
        )

with DAG("pair", schedule=None, params=PARAMS):
    submit = WanSubmitVideoOperator(
        task_id="submit",
        queue="worker-1",
        model="wan2.7-i2v",
        prompt="{{ params.orders[0].prompt }}",
        media=[{"type": "first_frame", "url": "{{ params.orders[0].first_frame }}"}],
        parameters={"resolution": "720P", "duration": 2},
        wan_conn_id="{{ params.wan_conn_id }}",
        **WITH_RETRIES,
    )
    WanVideoSensor(
        task_id="video",
        queue="worker-2",
        wan_task_id=submit.output,
        output_path=f"{FOLDER}/0.mp4",
        wan_conn_id="{{ params.wan_conn_id }}",
        **WITH_RETRIES,
    )
