"""One DAG makes a clip, another one publishes it: they only share the asset, and each team can change its own.

Whenever there is a new clip, Airflow runs the DAG that publishes. The event of the asset says where the clip is, what
it cost, and its digest. A run that finds its clip made already pays nothing, and says so (`reused`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Asset, ObjectStoragePath, Param, task

from airflow_wan.operators.wan import WanTextToVideoOperator

clip_of_the_day = Asset(name="wan_clip_of_the_day", uri="wan-clips://clip-of-the-day")

with DAG(
    dag_id="recipe_clip_of_the_day",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["wan", "recipe"],
) as dag:
    WanTextToVideoOperator(
        task_id="film",
        prompt="A lighthouse on a cliff, seen from the sea; the weather of {{ dag_run.run_after | ds }}.",
        duration=5,
        max_cost=1.0,
        output_path="clip-of-the-day/{{ dag_run.run_after | ds }}.mp4",
        outlets=[clip_of_the_day],
    )

with DAG(
    dag_id="recipe_publish_new_clips",
    schedule=[clip_of_the_day],
    tags=["wan", "recipe"],
    params={"site": Param("s3://aws_default@your-site/clips", type="string", description="Where visitors find clips")},
) as on_new_clip:

    @task
    def publish(triggering_asset_events: Any = None, params: Any = None) -> list[str]:
        """Copy each new clip to the site, and return where it is there."""
        published = []
        for event in triggering_asset_events[clip_of_the_day]:
            clip = ObjectStoragePath(event.extra["path"])
            target = ObjectStoragePath(params["site"]) / clip.name
            clip.copy(target)
            published.append(str(target))
        return published

    publish()

if __name__ == "__main__":
    dag.test()
