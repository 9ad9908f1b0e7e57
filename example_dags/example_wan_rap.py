"""A portrait raps to a voice track: submit → sensor → a task that gets the path through XCom and opens the file."""

from __future__ import annotations

from airflow.sdk import DAG, ObjectStoragePath, Param, task

from airflow_wan.operators.wan import WanSubmitVideoOperator
from airflow_wan.sensors.wan import WanVideoSensor

with DAG(
    dag_id="example_wan_rap",
    schedule=None,
    catchup=False,
    tags=["wan", "example"],
    params={
        "first_frame": Param("https://your-cdn.com/rap.png", type="string", description="Public https URL"),
        "driving_audio": Param("https://your-cdn.com/rap.mp3", type="string", description="Public https URL"),
    },
) as dag:
    submit = WanSubmitVideoOperator(
        task_id="submit",
        model="wan2.7-i2v",
        prompt="一个由喷漆所画成的少年从墙上活过来,演唱英文 rap,夜晚铁路桥下,电影级光影",
        media=[
            {"type": "first_frame", "url": "{{ params.first_frame }}"},
            {"type": "driving_audio", "url": "{{ params.driving_audio }}"},
        ],
        parameters={"resolution": "720P", "duration": 10, "prompt_extend": True, "watermark": True},
    )

    wait = WanVideoSensor(task_id="wait", wan_task_id=submit.output)

    @task
    def check(video: str) -> int:
        """Open the file, as any next task would, and return its size in bytes."""
        with ObjectStoragePath(video).open("rb") as file:
            header = file.read(12)
        if header[4:8] != b"ftyp":
            raise ValueError(f"{video} is not an mp4 file")
        return ObjectStoragePath(video).stat().st_size

    check(wait.output)

if __name__ == "__main__":
    dag.test()
