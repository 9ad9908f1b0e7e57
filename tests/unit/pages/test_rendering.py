"""What the pages draw: their words, their timeline and their chart; whatever a record says, it is escaped."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from markupsafe import escape

from airflow_wan.pages.records import (
    Clip,
    DaySum,
    Failure,
    Filters,
    GalleryPage,
    Instance,
    Moment,
    RunSheet,
    ShownFile,
    TaskVideo,
    VideoState,
)
from airflow_wan.pages.rendering import airflow_path_of, chart_of, name_of, path_of, query_of, render_html, steps_of
from airflow_wan.pages.words import WORDS, Words

INSTANCE = Instance("clips", "manual__2026-11-25T08:00:00+00:00", "animate", 2)
NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
HOSTILE = (
    "\"'><script>alert(1)</script><img src=x onerror=alert(1)> {{ 7 * 7 }} {% raw %} \u202egnp.x javascript:alert(1)"
)
FILE = ShownFile(HOSTILE, f"file/{HOSTILE}", "video", role=HOSTILE, sha256=HOSTILE)
EVERYTHING = TaskVideo(
    instance=Instance(HOSTILE, HOSTILE, HOSTILE, 1),
    state=VideoState.FAILED,
    label=HOSTILE,
    file=FILE,
    poster=FILE,
    prompt=HOSTILE,
    expanded_prompt=HOSTILE,
    negative_prompt=HOSTILE,
    media=(FILE, ShownFile(HOSTILE, f"file/{HOSTILE}", "image", role=HOSTILE), ShownFile(HOSTILE, problem="elsewhere")),
    model=HOSTILE,
    resolution=HOSTILE,
    gateway=HOSTILE,
    sha256=HOSTILE,
    wan_task_id=HOSTILE,
    request_id=HOSTILE,
    timeline=(Moment(HOSTILE, NOW, 0), Moment(HOSTILE, NOW, 3)),
    shortcomings=(HOSTILE,),
    recipe=HOSTILE,
    failure=Failure(HOSTILE, HOSTILE, HOSTILE, billed=True, code=HOSTILE, request_id=HOSTILE, http_status=400),
)
CLIP = Clip(INSTANCE, VideoState.FAILED, HOSTILE, HOSTILE, HOSTILE, summary=HOSTILE)


class Reader(HTMLParser):
    """Collects the elements of a page, and their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def page(template: str, language: str = "en", **values: Any) -> str:
    return render_html(template, base="/team/wan", words=Words(language), **values)


@pytest.mark.parametrize("language", WORDS)
@pytest.mark.parametrize(
    ("template", "view"),
    [
        ("video.html", EVERYTHING),
        ("sheet.html", RunSheet(HOSTILE, HOSTILE, (CLIP,), {VideoState.FAILED: 1})),
        (
            "gallery.html",
            GalleryPage(
                (CLIP,), HOSTILE, Filters(text=HOSTILE), (HOSTILE,), (HOSTILE,), (DaySum(NOW.date(), HOSTILE, 1, 2, 3),)
            ),
        ),
    ],
)
def test_no_text_of_a_record_becomes_an_element_or_an_attribute(template: str, view: Any, language: str) -> None:
    read = Reader(page(template, language, view=view))

    assert [attributes for tag, attributes in read.elements if tag == "script"] == [{"src": "/team/wan/static/wan.js"}]
    named = {name for _, attributes in read.elements for name in attributes}
    assert {name for name in named if name.startswith("on") or name == "style"} == set()
    links = [str(one[name]) for _, one in read.elements for name in ("href", "src", "poster", "action") if name in one]
    assert links
    assert all(link.startswith("/team/wan") for link in links)


@pytest.mark.parametrize("state", VideoState)
@pytest.mark.parametrize("airflow_state", [None, "success", "deferred", "running", "up_for_retry", "a_new_state"])
def test_a_page_of_any_state_asks_for_itself_again_while_something_goes_on(
    state: VideoState, airflow_state: str | None
) -> None:
    html = page("video.html", view=TaskVideo(INSTANCE, state, airflow_state))

    refreshed = re.search(r'data-refresh-s="(\d*)"', html)
    assert refreshed
    goes_on = airflow_state in {"deferred", "running", "up_for_retry"}
    begins = state is VideoState.UNKNOWN and airflow_state is None
    assert bool(refreshed[1]) == (state is VideoState.WAITING or goes_on or begins)


@pytest.mark.parametrize("problem", ["not_allowed", "not_found", "not_reachable", "elsewhere"])
def test_a_file_that_cannot_be_shown_has_its_reason_and_what_to_do(problem: str) -> None:
    html = page("video.html", view=TaskVideo(INSTANCE, VideoState.DONE, file=ShownFile("/tmp/x.mp4", problem=problem)))

    assert str(escape(WORDS["en"][f"file_{problem}_advice"])) in html
    assert "<video" not in html


def test_addresses_survive_any_id() -> None:
    instance = Instance("a/b", "manual__2026-11-25T08:00:00+00:00", "group.täsk?x#y", 3)

    assert path_of(instance) == "a%2Fb/manual__2026-11-25T08:00:00+00:00/group.t%C3%A4sk%3Fx%23y/3"
    assert airflow_path_of(INSTANCE).endswith("/tasks/animate/mapped/2")
    assert airflow_path_of(RunSheet("a", "b")) == "dags/a/runs/b"
    assert query_of(Filters(dag_id="a&b", since=date(2026, 1, 2)), "p=1") == "dag_id=a%26b&since=2026-01-02&page=p%3D1"


@pytest.mark.parametrize(("label", "name"), [("mug", "mug"), ("", "animate [2]"), ("2", "animate [2]")])
def test_a_clip_is_called_by_its_template(label: str, name: str) -> None:
    assert name_of(Clip(INSTANCE, VideoState.DONE, label)) == name


def test_a_timeline_fills_its_bar_and_a_short_step_is_seen() -> None:
    moments = [("submitted", 0), ("running", 6), ("ended", 600), ("downloaded", 600.2)]

    steps = steps_of([Moment(name, NOW + timedelta(seconds=at), at) for name, at in moments])

    assert [(step.name, round(step.seconds, 1)) for step in steps] == [
        ("running", 6),
        ("ended", 594),
        ("downloaded", 0.2),
    ]
    assert sum(step.width for step in steps) == pytest.approx(1000, abs=1)
    assert min(step.width for step in steps) >= 3
    assert steps[1].x == pytest.approx(steps[0].width)


@pytest.mark.parametrize("timeline", [(), (Moment("submitted", NOW, 0),)])
def test_a_timeline_of_one_moment_has_no_steps(timeline: tuple[Moment, ...]) -> None:
    assert steps_of(timeline) == []


def test_a_chart_stacks_the_dags_of_a_day_and_puts_the_small_ones_together() -> None:
    day = date(2026, 11, 25)
    days = [DaySum(day, f"dag_{number}", 1, 5, 7 - number) for number in range(7)]
    days.append(DaySum(day - timedelta(days=1), "dag_0", 1, 5, 14))

    chart = chart_of(days)

    assert [series.name for series in chart.series] == ["dag_0", "dag_1", "dag_2", "dag_3", "dag_4", ""]
    assert chart.series[0].usd == 21
    assert chart.series[-1].usd == 3
    assert chart.highest_usd == 28
    column = [bar for bar in chart.bars if bar.day == day]
    assert column[0].y + column[0].height == chart.height
    assert column[-1].y == pytest.approx(0, abs=0.1)
    assert sum(bar.height for bar in column) == pytest.approx(chart.height, abs=0.1)
    (yesterday,) = [bar for bar in chart.bars if bar.day != day]
    assert yesterday.height == pytest.approx(chart.height / 2)
    assert yesterday.x < column[0].x < chart.width
    assert chart.marks[-1] == day


def test_a_chart_of_nothing_is_empty() -> None:
    chart = chart_of([DaySum(date(2026, 11, 25), "free", 1, 5, 0.0)])

    assert chart.bars == []
    assert chart.highest_usd == 0
