"""The DAGs whose videos the browser looks at. Their names and prompts are fit for pictures in the documentation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

from airflow_wan.operators.wan import WanImageToVideoOperator, WanTextToVideoOperator

# Each run names the folder of the media, and where its videos go: a folder or a bucket.
PARAMS = {"media": Param("", type="string"), "videos": Param("", type="string"), "prompt": Param("", type="string")}
AGAIN: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=1)}
SHORT: dict[str, Any] = {"duration": 2, "resolution": "720P", **AGAIN}


def order_another_length(_context: Any) -> None:
    """Write 7 s down where the gateway is asked for 2, so that it makes what was not ordered."""
    from airflow_wan.api.requests import VideoRequest

    VideoRequest.seconds = property(lambda _: 7)  # type: ignore[assignment,method-assign]


with DAG("rap_portrait", schedule=None, params=PARAMS):
    WanImageToVideoOperator(
        task_id="rap",
        prompt="{{ params.prompt }}",
        first_frame="{{ params.media }}/rap.png",
        driving_audio="{{ params.media }}/rap.wav",
        resolution="720P",
        duration=5,
        seed=20260817,
        poster=True,
        output_path="{{ params.videos }}/rap.mp4",
        **AGAIN,
    )

with DAG("product_clips", schedule=None, params=PARAMS):
    WanImageToVideoOperator.partial(
        task_id="animate",
        map_index_template="{{ task.output_path.rpartition('/')[2].removesuffix('.mp4') }}",
        poster=True,
        **SHORT,
    ).expand_kwargs(
        [
            {
                "prompt": prompt,
                "first_frame": f"{{{{ params.media }}}}/products/{name}.png",
                "output_path": f"{{{{ params.videos }}}}/{name}.mp4",
                "wan_conn_id": wan_conn_id,
            }
            for name, prompt, wan_conn_id in (
                ("mug", "The mug turns slowly; steam rises.", "wan_default"),
                ("lamp", "The lamp lights up; dust glitters in its beam.", "wan_default"),
                ("chair", "The chair rocks gently in the evening sun.", "wan_refusing"),
            )
        ]
    )

with DAG("lighthouse", schedule=None, params=PARAMS):
    WanTextToVideoOperator(
        task_id="film",
        prompt="{{ params.prompt }}",
        ratio="16:9",
        model="wan2.7-t2v",
        output_path="{{ params.videos }}/lighthouse.mp4",
        **SHORT,
    )

with DAG("refused_clip", schedule=None, params=PARAMS):
    WanTextToVideoOperator(
        task_id="film",
        prompt="{{ params.prompt }}",
        ratio="16:9",
        wan_conn_id="wan_refusing",
        output_path="{{ params.videos }}/refused.mp4",
        **SHORT,
    )

with DAG("rejected_clip", schedule=None, params=PARAMS):
    WanImageToVideoOperator(
        task_id="film",
        prompt="{{ params.prompt }}",
        first_frame="{{ params.media }}/products/mug.png",
        output_path="{{ params.videos }}/rejected.mp4",
        pre_execute=order_another_length,
        **SHORT,
    )

with DAG("slow_clip", schedule=None, params=PARAMS):
    WanImageToVideoOperator(
        task_id="film",
        prompt="{{ params.prompt }}",
        first_frame="{{ params.media }}/products/lamp.png",
        wan_conn_id="wan_slow",
        output_path="{{ params.videos }}/slow.mp4",
        **SHORT,
    )

# More videos than a page of the gallery has; what is known of them comes by the REST API.
with DAG("archive", schedule=None, params=PARAMS):
    for number in range(35):
        EmptyOperator(task_id=f"film_{number:02}")
