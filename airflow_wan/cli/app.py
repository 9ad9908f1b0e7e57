"""The commands. Each imports what it needs when it runs, so that `--help` comes at once."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airflow_wan.cli.failures import EXIT_CODES

# Not for type checkers alone: typer reads the annotations of the commands.
from airflow_wan.cli.options import Access, Patience, Plan, Talk, Wish, grouped
from airflow_wan.cli.screen import Screen, screen_of
from airflow_wan.exceptions import InvalidVideoRequest, LedgerUnreadable, WanConnectionError, WanError

if TYPE_CHECKING:
    from airflow_wan.videos.wan_video import WanVideo

app = typer.Typer(
    help="Make videos with Alibaba's Wan models. A video is never paid for twice: run the same command again.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would show the variables of functions, and so the key
    context_settings={"help_option_names": ["-h", "--help"]},
)

UNUSABLE_ACCOUNT = EXIT_CODES[WanConnectionError]
"""The exit code of a doctor who has found that no video can be bought with the account."""

NO_KEY = "no-key-for-nothing-is-sent"
"""Stands for the key in commands that ask the gateway nothing."""

_TaskId = Annotated[str | None, typer.Argument(metavar="[TASK_ID]", help="The id of the Wan task.")]
_OutputOfTask = Annotated[
    str | None, typer.Option("--output", "-o", help="Path of a video: the Wan task in the record beside it.")
]


@app.command()
@grouped
def generate(wish: Wish, plan: Plan, patience: Patience, access: Access, talk: Talk) -> None:
    """Make a video, and put it at the output. The same command again goes on, and never pays twice."""
    with screen_of(talk) as screen:
        from airflow_wan.cli.access import find_hook  # noqa: PLC0415 - Airflow is heavy
        from airflow_wan.cli.making import Making, local_path  # noqa: PLC0415 - likewise

        making = Making(find_hook(access, screen), access, local_path(plan.output), patience, screen)
        _tell_video(screen, making.generate(wish, plan).facts)


@app.command()
@grouped
def fetch(
    output: Annotated[str, typer.Option("--output", "-o", help="Local path of the video.")],
    patience: Patience,
    access: Access,
    talk: Talk,
    task_id: _TaskId = None,
) -> None:
    """Wait for a video that was bought before, and put it at the output. Buys nothing."""
    with screen_of(talk) as screen:
        from airflow_wan.cli.access import find_hook  # noqa: PLC0415 - Airflow is heavy
        from airflow_wan.cli.making import Making, local_path  # noqa: PLC0415 - likewise

        making = Making(find_hook(access, screen), access, local_path(output), patience, screen)
        _tell_video(screen, making.fetch(task_id).facts)


@app.command()
@grouped
def status(access: Access, talk: Talk, task_id: _TaskId = None, output: _OutputOfTask = None) -> None:
    """Tell how a Wan task is."""
    with screen_of(talk) as screen:
        from airflow_wan.cli.access import find_hook  # noqa: PLC0415 - Airflow is heavy

        wan_task_id = _named_task(task_id, output)
        with find_hook(access, screen).get_conn() as client:
            task = client.get_task(wan_task_id)
        times = {name: getattr(task, name) for name in ("submitted_at", "started_at", "ended_at")}
        known = {
            "wan_task_id": task.wan_task_id,
            "status": task.status.value,
            "gateway_says": task.status_word,
            "progress_percent": task.progress,
            "code": task.code,
            "message": task.message,
            "usage": dict(task.usage),
            **{name: moment.isoformat() if moment else None for name, moment in times.items()},
        }
        done = f", {task.progress} %" if task.progress is not None else ""
        why = f": {task.message}" if task.message else ""
        screen.result(known, f"Wan task {task.wan_task_id}: {task.status.value}{done}{why}")


@app.command()
@grouped
def cancel(access: Access, talk: Talk, task_id: _TaskId = None, output: _OutputOfTask = None) -> None:
    """Cancel a Wan task while it is queued (DashScope only); it is not billed then."""
    with screen_of(talk) as screen:
        from airflow_wan.cli.access import find_hook  # noqa: PLC0415 - Airflow is heavy

        wan_task_id = _named_task(task_id, output)
        hook = find_hook(access, screen)
        if not hook.account.gateway.can_cancel:
            error = WanError(
                f"{hook.account.gateway.title} cannot cancel: the Wan task goes on, and its video is billed.",
                wan_task_id=wan_task_id,
            )
            error.billed = True
            raise error
        with hook.get_conn() as client:
            client.cancel(wan_task_id)
        _forget(output, wan_task_id)
        canceled = {"wan_task_id": wan_task_id, "status": "canceled"}
        screen.result(canceled, f"Wan task {wan_task_id} is canceled; it is not billed.")


@app.command("list")
@grouped
def list_tasks(
    access: Access,
    talk: Talk,
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Whose videos and purchase records are looked at.")
    ] = Path(),
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only those of a model.")] = None,
) -> None:
    """List the tasks of the account of the last 24 h, and what of them is in a folder."""
    with screen_of(talk) as screen:
        from airflow_wan.cli.access import find_hook  # noqa: PLC0415 - Airflow is heavy
        from airflow_wan.cli.beside import in_folder  # noqa: PLC0415 - likewise
        from airflow_wan.cli.tables import task_rows, tasks_table  # noqa: PLC0415 - likewise

        hook = find_hook(access, screen)
        listed = []
        if hook.account.can_list:
            with hook.get_conn() as client:
                listed = client.recent_tasks(model)
        else:
            screen.say(
                f"{hook.account.gateway.title} lists no tasks to an API key: only what is known in {folder.absolute()}."
            )
        rows = [row for row in task_rows(listed, list(in_folder(folder))) if model in (None, row["model"])]
        screen.result(rows, tasks_table(rows))


@app.command()
@grouped
def estimate(wish: Wish, access: Access, talk: Talk) -> None:
    """Tell what a video would cost at most. Nothing is sent to the gateway."""
    _examine(wish, access, talk, "")


@app.command()
@grouped
def check(wish: Wish, access: Access, talk: Talk) -> None:
    """Hold a request and its media to the gateway's limits. Nothing is sent to the gateway."""
    _examine(wish, access, talk, "The request and its media keep to all limits that are known. ")


@app.command()
@grouped
def models(
    talk: Talk, gateway: Annotated[str | None, typer.Option(help="Only those at apiyi, or at dashscope.")] = None
) -> None:
    """List the models: what each takes, at which gateway, at what price."""
    with screen_of(talk) as screen:
        from airflow_wan.api.gateways import GATEWAYS, GatewayName  # noqa: PLC0415
        from airflow_wan.cli.tables import model_rows, models_table  # noqa: PLC0415 - Airflow is heavy

        if gateway is not None and gateway not in list(GATEWAYS):
            raise InvalidVideoRequest([f"--gateway must be {' or '.join(GATEWAYS)}, got {gateway!r}."])
        rows = model_rows(GatewayName(gateway) if gateway else None)
        screen.result(rows, models_table(rows))


@app.command()
@grouped
def doctor(
    access: Access,
    talk: Talk,
    other_regions: Annotated[  # noqa: FBT002 - an option of the command line
        bool,
        typer.Option(
            "--other-regions", help="Try a key that DashScope refuses at the hosts of its other regions, too."
        ),
    ] = False,
) -> None:
    """Tell what is wrong with an account, and what to do; costs nothing."""
    with screen_of(talk) as screen:
        from airflow_wan.cli.access import examine_account  # noqa: PLC0415 - Airflow is heavy
        from airflow_wan.cli.tables import findings_table  # noqa: PLC0415 - likewise
        from airflow_wan.doctor.findings import has_problem  # noqa: PLC0415

        findings = examine_account(access, screen, ask_other_regions=other_regions)
        names = ("kind", "severity", "title", "advice")
        known = [{name: str(getattr(found, name)) for name in names} for found in findings]
        screen.result({"good": not has_problem(findings), "findings": known}, findings_table(known))
        if has_problem(findings):
            raise typer.Exit(UNUSABLE_ACCOUNT)


@app.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def emulator(context: typer.Context) -> None:
    """Start a stand-in for both gateways that costs nothing; `emulator --help` lists its options."""
    import os  # noqa: PLC0415
    import sys  # noqa: PLC0415

    # A process of its own: nothing in this package uses the emulator but tests and demos.
    os.execv(sys.executable, [sys.executable, "-m", "airflow_wan.emulator", *context.args])  # noqa: S606


def _examine(wish: Wish, access: Access, talk: Talk, verdict: str) -> None:
    with screen_of(talk) as screen:
        from airflow_wan.api.client import WanClient  # noqa: PLC0415 - httpx is heavy
        from airflow_wan.api.gateways import Account  # noqa: PLC0415 - likewise
        from airflow_wan.cli.access import find_gateway  # noqa: PLC0415 - Airflow is heavy
        from airflow_wan.cli.wish import build_request  # noqa: PLC0415 - likewise
        from airflow_wan.media.prepare import prepare_media  # noqa: PLC0415 - likewise
        from airflow_wan.purchases.prices import estimate_request  # noqa: PLC0415 - likewise

        gateway, base_url = find_gateway(access)
        request = build_request(wish, gateway, base_url, screen)
        account = Account(gateway, base_url, api_key=NO_KEY)
        with WanClient(account) as client:
            checked = prepare_media(
                request,
                account=account,
                client=client,
                valid_for_s=0,
                send=False,
                adapt_media=wish.adapt_media,
                cut_audio=wish.cut_audio,
            )
        estimated = estimate_request(gateway.name, checked.request, checked.clip_seconds)
        known = {
            "request": str(checked.request),
            "gateway": gateway.name.value,
            "seconds": checked.request.expected_seconds(checked.clip_seconds),
            "resolution": checked.request.resolution,
            "billed_seconds": estimated.seconds if estimated else None,
            "estimated_usd": estimated.usd if estimated else None,
            "sources": [{"role": source.role, "url": source.url} for source in checked.sources],
            "warnings": list(checked.request.warnings),
        }
        cost = f"about {estimated.usd:.2f} USD" if estimated else "a cost that is not known"
        screen.result(known, f"{verdict}{checked.request}, at {gateway.title}: {cost}.")


def _tell_video(screen: Screen, facts: WanVideo) -> None:
    cost = facts["video_cost_usd"]
    words = [
        f"{facts['bytes'] / 1e6:.1f} MB",
        f"{facts['duration_s']:g} s" if facts["duration_s"] else None,
        f"{facts['width']}x{facts['height']} px" if facts["width"] else None,
        f"{cost:.2f} USD{' by the estimate' if facts['cost_is_estimate'] else ''}" if cost is not None else None,
        "it was there already, and nothing was bought" if facts["reused"] else None,
    ]
    screen.result(facts, f"{facts['path']}: {', '.join(word for word in words if word)}")


def _named_task(task_id: str | None, output: str | None) -> str:
    """Return the Wan task that a command names, by its id or by the video that it makes.

    :raises InvalidVideoRequest: when it names none.
    """
    from airflow_wan.cli.beside import beside  # noqa: PLC0415 - Airflow is heavy
    from airflow_wan.cli.making import local_path  # noqa: PLC0415 - likewise

    if task_id is None and output is not None:
        task_id = beside(local_path(output)).wan_task_id
        if task_id is None:
            raise InvalidVideoRequest([f"no record beside {output} names a Wan task; give its id."])
    if task_id is None:
        raise InvalidVideoRequest(["give the id of a Wan task, or with --output the video that it makes."])
    return task_id


def _forget(output: str | None, wan_task_id: str) -> None:
    """Remove the purchase record of a Wan task that is not billed."""
    from airflow_wan.cli.making import local_path  # noqa: PLC0415 - Airflow is heavy
    from airflow_wan.purchases.file_ledger import FileLedger  # noqa: PLC0415 - likewise
    from airflow_wan.purchases.ledger import clear_purchase  # noqa: PLC0415 - likewise

    if output is None:
        return
    # A command that waits for the video has the record: it will remove it.
    with contextlib.suppress(LedgerUnreadable), FileLedger(local_path(output)) as ledger:
        clear_purchase(ledger, wan_task_id)
