"""What the pages find in Airflow's database: states, pages, filters, sums and waits, also of 10,000 videos."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from page_server import NOW, READABLE, RUN, add_rows, failure_of, status_of, video_of

from airflow_wan.pages.records import Filters, Instance, VideoState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from page_server import PageServer
    from sqlalchemy.orm import Session

TODAY = date(2026, 11, 22)


@pytest.fixture
def session(pages: PageServer) -> Iterator[Session]:
    """Open the database, which is empty of runs."""
    from airflow.utils.session import create_session

    with create_session() as opened:
        yield opened


def clip(number: int, **facts: Any) -> tuple[Any, ...]:
    """A row of a video: one run each, the newest with the highest number."""
    place = {"dag_id": READABLE, "run_id": f"run_{number:05}", "task_id": "film", "map_index": -1, "state": "success"}
    place |= {name: facts.pop(name) for name in list(facts) if name in place}
    at = facts.pop("at", NOW + timedelta(seconds=number))
    video = video_of(f"/v/{number}.mp4", **facts.pop("facts", {}))
    return (*place.values(), None, at, {"wan_status": status_of(**facts), "wan_video": video})


STATES = {
    "waiting in the triggerer": ("deferred", status_of("waiting"), VideoState.WAITING),
    "waiting on a worker": ("running", status_of("waiting"), VideoState.WAITING),
    "killed while it waited": ("failed", status_of("waiting"), VideoState.FAILED),
    "done": ("success", status_of(), VideoState.DONE),
    "failed, and tried again soon": ("up_for_retry", status_of("failed", failure=failure_of()), VideoState.FAILED),
    "failed": ("failed", status_of("failed", failure=failure_of()), VideoState.FAILED),
    "skipped softly": ("skipped", status_of("failed", failure=failure_of()), VideoState.SKIPPED),
    "a dry run": ("skipped", status_of("dry_run"), VideoState.DRY_RUN),
    "skipped by a person when it was done": ("skipped", status_of(), VideoState.SKIPPED),
    "submitted only": ("success", status_of("submitted"), VideoState.SUBMITTED),
    "no word yet": ("running", None, VideoState.UNKNOWN),
}


@pytest.mark.parametrize(("airflow_state", "status", "state"), STATES.values(), ids=STATES)
def test_the_state_of_a_video(
    pages: PageServer, session: Session, airflow_state: str, status: Any, state: VideoState
) -> None:
    from airflow_wan.pages import database

    pages.leave("film", state=airflow_state, **({"wan_status": status} if status else {}))

    row = database.find_row(session, Instance(READABLE, RUN, "film"))
    assert row is not None
    assert row.state is state
    found, _ = database.newest_rows(session, {READABLE}, Filters(state=state), "")
    assert [one.state for one in found] == ([] if state in (VideoState.SUBMITTED, VideoState.UNKNOWN) else [state])
    counts = {state: 1} if status and state is not VideoState.SUBMITTED else {}
    assert dict(database.counts_of_run(session, READABLE, RUN)) == counts


def test_a_task_that_airflow_has_ended_says_so_and_that_it_may_be_billed(pages: PageServer) -> None:
    where = pages.leave("film", state="failed", wan_status=status_of("waiting"))

    page = pages.get(f"video/{where}").text

    assert "Airflow or a person ended the task (state: failed)" in page
    assert "Wan task 0f6c2b1e may be billed" in page
    assert "Perhaps" in page


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_dry_run_says_that_nothing_was_bought(pages: PageServer, language: str) -> None:
    where = pages.leave("film", state="skipped", wan_status=status_of("dry_run", wan_task_id=None))

    tab = pages.get(f"video/{where}", Cookie=f"wan_language={language}").text
    tile = pages.get("gallery", Cookie=f"wan_language={language}").text

    for page in (tab, tile):
        assert {"en": "This was a dry run: nothing was bought.", "zh": "这是试运行"}[language] in page
    assert "Airflow or a person ended" not in tab + tile
    assert {"en": "Perhaps", "zh": "可能"}[language] not in tab


def test_a_video_that_is_there_is_not_said_to_be_lost_when_its_task_is_marked_as_skipped(pages: PageServer) -> None:
    where = pages.leave("film", state="skipped", wan_status=status_of(), wan_video=video_of(pages.video()))

    assert "Airflow or a person ended" not in pages.get(f"video/{where}").text


@pytest.mark.parametrize(
    ("airflow_state", "left", "goes_on"),
    [
        ("up_for_retry", "failed", True),
        ("queued", "failed", True),
        ("running", "done", True),
        ("deferred", "waiting", True),
        ("failed", "failed", False),
        ("success", "done", False),
        ("skipped", "dry_run", False),
    ],
)
def test_a_tab_is_live_as_long_as_its_task_goes_on(
    pages: PageServer, airflow_state: str, left: Any, goes_on: bool
) -> None:
    where = pages.leave("film", state=airflow_state, wan_status=status_of(left))

    assert f'data-refresh-s="{3 if goes_on else ""}"' in pages.get(f"video/{where}").text


@pytest.mark.parametrize(
    ("run_state", "refresh_s"), [("running", "10"), ("queued", "10"), ("success", ""), ("failed", "")]
)
@pytest.mark.parametrize("left", ["done", None])
def test_a_sheet_is_live_as_long_as_its_run_goes_on_though_no_video_is_waited_for(
    pages: PageServer, run_state: str, refresh_s: str, left: Any
) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import update

    pages.leave("film", **({"wan_status": status_of(left)} if left else {}))
    with create_session() as changed:
        changed.execute(update(DagRun).values(state=run_state))

    assert f'data-refresh-s="{refresh_s}"' in pages.get(f"sheet/{READABLE}/{quote(RUN, safe='')}").text


def test_pages_follow_each_other_without_a_gap_while_new_videos_come(pages: PageServer, session: Session) -> None:
    from airflow_wan.pages import database

    add_rows([clip(number) for number in range(70)])
    seen: list[str] = []
    page: str | None = ""
    while page is not None:
        rows, page = database.newest_rows(session, {READABLE}, Filters(), page)
        seen += [row.instance.run_id for row in rows]
        add_rows([clip(1000 + len(seen))])

    assert seen == [f"run_{number:05}" for number in reversed(range(70))]


def test_pages_follow_each_other_within_one_mapped_run(pages: PageServer, session: Session) -> None:
    from airflow_wan.pages import database

    add_rows([clip(1, map_index=index) for index in range(65)])
    seen: list[int] = []
    page: str | None = ""
    while page is not None:
        rows, page = database.newest_rows(session, {READABLE}, Filters(), page)
        seen += [row.instance.map_index for row in rows]

    assert seen == list(range(65))


@pytest.mark.parametrize("page", ["x", "1", "1.1", "-1.0.a", "9" * 30 + ".0.a", "1.99999999999.a", "²·.1.a", "1.²·.a"])
def test_a_page_that_there_is_not_is_the_first(pages: PageServer, session: Session, page: str) -> None:
    from airflow_wan.pages import database

    add_rows([clip(1)])

    assert len(database.newest_rows(session, {READABLE}, Filters(), page)[0]) == 1


FILTERS = {
    "model": (Filters(model="wan2.6-t2v"), [3]),
    "text": (Filters(text="RAIN"), [2]),
    "Chinese text": (Filters(text="喷漆"), [4]),
    "text with signs": (Filters(text="100%_\\"), [5]),
    "a quote": (Filters(text="'\""), []),
    "since": (Filters(since=date(2026, 11, 23)), [6]),
    "until": (Filters(until=date(2026, 11, 21)), [7]),
    "state": (Filters(state=VideoState.FAILED), [8]),
    "several": (Filters(text="rain", state=VideoState.FAILED), []),
    "a DAG": (Filters(dag_id="other_films"), [9]),
}


@pytest.mark.parametrize(("filters", "found"), FILTERS.values(), ids=FILTERS)
def test_filters(pages: PageServer, session: Session, filters: Filters, found: list[int]) -> None:
    from airflow_wan.pages import database

    add_rows(
        [
            clip(1),
            clip(2, prompt="A lamp in the Rain."),
            clip(3, model="wan2.6-t2v"),
            clip(4, prompt="一个由喷漆所画成的少年"),
            clip(5, prompt="100%_\\ wool"),
            clip(6, at=datetime(2026, 11, 23, 0, 30, tzinfo=UTC)),
            clip(7, at=datetime(2026, 11, 21, 23, 30, tzinfo=UTC)),
            (*clip(8, state="failed")[:-1], {"wan_status": status_of("failed", failure=failure_of())}),
            clip(9, dag_id="other_films"),
        ]
    )

    rows, _ = database.newest_rows(session, {READABLE, "other_films"}, filters, "")
    assert [int(row.instance.run_id[-5:]) for row in rows] == found


def test_sums_by_day_and_dag_and_of_the_month(pages: PageServer, session: Session) -> None:
    from airflow_wan.pages import database

    failed = status_of("failed", failure=failure_of(billed=True), estimated_usd=0.25)
    add_rows(
        [
            clip(1),
            clip(2, facts={"spent_usd": 0.0, "reused": True}),
            clip(3, dag_id="other_films", facts={"duration_s": 2.5, "spent_usd": None}),
            clip(4, at=NOW - timedelta(days=3)),
            clip(5, at=NOW - timedelta(days=25)),  # of October
            clip(6, at=NOW - timedelta(days=40)),
            (*clip(7, state="failed")[:-1], {"wan_status": failed}),
            (*clip(8, state="failed")[:-1], {"wan_status": status_of("failed", failure=failure_of())}),
        ]
    )

    days, month = database.sums_by_day(session, {READABLE, "other_films"}, Filters(), TODAY)

    assert [(one.day.day, one.dag_id, one.videos, one.seconds, one.cost_usd) for one in days] == [
        (22, READABLE, 2, 10.0, 0.75),
        (22, "other_films", 1, 2.5, 0.0),
        (19, READABLE, 1, 5.0, 0.5),
        (28, READABLE, 1, 5.0, 0.5),
    ]
    assert (month.videos, month.seconds, month.usd) == (4, 17.5, 1.25)
    only, _ = database.sums_by_day(session, {READABLE, "other_films"}, Filters(dag_id="other_films"), TODAY)
    assert [one.dag_id for one in only] == ["other_films"]


@pytest.mark.parametrize("forged", ["a lot", True, -5, 1e300, [1], {"a": 1}, None])
def test_an_amount_that_is_none_counts_nothing(pages: PageServer, session: Session, forged: Any) -> None:
    from airflow_wan.pages import database

    add_rows([clip(1), clip(2, facts={"spent_usd": forged, "duration_s": forged})])

    total = database.sums_by_day(session, {READABLE}, Filters(), TODAY)[1]
    assert (total.videos, total.seconds <= 6, total.usd <= 1.5) == (2, True, True)


def test_how_long_videos_of_the_same_kind_take_and_how_many_are_ahead(pages: PageServer, session: Session) -> None:
    submitted = {"times": {"submitted": NOW.isoformat()}}
    add_rows(
        [
            *(clip(number) for number in range(5)),
            clip(
                6,
                model="wan2.6-t2v",
                times={"submitted": NOW.isoformat(), "downloaded": (NOW + timedelta(9)).isoformat()},
            ),
            clip(7, reused=True),
        ]
    )
    where = pages.leave("mine", state="deferred", wan_status=status_of("waiting", **submitted))
    earlier = {"times": {"submitted": (NOW - timedelta(seconds=5)).isoformat()}}
    pages.leave("earlier", state="deferred", wan_status=status_of("waiting", **earlier))
    pages.leave("ended", state="failed", wan_status=status_of("waiting", **earlier))
    pages.leave("elsewhere", state="deferred", wan_status=status_of("waiting", base_url="https://x.example", **earlier))

    page = pages.get(f"video/{where}").text

    assert "Such videos take 1 min 35 s; nine of ten take less than 1 min 35 s (known: 5)" in page
    assert "Videos ordered earlier and not finished yet: 1" in page


def test_a_task_video_has_all_that_is_known(pages: PageServer) -> None:
    where = pages.leave(
        "film",
        map_index=2,
        label="mug",
        wan_status=status_of(expanded_prompt="Clouds drift."),
        wan_video=video_of(pages.video()),
    )

    page = pages.get(f"video/{where}").text

    assert "mug" in page
    assert "Clouds drift." in page
    recipe = re.search(r'id="recipe"[^>]*>(.*?)</pre>', page, re.DOTALL)
    assert recipe
    for part in ("WanGenerateVideoOperator(", "task_id=", "wan2.7-i2v", "first_frame", "720P", "&#39;seed&#39;: 7"):
        assert part in recipe[1]


def test_the_recipe_makes_the_same_request(pages: PageServer, session: Session) -> None:
    from airflow_wan.operators.wan import WanGenerateVideoOperator
    from airflow_wan.pages import views

    pages.leave("film", wan_status=status_of(), wan_video=video_of(pages.video()))
    recipe = views.task_video(session, Instance(READABLE, RUN, "film"), {READABLE}).recipe

    operator = eval(str(recipe), {"WanGenerateVideoOperator": WanGenerateVideoOperator})
    assert operator.request_media() == status_of()["request"]["input"]["media"]
    assert operator.request_parameters() == {"resolution": "720P", "duration": 5, "seed": 7}
    assert (operator.model, operator.prompt) == ("wan2.7-i2v", "The clouds drift.")


@pytest.mark.parametrize("model", ["wan2.7-i2v", "wan2.6-i2v", "wan2.5-i2v-preview"])
def test_the_recipe_of_a_video_with_a_voice_makes_the_same_request_of_older_models_too(
    model: str, pages: PageServer, session: Session
) -> None:
    from airflow_wan.api.gateways import DASHSCOPE
    from airflow_wan.api.requests import VideoRequest, build_video_request
    from airflow_wan.operators.wan import WanGenerateVideoOperator
    from airflow_wan.pages import views

    def request_of(operator: WanGenerateVideoOperator) -> VideoRequest:
        return build_video_request(
            gateway=DASHSCOPE,
            base_url="https://dashscope.aliyuncs.com",
            model=operator.model,
            prompt=operator.prompt,
            media=operator.request_media(),
            parameters=operator.request_parameters(),
            audio_url=operator.audio_url,
        )

    media = [
        {"type": "first_frame", "url": "https://your-cdn.com/rap.png"},
        {"type": "driving_audio", "url": "https://your-cdn.com/rap.mp3"},
    ]
    ordered = request_of(WanGenerateVideoOperator(task_id="film", model=model, prompt="She sings.", media=media))
    sources = [{"role": one.role, "url": one.url, "digest": None} for one in ordered.media]
    pages.leave("film", wan_status=status_of(model=model, request=ordered.body, sources=sources))

    recipe = views.task_video(session, Instance(READABLE, RUN, "film"), {READABLE}).recipe

    operator = eval(str(recipe), {"WanGenerateVideoOperator": WanGenerateVideoOperator})
    assert request_of(operator).body == ordered.body


def test_a_sheet_has_the_sums_of_all_videos_of_the_run(pages: PageServer, session: Session) -> None:
    from airflow_wan.pages import views

    add_rows([clip(1, map_index=index) for index in range(520)])
    add_rows([clip(2)])

    sheet = views.run_sheet(session, READABLE, "run_00001")

    assert (len(sheet.clips), sheet.more) == (500, True)
    assert (sheet.seconds, sheet.cost_usd) == (520 * 5.0, 260.0)
    assert dict(sheet.counts) == {VideoState.DONE: 520}


def test_ten_thousand_videos_are_asked_for_page_by_page(pages: PageServer, session: Session) -> None:
    from sqlalchemy import event

    from airflow_wan.pages import views

    add_rows([clip(number, prompt=f"clip {number} of the mill") for number in range(10_000)])
    fetched: list[int] = []

    def count(_cursor: Any, *_: Any) -> None:
        fetched.append(1)

    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", count)
    try:
        page = views.gallery_page(session, {READABLE}, Filters(text="clip 77"), "", TODAY)
    finally:
        event.remove(engine, "before_cursor_execute", count)

    assert len(page.clips) == 30
    assert page.clips[0].instance.run_id == "run_07799"
    assert page.month_videos == 10_000
    assert len(fetched) < 10  # statements, however many videos there are
