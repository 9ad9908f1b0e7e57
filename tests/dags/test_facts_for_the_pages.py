"""What real tasks leave in Airflow's database is what the pages read from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow_wan.emulator.testing import RunningEmulator


def left_by(task_id: str) -> dict[str, Any]:
    """Return the XComs of the last run of a task, as they stand in the database."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import Text, cast, select

    with create_session() as session:
        rows = session.execute(
            select(XComModel.key, cast(XComModel.value, Text))
            .where(XComModel.task_id == task_id)
            .order_by(XComModel.dag_run_id)
        )
        return dict(tuple(row) for row in rows)


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_video_and_a_failure_can_be_read(
    run_dag: Any, wan_emulator: RunningEmulator, videos: Path, deferrable: bool
) -> None:
    from airflow.sdk import DAG

    from airflow_wan.operators.wan import WanTextToVideoOperator
    from airflow_wan.pages.facts import read_status, read_video

    with DAG("films_for_pages", schedule=None) as dag:
        for task_id, seconds in (("film", 2), ("broken", 99)):
            WanTextToVideoOperator(
                task_id=task_id,
                prompt="Rain.",
                duration=seconds,
                deferrable=deferrable,
                output_path=str(videos / f"{task_id}.mp4"),
                seed=7,
            )
    run_dag(dag)

    left = left_by("film")
    status, video = read_status(left["wan_status"]), read_video(left["wan_video"])
    assert status is not None
    assert video is not None
    assert (status.state, status.prompt, status.part("parameters")["seed"]) == ("done", "Rain.", 7)
    assert {"submitted", "downloaded", "published"} <= status.times.keys()
    assert Path(video.path).stat().st_size == video.bytes
    assert "films_for_pages" in left["_link_VideoLink"]
    failed = read_status(left_by("broken")["wan_status"])
    assert failed is not None
    assert failed.failure is not None
    assert (failed.state, failed.failure.kind, failed.failure.billed) == ("failed", "InvalidVideoRequest", False)


@pytest.mark.parametrize(
    ("gateway", "model"),
    [
        ("apiyi", "wan2.7-t2v"),  # it tells no times
        ("dashscope", "wan2.6-t2v"),  # which takes a size there
    ],
)
def test_the_page_tells_the_resolution_and_each_step(
    run_dag: Any,
    wan_connection: None,
    wan_emulator: RunningEmulator,
    videos: Path,
    monkeypatch: pytest.MonkeyPatch,
    gateway: str,
    model: str,
) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from airflow_wan.operators.wan import WanTextToVideoOperator
    from airflow_wan.pages.records import Instance
    from airflow_wan.pages.views import task_video

    connection = {"conn_type": "wan", "password": "sk-steps-0123456789", "host": wan_emulator.base_url}
    monkeypatch.setenv("AIRFLOW_CONN_WAN_DEFAULT", json.dumps(connection | {"extra": {"gateway": gateway}}))
    with DAG(f"steps_at_{gateway}", schedule=None) as dag:
        WanTextToVideoOperator(
            task_id="film",
            model=model,
            prompt="Rain.",
            duration=2,
            resolution="1080P",
            deferrable=False,
            output_path=str(videos / "film.mp4"),
        )
    assert run_dag(dag).state == "success"

    with create_session() as session:
        run_id = session.scalar(select(DagRun.run_id).where(DagRun.dag_id == dag.dag_id))
        shown = task_video(session, Instance(dag.dag_id, str(run_id), "film"), [dag.dag_id])
    assert shown.resolution == "1080P"
    steps = {moment.name for moment in shown.timeline} - {"running"}  # which a short video may not be seen in
    assert steps == {"intent", "submitted", "ended", "downloaded", "published"}
