"""The smallest image-to-video DAG: one task submits, waits without a worker, downloads and returns the path."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_wan.operators.wan import WanImageToVideoOperator

with DAG(
    dag_id="example_wan_image_to_video",
    schedule=None,
    catchup=False,
    tags=["wan", "example"],
    params={
        "first_frame": Param("https://your-cdn.com/rap.png", type="string", description="Public https URL"),
        "prompt": Param("The camera slowly moves in; the clouds drift.", type="string"),
    },
) as dag:
    WanImageToVideoOperator(
        task_id="animate",
        prompt="{{ params.prompt }}",
        first_frame="{{ params.first_frame }}",
        duration=5,
        resolution="720P",
    )

if __name__ == "__main__":
    dag.test()
