"""Many clips a day by dynamic task mapping, with a pool that limits how many jobs run at the gateway at the same time.

Create a pool that counts deferred tasks too; otherwise it does not limit the tasks that wait:
`airflow pools set --include-deferred wan 4 "Wan jobs at the same time"`. APIYI recommends at most 4 to 8.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param, task

from airflow_wan.operators.wan import WanImageToVideoOperator

with DAG(
    dag_id="example_wan_many_clips",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"wan_conn_id": "wan_default", "retries": 2, "retry_delay": timedelta(minutes=2)},
    tags=["wan", "example"],
    params={"images": Param("https://your-cdn.com/products", type="string", description="Folder of the images")},
) as dag:

    @task
    def todays_clips(params: dict[str, str] | None = None) -> list[dict[str, str]]:
        """Return the arguments of each clip; a real DAG would query a database."""
        base = (params or {})["images"]
        return [
            {"first_frame": f"{base}/mug.png", "prompt": "The mug turns slowly; steam rises."},
            {"first_frame": f"{base}/lamp.png", "prompt": "The lamp lights up; dust glitters in its beam."},
            {"first_frame": f"{base}/chair.png", "prompt": "The chair rocks gently in the evening sun."},
        ]

    clips = WanImageToVideoOperator.partial(
        task_id="animate",
        duration=5,
        resolution="720P",
        pool="wan",
        output_path="{{ dag_run.run_after | ds }}/clip-{{ ti.map_index }}.mp4",
    ).expand_kwargs(todays_clips())

    @task
    def publish(paths: list[str]) -> int:
        """Print the paths of the day; a real DAG would upload the files."""
        for path in paths:
            print(path)  # noqa: T201
        return len(paths)

    publish(clips.output)

if __name__ == "__main__":
    dag.test()
