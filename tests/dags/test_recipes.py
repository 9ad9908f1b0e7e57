"""The recipes, whole and as they are: what they make, and what they pay for."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest
from airflow.providers.common.compat.version_compat import get_base_airflow_version_tuple
from media_files import encoded_tone
from PIL import Image

from airflow_wan.exceptions import BudgetExceeded
from airflow_wan.operators.wan import WanImageToVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_wan.emulator.testing import MediaServer, RunningEmulator

RECIPES = sorted((Path(__file__).parents[2] / "example_dags" / "recipes").glob("*.py"))
NEEDS_3_1 = pytest.mark.skipif(
    get_base_airflow_version_tuple() < (3, 1), reason="before Airflow 3.1, no task waits for a person"
)


def billed(emulator: RunningEmulator) -> list[Any]:
    return [(bill["seconds"], bill["resolution"]) for bill in emulator.ledger() if bill["billed"]]


@pytest.fixture
def dashscope(wan_connection: None, monkeypatch: pytest.MonkeyPatch, wan_emulator: RunningEmulator) -> None:
    """Let the emulator be the gateway that takes uploads."""
    connection = {"conn_type": "wan", "password": "sk-recipes-0123456789", "host": wan_emulator.base_url}
    monkeypatch.setenv("AIRFLOW_CONN_WAN_DEFAULT", json.dumps(connection | {"extra": {"gateway": "dashscope"}}))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60


def test_there_are_six_and_the_page_names_each() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()

    assert len(RECIPES) == 6
    assert [path.name for path in RECIPES if f"recipes/{path.name})" not in page] == []


# A clip a day, from a table ------------------------------------------------------------------------------------------


def test_each_prompt_that_the_table_has_for_today_becomes_a_clip(
    run_dag: Any, example: Any, wan_emulator: RunningEmulator, tmp_path: Path, videos: Path
) -> None:
    today, tomorrow = datetime.now(tz=UTC), datetime.now(tz=UTC) + timedelta(days=1)
    table = tmp_path / "prompts.csv"
    table.write_text(
        f'weekday,prompt\n{today:%A},"A lighthouse, in fog"\n{tomorrow:%A},A harbour\n{today:%A},A gull on a mast\n'
    )

    run = run_dag(example("recipes/daily_clips"), table=f"file://{table}")

    assert run.state == "success"
    assert billed(wan_emulator) == [(5, "720P")] * 2
    prompts = [request["body"]["input"]["prompt"] for request in wan_emulator.requests()]
    assert sorted(prompts) == ["A gull on a mast", "A lighthouse, in fog"]
    paths = [Path(run.xcom("film", map_index=index)) for index in (0, 1)]
    assert [path.relative_to(videos).parts[0] for path in paths] == ["daily"] * 2


def test_a_day_costs_no_more_than_its_budget(
    run_dag: Any, example: Any, wan_emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__MAX_COST_PER_DAG_RUN", "0.60")
    table = tmp_path / "prompts.csv"
    table.write_text(f"weekday,prompt\n{datetime.now(tz=UTC):%A},A harbour\n{datetime.now(tz=UTC):%A},A gull\n")

    run = run_dag(example("recipes/daily_clips"), table=f"file://{table}")

    assert sorted(run.task_state("film", map_index=index) for index in (0, 1)) == ["failed", "success"]
    assert isinstance(run.error("film"), BudgetExceeded)
    assert len(wan_emulator.ledger()) == 1


# A catalogue of products ---------------------------------------------------------------------------------------------


def test_photos_become_clips_and_a_catalogue_and_only_new_photos_are_paid_for(
    run_dag: Any, example: Any, wan_emulator: RunningEmulator, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (640, 480), "teal").save(photos / "mug.jpg")
    Image.new("RGBA", (640, 480), (90, 90, 0, 120)).save(photos / "mug.png")
    (photos / "notes.txt").write_text("no photo")
    dag = example("recipes/product_catalogue")

    run = run_dag(dag, bucket=f"file://{tmp_path}")

    assert run.state == "success"
    assert len(billed(wan_emulator)) == 2
    entries = [json.loads(line) for line in (tmp_path / "clips" / "catalogue.jsonl").read_text().splitlines()]
    assert [(entry["product"], entry["duration_s"]) for entry in entries] == [("mug.jpg", 5.0), ("mug.png", 5.0)]
    assert all(Path(entry["path"]).is_file() for entry in entries)

    Image.new("RGB", (640, 480), "navy").save(photos / "chair.png")
    assert run_dag(dag, bucket=f"file://{tmp_path}").state == "success"
    assert len(billed(wan_emulator)) == 3
    assert len((tmp_path / "clips" / "catalogue.jsonl").read_text().splitlines()) == 3


# A story in shots ----------------------------------------------------------------------------------------------------


def frames(path: str) -> list[Any]:
    with av.open(path) as container:
        return [frame.to_image().resize((32, 18)) for frame in container.decode(video=0)]


def differ(one: Image.Image, other: Image.Image) -> float:
    pairs = list(zip(one.tobytes(), other.tobytes(), strict=True))
    return sum(abs(a - b) for a, b in pairs) / len(pairs)


class DiesOnceItHasPaid(WanImageToVideoOperator):
    """Its first try ends between the purchase and the wait."""

    def buy_once(self, context: Any, *arguments: Any) -> Any:
        purchase = super().buy_once(context, *arguments)
        if context["ti"].try_number == 1:
            raise RuntimeError("the worker is gone")
        return purchase


def test_a_film_is_as_long_as_its_shots_and_a_retried_shot_is_paid_for_once(
    run_dag: Any, example: Any, dashscope: None, wan_emulator: RunningEmulator, media: MediaServer
) -> None:
    dag = example("recipes/story_in_shots")
    shot = dag.get_task("shot_2")
    shot.__class__, shot.retry_delay = DiesOnceItHasPaid, timedelta(0)

    run = run_dag(dag, opening=media.url("rap.png"))

    assert run.state == "success"
    assert run.tries("shot_2") == 2
    assert billed(wan_emulator) == [(5, "720P")] * 3
    shots = [run.xcom(f"shot_{number}") for number in (1, 2, 3)]
    film = run.xcom("join")
    shown = frames(film)
    assert len(shown) == 3 * 5 * 24
    with av.open(film) as container:
        assert float(container.duration / av.time_base) == pytest.approx(15.0, abs=0.03)
        assert sum(frame.samples for frame in container.decode(audio=0)) == pytest.approx(15 * 48_000, abs=2048)
    # Each shot begins where the one before it ended; the emulator only crops and scales that picture.
    for number in (1, 2):
        end = Image.open(run.xcom(f"last_frame_{number}")).convert("RGB").resize((32, 18))
        assert differ(end, frames(shots[number - 1])[-1]) < 3
    sent = [request["body"]["input"]["media"][0]["url"] for request in wan_emulator.requests()]
    assert [url.partition(":")[0] for url in sent] == ["http", "oss", "oss"]


# A narration ---------------------------------------------------------------------------------------------------------


def test_a_portrait_speaks_as_long_as_the_speech_lasts(
    run_dag: Any, example: Any, dashscope: None, watch_film: Any, wan_emulator: RunningEmulator, tmp_path: Path
) -> None:
    Image.new("RGBA", (640, 640), (90, 60, 30, 255)).save(tmp_path / "narrator.png")
    (tmp_path / "chapter.m4a").write_bytes(encoded_tone(2.6, "ipod", "aac"))

    run = run_dag(
        example("recipes/narration"), portrait=str(tmp_path / "narrator.png"), speech=str(tmp_path / "chapter.m4a")
    )

    assert run.state == "success"
    assert billed(wan_emulator) == [(3, "720P")]
    film = watch_film(run.xcom("narrate"))
    assert (film.seconds, film.has_audio) == (3.0, True)


# A take that a person has approved -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def airflow_api(airflow_db: Path) -> Iterator[Any]:
    """Return a client of Airflow's API, in this process, that is logged in."""
    from page_server import serving, token_of

    with serving() as client:
        client.headers["Authorization"] = f"Bearer {token_of('admin')}"
        yield client


@pytest.fixture
def trigger_reads_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Airflow 3.3, a trigger waits for the answer, and `dag.test()` passes no request of such a trigger on."""
    if get_base_airflow_version_tuple() >= (3, 3):
        return
    from airflow.api_fastapi.execution_api.datamodels.hitl import HITLDetailResponse
    from airflow.models.hitl import HITLDetail
    from airflow.providers.standard.triggers import hitl
    from airflow.utils.session import create_session
    from sqlalchemy import select

    def read(ti_id: Any) -> HITLDetailResponse:
        with create_session() as session:
            details = session.scalars(select(HITLDetail))
            (detail,) = (one for one in details if str(one.ti_id) == str(ti_id))  # text in Airflow 3.1, a UUID in 3.2
            return HITLDetailResponse.from_hitl_detail_orm(detail)

    monkeypatch.setattr(hitl, "get_hitl_detail_content_detail", read)


@pytest.fixture
def answer(airflow_api: Any, trigger_reads_answers: None) -> Callable[[str], threading.Thread]:
    """Return a function that answers the next question, as the page of required actions does."""

    def wait_and_answer(option: str) -> None:
        asked = _question(deadline=time.monotonic() + 120)
        run = f"/api/v2/dags/{asked.dag_id}/dagRuns/{asked.run_id}"
        response = airflow_api.patch(
            f"{run}/taskInstances/{asked.task_id}/-1/hitlDetails", json={"chosen_options": [option], "params_input": {}}
        )
        assert response.status_code == 200, response.text

    def begin(option: str) -> threading.Thread:
        thread = threading.Thread(target=wait_and_answer, args=(option,), daemon=True)
        thread.start()
        return thread

    return begin


def _question(deadline: float) -> Any:
    """Wait until a task asks a person and waits, and return its task instance."""
    from airflow.models import TaskInstance
    from airflow.models.hitl import HITLDetail
    from airflow.utils.session import create_session
    from sqlalchemy import select

    while time.monotonic() < deadline:
        with create_session() as session:
            asking = select(TaskInstance).join(HITLDetail, HITLDetail.ti_id == TaskInstance.id)
            found = session.scalars(
                asking.where(
                    HITLDetail.responded_at.is_(None), TaskInstance.state.in_(["awaiting_input", "deferred", "queued"])
                )
            ).first()
            if found is not None:
                session.expunge(found)
                return found
        threading.Event().wait(0.1)
    raise AssertionError("nobody was asked")


@NEEDS_3_1
@pytest.mark.parametrize(
    ("option", "take", "paid"),
    [("Approve", "success", [(5, "720P"), (5, "1080P")]), ("Reject", "skipped", [(5, "720P")])],
)
def test_the_take_is_paid_for_only_after_a_yes(
    option: str,
    take: str,
    paid: list[Any],
    answer: Callable[[str], threading.Thread],
    run_dag: Any,
    example: Any,
    wan_emulator: RunningEmulator,
) -> None:
    person = answer(option)

    run = run_dag(example("recipes/approved_take"))

    person.join(30)
    assert run.state == "success"
    assert run.task_state("take") == take
    assert billed(wan_emulator) == paid
    assert {request["body"]["parameters"]["seed"] for request in wan_emulator.requests()} == {20261126}
    page = "/wan/video/" + run.xcom("draft", key="_link_VideoLink").partition("/wan/video/")[2]
    assert f"[Watch the draft]({page})" in run.rendered("approve")["body"]


# Publishing on an event ----------------------------------------------------------------------------------------------


def test_each_new_clip_is_published_by_the_dag_that_its_event_starts(
    run_dag: Any, example: Any, wan_emulator: RunningEmulator, tmp_path: Path, triggered_by_last_event: None
) -> None:
    made = run_dag(example("recipes/publish_new_clips"))
    assert made.state == "success"

    (tmp_path / "site").mkdir()
    run = run_dag(example("recipes/publish_new_clips", "on_new_clip"), site=f"file://{tmp_path}/site")

    assert run.state == "success"
    (published,) = run.xcom("publish")
    assert Path(published.removeprefix("file://")).read_bytes() == Path(made.xcom("film")).read_bytes()
    assert billed(wan_emulator) == [(5, "720P")]


@pytest.fixture
def triggered_by_last_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a DAG run have consumed the last asset event, as it has if the scheduler starts it for the event."""
    from airflow.models.asset import AssetEvent
    from sqlalchemy import select

    if get_base_airflow_version_tuple() >= (3, 1):
        from airflow.models import dagrun as module

        name = "get_or_create_dagrun"
    else:
        from airflow.models import dag as module

        name = "_get_or_create_dagrun"
    make = getattr(module, name)

    def make_and_consume(*arguments: Any, session: Any, **named: Any) -> Any:
        run = make(*arguments, session=session, **named)
        if run.dag_id == "recipe_publish_new_clips":
            run.consumed_asset_events.append(session.scalars(select(AssetEvent).order_by(AssetEvent.id.desc())).first())
            session.commit()
        return run

    monkeypatch.setattr(module, name, make_and_consume)
