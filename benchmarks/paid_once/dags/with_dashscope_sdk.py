"""The same video with Alibaba's SDK: everything in one task, or the download in a second task.

``VideoSynthesis.call`` creates, polls and returns the finished task, as in the SDK's own examples.
"""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import dashscope
import requests
from airflow.sdk import DAG, BaseHook, task

DEFAULT_TIMEOUT_S = 300
CHUNK_BYTES = 1 << 20
PARAMS = {"conn_id": "dashscope_default", "first_frame": "", "output_path": ""}
RETRIED = {"retries": 3, "retry_delay": timedelta(seconds=1)}


def generate(conn_id: str, first_frame: str) -> str:
    """Create a video, wait for it, and return its URL."""
    connection = BaseHook.get_connection(conn_id)
    dashscope.base_http_api_url = f"{connection.host}/api/v1"
    response = dashscope.VideoSynthesis.call(
        api_key=connection.password,
        model="wan2.7-i2v",
        prompt="a kite over the sea",
        media=[{"type": "first_frame", "url": first_frame}],
        resolution="720P",
        duration=2,
        request_timeout=connection.extra_dejson.get("timeout", DEFAULT_TIMEOUT_S),
    )
    if response.status_code != HTTPStatus.OK:
        raise RuntimeError(f"HTTP {response.status_code}: {response.code} {response.message}")
    if response.output.task_status != "SUCCEEDED":
        raise RuntimeError(f"{response.output.task_status}: {response.output.get('message')}")
    return str(response.output.video_url)


def save(video_url: str, output_path: str) -> str:
    """Stream the video into its file."""
    path = Path(output_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with requests.get(video_url, stream=True, timeout=60) as response:
        response.raise_for_status()
        with path.open("wb") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
    return output_path


with DAG("with_dashscope_sdk", schedule=None, params=PARAMS, default_args=RETRIED):

    @task
    def video(conn_id: str, first_frame: str, output_path: str) -> str:
        """Generate the video and download it."""
        return save(generate(conn_id, first_frame), output_path)

    video("{{ params.conn_id }}", "{{ params.first_frame }}", "{{ params.output_path }}")

with DAG("with_dashscope_sdk_in_two_tasks", schedule=None, params=PARAMS, default_args=RETRIED):
    video_url = task(generate)("{{ params.conn_id }}", "{{ params.first_frame }}")
    task(save)(video_url, "{{ params.output_path }}")
