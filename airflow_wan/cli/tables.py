"""The tables that commands print, and the same as plain JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_wan.api.catalogue import find_model, known_model_ids
from airflow_wan.api.gateways import GATEWAYS, GatewayName
from airflow_wan.purchases.prices import RATES_AS_OF, estimate_cost
from airflow_wan.purchases.record import Intent, Purchase

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table

    from airflow_wan.api.rules import Model
    from airflow_wan.api.tasks import ListedTask
    from airflow_wan.cli.beside import Beside


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> Table:
    """Return a table for a terminal; no text in it is taken for markup.

    :param columns: the heads of its columns.
    :param rows: its cells.
    :param title: what stands above it.
    """
    from rich.table import Table  # noqa: PLC0415 - not needed for JSON
    from rich.text import Text  # noqa: PLC0415 - likewise

    shown = Table(*columns, title=Text(title) if title else None, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))
    return shown


def model_rows(gateway: GatewayName | None) -> list[dict[str, Any]]:
    """Return what each model takes at each gateway, and what a second of it costs.

    :param gateway: the only gateway that counts; None for all.
    """
    return [
        _model_row(model_id, name, row)
        for model_id in known_model_ids()
        for name in GATEWAYS
        if gateway in (None, name) and (row := find_model(model_id, name)) is not None
    ]


def _model_row(model_id: str, gateway: GatewayName, row: Model) -> dict[str, Any]:
    prices = {name: estimate_cost(gateway, model_id, name, 1) for name in row.resolutions}
    return {
        "model": model_id,
        "gateway": gateway.value,
        "documented": row.documented,
        "prompt_required": row.prompt_required,
        "media": {kind: str(count) for count in row.media.counts for kind in count.types},
        "media_combinations": [sorted(kinds) for kinds in row.media.sets],
        "audio_url": row.takes_audio_url,
        "parameters": {name: str(rule) for name, rule in row.parameters.items()},
        "resolutions": list(row.resolutions),
        "longest_s": row.longest_duration_s,
        "usd_per_second": {name: price for name, price in prices.items() if price is not None},
        "rates_as_of": RATES_AS_OF,
    }


def models_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the models as a table; those that a gateway does not document are left out."""
    columns = ("model", "gateway", "takes", "duration, s", "resolution", "USD a second")
    title = f"USD: an estimate, by [wan] usd_per_second or list prices of {RATES_AS_OF}. '-': not known."
    return table(columns, (_model_cells(row) for row in rows if row["documented"]), title=title)


def _model_cells(row: dict[str, Any]) -> tuple[str, ...]:
    takes = ["prompt" if row["prompt_required"] else "(prompt)", *row["media"], *(["audio_url"] * row["audio_url"])]
    seconds = row["parameters"].get("duration", f"at most {row['longest_s']:g}" if row["longest_s"] else "-")
    prices = ", ".join(f"{name} {price:g}" for name, price in row["usd_per_second"].items())
    return (
        row["model"],
        row["gateway"],
        ", ".join(takes),
        seconds.removeprefix("an integer from "),
        " ".join(row["resolutions"]),
        prices or "-",
    )


def findings_table(findings: Sequence[dict[str, str]]) -> Table:
    """Return what a doctor has found as a table."""
    return table(
        ("severity", "what was found", "what to do"),
        ([found["severity"], found["title"], found["advice"]] for found in findings),
    )


def task_rows(listed: Sequence[ListedTask], here: Sequence[Beside]) -> list[dict[str, Any]]:
    """Return the tasks of an account, joined with the videos and purchases of a folder; the newest first.

    :param listed: what the gateway lists.
    :param here: what is in the folder.
    """
    by_id = {found.wan_task_id: found for found in here if found.wan_task_id}
    rows = [
        {
            "wan_task_id": task.wan_task_id,
            "created_at": _iso(task.created_at),
            "status": task.status.value if task.status else None,
            "model": task.model,
            "cost_usd": task.cost_usd,
            **_place(by_id.pop(task.wan_task_id, None)),
        }
        for task in listed
    ]
    rest = [found for found in here if found.wan_task_id is None or found.wan_task_id in by_id]
    rows += [_row_of_folder(found) for found in rest]
    return sorted(rows, key=lambda row: row["created_at"] or "", reverse=True)


def _row_of_folder(found: Beside) -> dict[str, Any]:
    purchase, sidecar = found.purchase, found.sidecar
    created: float | None = None
    if isinstance(purchase, (Intent, Purchase)):
        created = purchase.submitted_at if isinstance(purchase, Purchase) else purchase.intent_at
    elif sidecar is not None and "submitted" in sidecar.times:
        created = sidecar.times["submitted"].timestamp()
    return {
        "wan_task_id": found.wan_task_id,
        "created_at": None if created is None else _iso(created),
        "status": None,
        "model": purchase.order.model if purchase else sidecar.generation.model if sidecar else None,
        "cost_usd": sidecar.cost.video_usd if sidecar and purchase is None else None,
        **_place(found),
    }


def _place(found: Beside | None) -> dict[str, Any]:
    if found is None:
        return {"output": None, "here": None}
    here = {Intent: "perhaps bought", Purchase: "to be fetched"}.get(type(found.purchase), "fetched")
    return {"output": str(found.video), "here": here}


def tasks_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the tasks of an account as a table."""
    columns = ("wan task", "created", "status", "model", "USD", "output", "here")
    names = ("wan_task_id", "created_at", "status", "model", "cost_usd", "output", "here")
    return table(columns, ([_cell(row[name]) for name in names] for row in rows))


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
