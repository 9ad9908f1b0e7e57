"""From a bucket to a bucket: an image and a voice from S3, a video with a poster and its record back to S3.

`aws_default` in the URIs is an Airflow connection. The gateway gets presigned URLs, valid as long as the video is
waited for; it never sees the connection.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_wan.operators.wan import WanImageToVideoOperator

with DAG(
    dag_id="example_wan_from_bucket",
    schedule=None,
    catchup=False,
    tags=["wan", "example"],
    params={"bucket": Param("s3://aws_default@your-bucket", type="string", description="Where the media lie")},
) as dag:
    WanImageToVideoOperator(
        task_id="talk",
        prompt="The presenter talks to the camera.",
        first_frame="{{ params.bucket }}/presenter.png",
        driving_audio="{{ params.bucket }}/voice.wav",
        duration=5,
        poster=True,
        output_path="{{ params.bucket }}/videos/",
    )

if __name__ == "__main__":
    dag.test()
