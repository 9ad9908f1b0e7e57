"""The same video with the http provider: create, poll, download.

The connection is of type http; its extra holds the header ``Authorization`` and the timeout. The sensor pokes:
``deferrable=True`` has no effect on an HttpSensor with a ``response_check``, and without one it cannot read the status.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG, PokeReturnValue, task
from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from requests import Response

CHUNK_BYTES = 1 << 20


def video_url_when_done(response: Response) -> PokeReturnValue:
    """Return the URL when there is one; a failed task ends the sensor, because waiting longer cannot help."""
    output = response.json()["output"]
    if output["task_status"] in ("FAILED", "CANCELED", "UNKNOWN"):
        raise AirflowFailException(f"{output['task_status']}: {output.get('code')} {output.get('message')}")
    return PokeReturnValue(output["task_status"] == "SUCCEEDED", output.get("video_url"))


with DAG(
    "with_http_provider",
    schedule=None,
    params={"conn_id": "http_default", "first_frame": "", "output_path": ""},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=1)},
):
    create = HttpOperator(
        task_id="create",
        http_conn_id="{{ params.conn_id }}",
        endpoint="api/v1/services/aigc/video-generation/video-synthesis",
        method="POST",
        headers={"Content-Type": "application/json", "X-DashScope-Async": "enable"},
        data=json.dumps(
            {
                "model": "wan2.7-i2v",
                "input": {
                    "prompt": "a kite over the sea",
                    "media": [{"type": "first_frame", "url": "{{ params.first_frame }}"}],
                },
                "parameters": {"resolution": "720P", "duration": 2},
            }
        ),
        response_filter=lambda response: response.json()["output"]["task_id"],
    )

    wait = HttpSensor(
        task_id="wait",
        http_conn_id="{{ params.conn_id }}",
        endpoint="api/v1/tasks/{{ ti.xcom_pull(task_ids='create') }}",
        response_check=video_url_when_done,
        poke_interval=1,
        timeout=3600,
    )

    @task
    def download(video_url: str, output_path: str) -> str:
        """Stream the video into its file."""
        path = Path(output_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with requests.get(video_url, stream=True, timeout=60) as response:
            response.raise_for_status()
            with path.open("wb") as file:
                for chunk in response.iter_content(CHUNK_BYTES):
                    file.write(chunk)
        return output_path

    create >> wait >> download(wait.output, "{{ params.output_path }}")
