"""A retry in a real Airflow finds what the try before it bought, in whatever store that Airflow has."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from airflow.providers.common.compat.version_compat import get_base_airflow_version_tuple
from airflow.sdk import DAG, task, task_group

from airflow_wan.exceptions import LedgerUnreadable
from airflow_wan.operators.wan import WanImageToVideoOperator, WanSubmitVideoOperator, WanTextToVideoOperator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_wan.emulator.testing import MediaServer, RunningEmulator

PICTURE = "https://your-cdn.com/rap.png"


class DiesAfterTheDownload(WanImageToVideoOperator):
    """Its first try ends between the download and the moment Airflow records the success."""

    def hand_over(self, job: Any, video: Any) -> str:
        path = super().hand_over(job, video)
        if job.context["ti"].try_number == 1:
            raise RuntimeError("the worker is gone")
        return path


class DiesAfterTheSubmit(WanSubmitVideoOperator):
    """Its first try ends before its id is recorded as XCom."""

    def execute(self, context: Any) -> Any:
        wan_task_id = super().execute(context)
        if context["ti"].try_number == 1:
            raise RuntimeError("the worker is gone")
        return wan_task_id


@pytest.fixture
def wan_connection(
    wan_emulator: RunningEmulator, wan_api_key: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "wan", "password": wan_api_key, "host": wan_emulator.base_url}
    monkeypatch.setenv("AIRFLOW_CONN_WAN_DEFAULT", json.dumps(connection | {"extra": {"gateway": "dashscope"}}))
    monkeypatch.setenv("AIRFLOW__WAN__OUTPUT_BASE", str(tmp_path / "videos"))


@pytest.mark.takes_time
def test_no_retry_buys_what_an_earlier_try_bought(run_dag: Any, watch_film: Any, wan_emulator: RunningEmulator) -> None:
    with DAG("retries", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(0)}) as dag:
        DiesAfterTheDownload(task_id="animate", prompt="a kite", first_frame=PICTURE, duration=2)
        DiesAfterTheSubmit(
            task_id="submit",
            model="wan2.7-i2v",
            prompt="a balloon",
            media=[{"type": "first_frame", "url": PICTURE}],
            parameters={"duration": 2},
        )

    run = run_dag(dag)

    assert run.state == "success"
    assert (run.tries("animate"), run.tries("submit")) == (2, 2)
    assert len(wan_emulator.ledger()) == 2
    assert watch_film(run.xcom("animate")).seconds == 2.0


@pytest.mark.skipif(
    get_base_airflow_version_tuple() < (3, 3), reason="before 3.3, dag.test() calls no success callbacks"
)
def test_no_record_outlives_the_success_of_its_task(run_dag: Any, airflow_db: Path) -> None:
    with DAG("forgotten", schedule=None) as dag:
        WanImageToVideoOperator(task_id="plain", prompt="a kite", first_frame=PICTURE, duration=2)
        WanImageToVideoOperator.partial(task_id="mapped", first_frame=PICTURE, duration=2).expand(prompt=["a", "b"])

    run = run_dag(dag)

    assert run.state == "success"
    with closing(sqlite3.connect(airflow_db)) as database:
        rows = database.execute("select dag_id, task_id from task_state_store where dag_id = 'forgotten'").fetchall()
    assert rows == []


def test_a_lost_answer_is_found_again_in_the_gateways_list(
    run_dag: Any, watch_film: Any, wan_emulator: RunningEmulator, media: MediaServer
) -> None:
    wan_emulator.add_fault("create", "drop_connection")
    with DAG("lost_answer", schedule=None) as dag:
        WanImageToVideoOperator(
            task_id="animate",
            prompt="a kite",
            first_frame=media.url("rap.png"),  # the worker has to see it, too
            duration=2,
            retries=1,
            retry_delay=timedelta(0),
        )

    run = run_dag(dag)

    assert run.state == "success"
    assert [row["billed"] for row in wan_emulator.ledger()] == [True]
    assert watch_film(run.xcom("animate")).seconds == 2.0


class FrozenWhileItPreparesItsMedia(WanImageToVideoOperator):
    """Airflow gives its try up while it prepares its media, as it does with a worker whose heartbeat is missing."""

    stopped_by: ClassVar[list[str]] = []

    def make_offer(self, *args: Any) -> Any:
        offer = super().make_offer(*args)
        with self._own_row() as (instance, session):
            instance.prepare_db_for_next_try(session)
        return offer

    def buy_once(self, *args: Any) -> Any:
        try:
            return super().buy_once(*args)
        except LedgerUnreadable as error:
            self.stopped_by.append(str(error))
            with self._own_row() as (instance, _):  # no next try is wanted here, and `dag.test()` would wait for one
                instance.state = "failed"
            raise

    @contextmanager
    def _own_row(self) -> Iterator[tuple[Any, Any]]:
        from airflow.models import TaskInstance
        from airflow.utils.session import create_session

        with create_session() as session:
            yield session.query(TaskInstance).filter_by(dag_id=self.dag_id, task_id=self.task_id).one(), session


def test_a_try_that_airflow_has_given_up_buys_nothing(run_dag: Any, wan_emulator: RunningEmulator) -> None:
    with DAG("frozen", schedule=None) as dag:
        FrozenWhileItPreparesItsMedia(task_id="animate", prompt="a kite", first_frame=PICTURE, duration=2)

    with suppress(Exception):  # Airflow itself does not know what to do with the end of such a try
        run_dag(dag)

    assert len(FrozenWhileItPreparesItsMedia.stopped_by) == 1
    assert wan_emulator.requests() == []


def test_a_mapped_instance_does_not_take_the_video_of_another_one(
    run_dag: Any, wan_emulator: RunningEmulator, media: MediaServer
) -> None:
    """One prompt, two pictures; the second create is never accepted, and the list has the first one's task."""
    wan_emulator.add_fault("create", "drop_connection", accepted=False, after=1)
    with DAG("mapped_pictures", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(0)}) as dag:
        WanImageToVideoOperator.partial(task_id="animate", prompt="a kite", duration=2).expand(
            first_frame=[media.url("rap.png"), media.url("products/mug.png")]
        )

    run = run_dag(dag)

    # `dag.test()` runs the instances in any order; the one that comes second gets no answer.
    assert sorted(run.task_state("animate", index) for index in (0, 1)) == ["failed", "success"]
    assert "does not settle it" in str(run.error("animate"))
    assert len(wan_emulator.ledger()) == 1


def test_a_mapped_instance_finds_its_own_video_among_others(run_dag: Any, wan_emulator: RunningEmulator) -> None:
    wan_emulator.add_fault("create", "drop_connection", after=1)
    with DAG("mapped_words", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(0)}) as dag:
        WanTextToVideoOperator.partial(task_id="write", prompt="a kite", duration=2).expand(seed=[1, 2])

    run = run_dag(dag)

    assert [run.task_state("write", index) for index in (0, 1)] == ["success", "success"]
    videos = [run.xcom("write", "wan_video", index)["wan_task_id"] for index in (0, 1)]
    assert sorted(videos) == sorted(row["task_id"] for row in wan_emulator.ledger())


@pytest.mark.parametrize(
    ("named", "takes"),
    [
        ("seeds", {"seed": [1, 2]}),
        ("paths", {"output_path": ["1.mp4", "2.mp4"]}),
        ("paths_and_a_model", {"output_path": ["1.mp4", "2.mp4"], "model": ["wan2.7-i2v"]}),
        ("twice", {"duration": [2, 2]}),
        ("by_another_task", None),
    ],
)
def test_a_take_of_one_picture_is_not_taken_for_another_take(
    named: str, takes: dict[str, list[Any]] | None, run_dag: Any, wan_emulator: RunningEmulator, media: MediaServer
) -> None:
    """One prompt and one picture, twice. No create is answered, and the first one is never accepted."""
    wan_emulator.add_fault("create", "drop_connection", accepted=False)
    wan_emulator.add_fault("create", "drop_connection", after=1)
    with DAG(f"takes_{named}", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(0)}) as dag:

        @task
        def two_seeds() -> list[dict[str, int]]:
            return [{"seed": 1, "duration": 2}, {"seed": 2, "duration": 2}]

        shared = {"duration": 2} if takes and "duration" not in takes else {}
        take = WanImageToVideoOperator.partial(
            task_id="take", prompt="a kite", first_frame=media.url("rap.png"), **shared
        )
        take.expand(**takes) if takes else take.expand_kwargs(two_seeds())

    run = run_dag(dag)

    assert len(wan_emulator.ledger()) == 1
    assert [run.task_state("take", index) for index in (0, 1)] == ["failed", "failed"]
    assert "words and picture" in str(run.error("take"))


def test_pictures_that_another_task_has_listed_tell_their_videos_apart(
    run_dag: Any, wan_emulator: RunningEmulator, media: MediaServer
) -> None:
    """One prompt, two pictures. No create is answered, and the second one is never accepted."""
    wan_emulator.add_fault("create", "drop_connection")
    wan_emulator.add_fault("create", "drop_connection", after=1, accepted=False)
    with DAG("listed", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(0)}) as dag:

        @task
        def pictures() -> list[dict[str, str]]:
            names = ("rap.png", "products/mug.png")
            return [{"first_frame": media.url(name), "output_path": f"{name}.mp4"} for name in names]

        WanImageToVideoOperator.partial(task_id="animate", prompt="a kite", duration=2).expand_kwargs(pictures())

    run = run_dag(dag)

    (bill,) = wan_emulator.ledger()
    states = {run.task_state("animate", index): index for index in (0, 1)}
    assert states.keys() == {"success", "failed"}
    assert run.xcom("animate", "wan_video", states["success"])["wan_task_id"] == bill["task_id"]


def test_in_a_mapped_task_group_the_tasks_that_follow_are_no_obstacle(
    run_dag: Any, wan_emulator: RunningEmulator
) -> None:
    wan_emulator.add_fault("create", "drop_connection", after=1)
    with DAG("group", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(0)}) as dag:

        @task_group
        def clip(seed: int) -> None:
            first, second = (
                WanTextToVideoOperator(task_id=name, prompt="a kite", duration=2, seed=seed)
                for name in ("first", "second")
            )
            first >> second

        clip.expand(seed=[1, 2])

    run = run_dag(dag)

    tasks = [(name, index) for name in ("clip.first", "clip.second") for index in (0, 1)]
    assert [run.task_state(*one) for one in tasks] == ["success"] * 4
    videos = {run.xcom(name, "wan_video", index)["wan_task_id"] for name, index in tasks}
    assert videos == {row["task_id"] for row in wan_emulator.ledger()}


def test_a_task_that_was_skipped_has_ordered_nothing(run_dag: Any, wan_emulator: RunningEmulator) -> None:
    wan_emulator.add_fault("create", "drop_connection")
    with DAG("branches", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(0)}) as dag:

        @task.branch
        def which() -> str:
            return "left"

        left, right = (
            WanTextToVideoOperator(task_id=name, prompt="a kite", duration=2, seed=seed)
            for seed, name in enumerate(("left", "right"))
        )
        which() >> [left, right]

    run = run_dag(dag)

    assert [run.task_state("left"), run.task_state("right")] == ["success", "skipped"]
    assert len(wan_emulator.ledger()) == 1
