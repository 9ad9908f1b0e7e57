"""Makes the HTML of the pages from what `airflow_wan.pages.records` knows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_wan.pages.records import Clip, DaySum, Filters, Instance, Moment, RunSheet
    from airflow_wan.pages.words import Words

_BAR_WIDTH = 1000.0
_LEAST_WIDTH = 4.0
_CHART_WIDTH, _CHART_HEIGHT = 720, 104
_DAYS = 30
_NAMED_SERIES = 5


def render_html(template: str, *, base: str, words: Words, **values: Any) -> str:
    """Return a page as HTML. Every value is escaped.

    :param template: file name in ``templates/``.
    :param base: the address of the pages, ``/wan`` or, behind a proxy with a path, ``/team/wan``.
    :param words: the words of the reader's language.
    :param values: what the template shows.
    """
    return _templates.get_template(template).render(base=base, _=words, **values)


def path_of(instance: Instance) -> str:
    """Return the part of an address that names a task instance."""
    return _path(instance.dag_id, instance.run_id, instance.task_id, str(instance.map_index))


def run_path_of(run: Instance | RunSheet) -> str:
    """Return the part of an address that names a DAG run."""
    return _path(run.dag_id, run.run_id)


def _path(*names: str) -> str:
    # Airflow's page writes the address of the page in its frame into its own, as browsers write addresses. If that is
    # another spelling than ours, such as ":" for "%3A", Airflow loads the page in the frame once more.
    return "/".join(quote(name, safe="!$&'()*+,;=:@") for name in names)


def airflow_path_of(what: Instance | RunSheet) -> str:
    """Return the address of a DAG run or task instance in Airflow's own pages, relative to its base URL."""
    run = f"dags/{quote(what.dag_id, safe='')}/runs/{quote(what.run_id, safe='')}"
    task_id, map_index = getattr(what, "task_id", None), getattr(what, "map_index", -1)
    if task_id is None:
        return run
    mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
    return f"{run}/tasks/{quote(task_id, safe='')}{mapped}"


def name_of(clip: Clip) -> str:
    """Return what a clip is called: its ``map_index_template``, otherwise its task with the map index if it has one."""
    task_id, map_index = clip.instance.task_id, clip.instance.map_index
    if clip.label and clip.label != str(map_index):
        return clip.label
    return f"{task_id} [{map_index}]" if map_index >= 0 else task_id


def query_of(filters: Filters, page: str) -> str:
    """Return the query of another page of the gallery with the same filters."""
    chosen = {name: getattr(filters, name) for name in ("dag_id", "model", "state", "since", "until", "text")}
    return urlencode({name: value for name, value in chosen.items() if value} | {"page": page})


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the timeline, and its bar in a drawing that is 1000 wide.

    :param name: the moment with which it ended.
    :param seconds: how long it took.
    """

    name: str
    seconds: float
    x: float = 0.0
    width: float = 0.0


def steps_of(timeline: Sequence[Moment]) -> list[Step]:
    """Return what lies between the moments of a timeline. A short step is still wide enough to be seen."""
    steps = [Step(later.name, max(0.0, later.after_s - earlier.after_s)) for earlier, later in pairwise(timeline)]
    total = sum(step.seconds for step in steps)
    if not total:
        return steps
    widths = [max(_LEAST_WIDTH, step.seconds / total * _BAR_WIDTH) for step in steps]
    scale = _BAR_WIDTH / sum(widths)
    drawn, x = [], 0.0
    for step, width in zip(steps, widths, strict=True):
        drawn.append(replace(step, x=round(x, 1), width=round(width * scale, 1)))
        x += width * scale
    return drawn


@dataclass(frozen=True, slots=True)
class Bar:
    """What one DAG cost on one day, as a piece of that day's column. `name` is empty for the small DAGs together."""

    series: int
    name: str
    day: date
    usd: float
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Series:
    """A DAG of the chart, and what it cost in all; `name` is empty for the small DAGs together."""

    name: str
    usd: float


@dataclass(frozen=True, slots=True)
class Chart:
    """The columns of the last days, ready to be drawn.

    :param marks: the days that are written below: the first, one in the middle, and the last.
    """

    series: list[Series]
    bars: list[Bar]
    marks: list[date]
    highest_usd: float
    width: int = _CHART_WIDTH
    height: int = _CHART_HEIGHT


def chart_of(days: Iterable[DaySum]) -> Chart:
    """Return the chart of what each DAG cost on each of the last days, up to the last one with a video."""
    days = list(days)
    totals: defaultdict[str, float] = defaultdict(float)
    columns: defaultdict[date, float] = defaultdict(float)
    for row in days:
        totals[row.dag_id] += row.cost_usd
        columns[row.day] += row.cost_usd
    named = sorted(totals, key=totals.__getitem__, reverse=True)[:_NAMED_SERIES]
    others = sum(usd for name, usd in totals.items() if name not in named)
    series = [Series(name, totals[name]) for name in named]
    if len(totals) > len(named):
        series.append(Series("", others))
    last = max(columns, default=date(1970, 1, 1))
    first = last - timedelta(days=_DAYS - 1)
    highest = max(columns.values(), default=0.0)
    bars = list(_bars(days, named, first, highest))
    return Chart(series, bars, [first, first + timedelta(days=_DAYS // 2), last], highest)


def _bars(days: Iterable[DaySum], named: list[str], first: date, highest: float) -> Iterator[Bar]:
    pieces: defaultdict[tuple[date, int], float] = defaultdict(float)
    for row in days:
        pieces[row.day, named.index(row.dag_id) if row.dag_id in named else _NAMED_SERIES] += row.cost_usd
    pitch = _CHART_WIDTH / _DAYS
    tops: dict[date, float] = {}
    for (day, series), usd in sorted(pieces.items()):
        if day < first or not usd:
            continue
        height = usd / highest * _CHART_HEIGHT
        top = tops[day] = tops.get(day, float(_CHART_HEIGHT)) - height
        name = named[series] if series < len(named) else ""
        x = ((day - first).days + 0.15) * pitch
        yield Bar(series, name, day, usd, round(x, 1), round(top, 2), round(pitch * 0.7, 1), round(height, 2))


_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
)
_templates.filters |= {
    "path": path_of,
    "run_path": run_path_of,
    "airflow_path": airflow_path_of,
    "name": name_of,
    "query": query_of,
    "steps": steps_of,
    "chart": chart_of,
    "pairs": lambda values: [(value, value) for value in values],
}
