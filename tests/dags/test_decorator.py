"""`@task.wan_video`, dry runs and budgets in DAGs, with Airflow's own decorators, mapping and states."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, task

from airflow_wan.exceptions import BudgetExceeded, InvalidVideoRequest, RequestChanged
from airflow_wan.operators.wan import WanTextToVideoOperator

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_wan.emulator.testing import RunningEmulator

RETRIED = {"retries": 2, "retry_delay": timedelta(0)}
PICTURE = "https://your-cdn.com/rap.png"


def prompts(emulator: RunningEmulator) -> list[str]:
    return sorted(request["body"]["input"]["prompt"] for request in emulator.requests())


@pytest.mark.takes_time
def test_functions_make_videos(run_dag: Any, wan_emulator: RunningEmulator, watch_film: Any, tmp_path: Path) -> None:
    calls: list[str] = []
    with DAG("decorated", schedule=None) as dag:

        @task
        def weather() -> str:
            return "calm"

        @task.wan_video(duration=2)
        def sea(mood: str, run_id: str | None = None) -> str:
            """Show the sea."""
            calls.append(str(run_id))
            return f"The sea is {mood}. {{{{ run_id }}}}"

        @task.wan_video(retries=1)
        def kite(colour: str, place: str) -> dict[str, Any]:
            calls.append(colour)
            return {
                "prompt": f"A {colour} kite over {place}.",
                "first_frame": PICTURE,
                "duration": 2,
                "output_path": tmp_path / f"{colour}.mp4",
            }

        first = sea(weather())
        mapped = kite.partial(place="a bay").expand(colour=["red", "blue"])
        sea.override(task_id="again", duration=3)("rough") << first
        first >> mapped

    run = run_dag(dag)

    assert run.state == "success"
    assert len(wan_emulator.ledger()) == 4
    # Once each, although the tasks resume after their wait.
    assert len(calls) == 4
    assert prompts(wan_emulator) == [
        "A blue kite over a bay.",
        "A red kite over a bay.",
        "The sea is calm. {{ run_id }}",
        "The sea is rough. {{ run_id }}",
    ]
    assert {row["model"] for row in wan_emulator.ledger()} == {"wan2.7-t2v", "wan2.7-i2v"}
    assert watch_film(run.xcom("sea")).seconds == 2.0
    assert watch_film(run.xcom("again")).seconds == 3.0
    assert [run.xcom("kite", map_index=index) for index in (0, 1)] == [
        str(tmp_path / "red.mp4"),
        str(tmp_path / "blue.mp4"),
    ]
    assert run.rendered("sea")["op_args"] == ["calm"] or run.rendered("sea")["op_args"] == ("calm",)
    assert dag.get_task("sea").doc_md == "Show the sea."


def test_a_retry_with_other_words_pays_nothing(run_dag: Any, wan_emulator: RunningEmulator) -> None:
    words = iter(["a red kite", "a blue kite", "a green kite"])

    def die(context: Any, result: Any = None) -> None:
        raise RuntimeError("the worker is gone before Airflow has recorded the success")

    with DAG("other_words", schedule=None, default_args=RETRIED) as dag:

        @task.wan_video(duration=2, post_execute=die)
        def kite() -> str:
            return next(words)

        kite()

    run = run_dag(dag)

    assert run.state == "failed"
    assert isinstance(run.error("kite"), RequestChanged)
    assert run.tries("kite") == 2
    assert prompts(wan_emulator) == ["a red kite"]


def test_a_name_that_is_none_fails_at_once(run_dag: Any, wan_emulator: RunningEmulator) -> None:
    with DAG("misspelt", schedule=None, default_args=RETRIED) as dag:

        @task.wan_video
        def kite() -> dict[str, str]:
            return {"promt": "a kite"}

        kite()

    run = run_dag(dag)

    assert isinstance(run.error("kite"), InvalidVideoRequest)
    assert run.tries("kite") == 1
    assert wan_emulator.ledger() == []


def test_a_signature_that_a_function_returns_is_not_shown(run_dag: Any, wan_emulator: RunningEmulator) -> None:
    with DAG("signed", schedule=None) as dag:

        @task.wan_video(duration=2)
        def kite(url: str) -> dict[str, str]:
            return {"prompt": "a kite", "first_frame": f"{url}?OSSAccessKeyId=k&Expires=1&Signature=Hush-hush-13"}

        kite(PICTURE)

    run = run_dag(dag)

    assert run.state == "success"
    told = json.dumps([run.rendered("kite"), run.xcom("kite", key="wan_status")])
    assert PICTURE in told
    assert "Hush-hush" not in told


def test_a_dry_run_skips_what_depends_on_the_video(run_dag: Any, wan_emulator: RunningEmulator) -> None:
    with DAG("dry", schedule=None, params={"dry": True}, default_args=RETRIED) as dag:
        film = WanTextToVideoOperator(
            task_id="film", prompt="a kite", duration=2, dry_run="{{ params.dry }}", deferrable=False
        )

        @task
        def publish(path: str) -> str:
            return path

        publish(film.output)  # type: ignore[arg-type]

    run = run_dag(dag)

    assert run.state == "success"
    assert [run.task_state(name) for name in ("film", "publish")] == ["skipped", "skipped"]
    assert run.xcom("film", key="wan_status")["estimated_usd"] > 0
    assert wan_emulator.ledger() == []


def test_a_run_that_has_spent_its_budget_fails_without_a_retry_and_tells_the_numbers(
    run_dag: Any, wan_emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__MAX_COST_PER_DAG_RUN", "0.4")
    told: list[BudgetExceeded] = []
    with DAG("thrifty", schedule=None, default_args=RETRIED) as dag:
        WanTextToVideoOperator.partial(
            task_id="film", duration=2, on_failure_callback=lambda context: told.append(context["exception"])
        ).expand(prompt=["a kite", "a mug", "a lamp"])

    run = run_dag(dag)

    assert run.state == "failed"
    assert sorted(run.task_state("film", index) for index in range(3)) == ["failed", "success", "success"]
    assert len(wan_emulator.ledger()) == 2
    error = run.error("film")
    assert isinstance(error, (BudgetExceeded, type(None)))
    if isinstance(error, BudgetExceeded):
        assert isinstance(error, AirflowFailException)
        assert (error.scope, error.budget_usd) == ("dag_run", 0.4)
