"""A portrait speaks what is in a speech file: lips and face follow the voice.

`duration="audio"` makes the video as long as the speech, in whole seconds. `adapt_media` converts a speech that is
neither WAV nor MP3, such as the M4A of a phone, and `cut_audio` cuts off what is longer than the model's longest video.
Both need the extra `airflow-provider-wan[adapt]` on the workers, and a speech in a bucket or on a disk. The connection
must be one to DashScope, because APIYI takes no uploads of sounds.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_wan.operators.wan import WanImageToVideoOperator

with DAG(
    dag_id="recipe_narration",
    schedule=None,
    catchup=False,
    default_args={"retries": 2},
    tags=["wan", "recipe"],
    params={
        "portrait": Param("s3://aws_default@your-bucket/narrator.png", type="string"),
        "speech": Param("s3://aws_default@your-bucket/chapter-1.m4a", type="string"),
    },
) as dag:
    WanImageToVideoOperator(
        task_id="narrate",
        prompt="The narrator looks into the camera and tells a story, with calm gestures.",
        first_frame="{{ params.portrait }}",
        driving_audio="{{ params.speech }}",
        duration="audio",
        adapt_media=True,
        cut_audio=True,
        max_cost=2.00,
        poster=True,
    )

if __name__ == "__main__":
    dag.test()
