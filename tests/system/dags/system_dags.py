"""The DAGs of the system tests. The conf of a run names the video, the connection and the step to pause at."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, task
from pauses import install_pause

from airflow_wan.operators.wan import WanImageToVideoOperator, WanSubmitVideoOperator
from airflow_wan.sensors.wan import WanVideoSensor

PARAMS = {"prompt": "", "first_frame": "", "wan_conn_id": "wan_default", "output_path": "", "resolution": "720P"}
SAFE_WITH_RETRIES = {"retries": 3, "retry_delay": timedelta(seconds=1), "pre_execute": install_pause}
ORDER: dict[str, Any] = {
    "prompt": "{{ params.prompt }}",
    "first_frame": "{{ params.first_frame }}",
    "resolution": "{{ params.resolution }}",
    "duration": 2,
    "wan_conn_id": "{{ params.wan_conn_id }}",
    **SAFE_WITH_RETRIES,
}
ORDER_OF_ANY_FRAME = {name: value for name, value in ORDER.items() if name != "first_frame"}

with DAG("system_video", schedule=None, params=PARAMS):
    WanImageToVideoOperator(task_id="video", output_path="{{ params.output_path }}", **ORDER)

with DAG("system_video_sync", schedule=None, params=PARAMS):
    WanImageToVideoOperator(task_id="video", output_path="{{ params.output_path }}", deferrable=False, **ORDER)

# While the API server is down, each start of a task fails after 13 s and uses up one try. With retries one second
# apart, all tries would be used up before the API server is back.
with DAG("system_video_patient", schedule=None, params=PARAMS):
    WanImageToVideoOperator(
        task_id="video", output_path="{{ params.output_path }}", **ORDER | {"retry_delay": timedelta(seconds=15)}
    )

with DAG("system_video_one_slot", schedule=None, params=PARAMS):
    WanImageToVideoOperator(task_id="video", output_path="{{ params.output_path }}", pool="one_slot", **ORDER)

with DAG("system_video_resubmit", schedule=None, params=PARAMS):
    WanImageToVideoOperator(
        task_id="video", output_path="{{ params.output_path }}", on_ambiguous_submit="resubmit", **ORDER
    )

with DAG("system_video_signed_media", schedule=None, params={**PARAMS, "variable": "", "duration": 2}):
    WanImageToVideoOperator(
        task_id="video",
        output_path="{{ params.output_path }}",
        **ORDER
        | {"first_frame": "{{ var.value.get(params.variable) }}", "duration": "{{ params.duration }}", "retries": 0},
    )

# One instance after the other, so that the first has submitted its video before the second does.
with DAG("system_mapped", schedule=None, params={**PARAMS, "frames": ["", ""]}):
    WanImageToVideoOperator.partial(
        task_id="video",
        output_path="{{ params.output_path }}/{{ ti.map_index }}.mp4",
        max_active_tis_per_dagrun=1,
        **ORDER_OF_ANY_FRAME,
    ).expand(first_frame=["{{ params.frames[0] }}", "{{ params.frames[1] }}"])

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
    WanImageToVideoOperator(task_id="video", output_path="{{ params.output_path }}", outlets=[filmed], **ORDER)

with DAG("system_on_asset", schedule=[filmed]):

    @task
    def read_events(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        """Return what the asset events say about the videos."""
        return [dict(event.extra) for event in triggering_asset_events[filmed]]

    read_events()
