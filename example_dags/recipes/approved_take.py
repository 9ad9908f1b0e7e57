"""A cheap draft first; a person watches it; only after a yes is the expensive take made, with the same seed.

The draft has 720P and the take 1080P. The approval waits in Airflow's page of required actions, without a worker. After
a no, the take is skipped, and costs nothing. It needs Airflow 3.1 or later.
"""

from __future__ import annotations

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param

from airflow_wan.operators.wan import WanImageToVideoOperator

with DAG(
    dag_id="recipe_approved_take",
    schedule=None,
    catchup=False,
    default_args={"retries": 2},
    tags=["wan", "recipe"],
    params={
        "first_frame": Param("https://your-cdn.com/rap.png", type="string", description="Public https URL"),
        "prompt": Param("The singer steps forward; the lights of the stage go on.", type="string"),
        "seed": Param(20261126, type="integer"),
    },
) as dag:
    shot = {
        "prompt": "{{ params.prompt }}",
        "first_frame": "{{ params.first_frame }}",
        "seed": "{{ params.seed }}",
        "duration": 5,
    }
    draft = WanImageToVideoOperator(task_id="draft", resolution="720P", **shot)

    approve = ApprovalOperator(
        task_id="approve",
        subject="Make the final take of this draft?",
        body="[Watch the draft](/wan/video/{{ dag.dag_id }}/{{ run_id | urlencode }}/draft/-1). "
        "The take in 1080P costs about 0.75 USD.",
    )

    take = WanImageToVideoOperator(task_id="take", resolution="1080P", max_cost=1.00, **shot)

    draft >> approve >> take

if __name__ == "__main__":
    dag.test()
