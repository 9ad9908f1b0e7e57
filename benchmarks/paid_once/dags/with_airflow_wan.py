"""One video with this package: one task, which waits in the triggerer."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_wan.operators.wan import WanImageToVideoOperator

with DAG(
    "with_airflow_wan",
    schedule=None,
    params={"conn_id": "wan_default", "first_frame": "", "output_path": ""},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=1)},
):
    WanImageToVideoOperator(
        task_id="video",
        prompt="a kite over the sea",
        first_frame="{{ params.first_frame }}",
        duration=2,
        wan_conn_id="{{ params.conn_id }}",
        output_path="{{ params.output_path }}",
    )
