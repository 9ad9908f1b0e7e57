"""Every day a clip for each prompt that a table has for that day, in a pool and within a budget.

The table is a CSV file with the columns `weekday` and `prompt`:

    weekday,prompt
    Monday,A lighthouse in the morning fog; a gull flies past.

The pool limits how many videos are made at the same time. Create it once, so that it counts waiting tasks, too:
`airflow pools set --include-deferred wan 4 "Videos at the same time"`. `max_cost` is what each clip may cost, in USD.
The option `max_cost_per_dag_run` in the section `[wan]` of airflow.cfg is what all clips of a day may cost together.
A clip for which there is no room is not ordered, and its task fails with `BudgetExceeded`.
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, Param, task

from airflow_wan.operators.wan import WanTextToVideoOperator

with DAG(
    dag_id="recipe_daily_clips",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2},
    tags=["wan", "recipe"],
    params={"table": Param("s3://aws_default@your-bucket/prompts.csv", type="string")},
) as dag:

    @task
    def prompts_of_the_day(params: Any = None, dag_run: Any = None) -> list[str]:
        """Read the table, and return the prompts of this weekday."""
        table = csv.DictReader(io.StringIO(ObjectStoragePath(params["table"]).read_text()))
        return [row["prompt"] for row in table if row["weekday"] == f"{dag_run.run_after:%A}"]

    WanTextToVideoOperator.partial(
        task_id="film",
        duration=5,
        ratio="16:9",
        pool="wan",
        max_cost=0.50,
        output_path="daily/{{ dag_run.run_after | ds }}/{{ ti.map_index }}.mp4",
    ).expand(prompt=prompts_of_the_day())

if __name__ == "__main__":
    dag.test()
