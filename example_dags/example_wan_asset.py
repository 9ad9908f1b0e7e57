"""A clip a day as an asset: one DAG makes the clip, another runs for each new clip and reads what it cost.

`max_cost` limits what the task may spend. With `reuse`, which is the default, a task that runs again returns the clip
that is there instead of buying a second one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Asset, task

from airflow_wan.operators.wan import WanTextToVideoOperator

clip_of_the_day = Asset(name="wan_clip_of_the_day", uri="wan-clips://clip-of-the-day")

with DAG(
    dag_id="example_wan_clip_of_the_day",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["wan", "example"],
) as dag:
    WanTextToVideoOperator(
        task_id="film",
        prompt="A lighthouse on a cliff, seen from the sea; the weather of {{ dag_run.run_after | ds }}.",
        ratio="16:9",
        duration=5,
        max_cost=1.0,
        output_path="clip-of-the-day/{{ dag_run.run_after | ds }}.mp4",
        outlets=[clip_of_the_day],
    )

with DAG(dag_id="example_wan_clip_published", schedule=[clip_of_the_day], tags=["wan", "example"]) as on_new_clip:

    @task
    def publish(triggering_asset_events: Any = None) -> list[str]:
        """Print each new clip; a real DAG would upload it."""
        clips = [event.extra for event in triggering_asset_events[clip_of_the_day]]
        for clip in clips:
            print(f"{clip['path']}: {clip['duration_s']} s, {clip['spent_usd']} USD, sha256 {clip['sha256']}")  # noqa: T201
        return [clip["path"] for clip in clips]

    publish()

if __name__ == "__main__":
    dag.test()
