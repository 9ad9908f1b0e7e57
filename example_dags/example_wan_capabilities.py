"""Three tasks in a row, one for each other capability: text to video, references with a voice, and editing."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_wan.operators.wan import WanEditVideoOperator, WanReferenceToVideoOperator, WanTextToVideoOperator

with DAG(
    dag_id="example_wan_capabilities",
    schedule=None,
    catchup=False,
    tags=["wan", "example"],
    params={"media": Param("https://your-cdn.com", type="string", description="Folder of the media")},
) as dag:
    words = WanTextToVideoOperator(
        task_id="words",
        prompt="A paper boat sails down a rainy street.",
        ratio="9:16",
        duration=5,
    )

    references = WanReferenceToVideoOperator(
        task_id="references",
        prompt="image 1 waves and says hello beside image 2.",
        reference_image=[
            {"url": "{{ params.media }}/rap.png", "reference_voice": "{{ params.media }}/rap.mp3"},
            "{{ params.media }}/products/mug.png",
        ],
        ratio="16:9",
        duration=5,
    )

    edit = WanEditVideoOperator(
        task_id="edit",
        prompt="Put the mug of the image into the scene.",
        video="{{ params.media }}/clip.mp4",
        reference_image="{{ params.media }}/products/mug.png",
    )

    words >> references >> edit

if __name__ == "__main__":
    dag.test()
