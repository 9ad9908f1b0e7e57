"""The DAGs that the system tests run; each run says in its conf what to make, on whose key and where to pause."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, task
from pauses import pause_where_told

from airflow_wan.operators.wan import WanImageToVideoOperator, WanSubmitVideoOperator
from airflow_wan.sensors.wan import WanVideoSensor

PARAMS = {"prompt": "", "first_frame": "", "wan_conn_id": "wan_default", "output_path": "", "resolution": "720P"}
SAFE_WITH_RETRIES = {"retries": 3, "retry_delay": timedelta(seconds=1), "pre_execute": pause_where_told}
WISH: dict[str, Any] = {
    "prompt": "{{ params.prompt }}",
    "first_frame": "{{ params.first_frame }}",
    "resolution": "{{ params.resolution }}",
    "duration": 2,
    "wan_conn_id": "{{ params.wan_conn_id }}",
    **SAFE_WITH_RETRIES,
}

with DAG("system_video", schedule=None, params=PARAMS):
    WanImageToVideoOperator(task_id="video", output_path="{{ params.output_path }}", **WISH)

with DAG("system_video_sync", schedule=None, params=PARAMS):
    WanImageToVideoOperator(task_id="video", output_path="{{ params.output_path }}", deferrable=False, **WISH)

# Each start of a task fails after 13 s while the API server is away, and costs one try: retries a second apart would
# all be gone before it is back.
with DAG("system_video_patient", schedule=None, params=PARAMS):
    WanImageToVideoOperator(
        task_id="video", output_path="{{ params.output_path }}", **WISH | {"retry_delay": timedelta(seconds=15)}
    )

with DAG("system_video_one_slot", schedule=None, params=PARAMS):
    WanImageToVideoOperator(task_id="video", output_path="{{ params.output_path }}", pool="one_slot", **WISH)

with DAG("system_video_resubmit", schedule=None, params=PARAMS):
    WanImageToVideoOperator(
        task_id="video", output_path="{{ params.output_path }}", on_ambiguous_submit="resubmit", **WISH
    )

with DAG("system_video_signed_media", schedule=None, params={**PARAMS, "variable": "", "duration": 2}):
    WanImageToVideoOperator(
        task_id="video",
        output_path="{{ params.output_path }}",
        **WISH
        | {"first_frame": "{{ var.value.get(params.variable) }}", "duration": "{{ params.duration }}", "retries": 0},
    )

with DAG("system_pair", schedule=None, params=PARAMS):
    submit = WanSubmitVideoOperator(
        task_id="submit",
        model="wan2.7-i2v",
        prompt="{{ params.prompt }}",
        media=[{"type": "first_frame", "url": "{{ params.first_frame }}"}],
        parameters={"resolution": "720P", "duration": 2},
        wan_conn_id="{{ params.wan_conn_id }}",
        **SAFE_WITH_RETRIES,
    )
    WanVideoSensor(
        task_id="video",
        wan_task_id=submit.output,
        output_path="{{ params.output_path }}",
        wan_conn_id="{{ params.wan_conn_id }}",
        **SAFE_WITH_RETRIES,
    )

filmed = Asset(name="system_filmed", uri="wan-clips://system-filmed")

with DAG("system_asset", schedule=None, params=PARAMS):
    WanImageToVideoOperator(task_id="video", output_path="{{ params.output_path }}", outlets=[filmed], **WISH)

with DAG("system_on_asset", schedule=[filmed]):

    @task
    def told(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        """What the events say of the videos."""
        return [dict(event.extra) for event in triggering_asset_events[filmed]]

    told()
