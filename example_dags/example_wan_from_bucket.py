"""From a bucket to a bucket: reads an image and a voice from S3, and writes a video, its poster and its record to S3.

`aws_default` in the URIs is an Airflow connection. The gateway never sees it: it gets signed URLs, which stay valid for
longer than the longest wait.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_wan.operators.wan import WanImageToVideoOperator

with DAG(
    dag_id="example_wan_from_bucket",
    schedule=None,
    catchup=False,
    tags=["wan", "example"],
    params={"bucket": Param("s3://aws_default@your-bucket", type="string", description="Bucket of the media")},
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
