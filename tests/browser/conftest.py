"""One real Airflow with videos on disk and in a bucket, and a real Chromium that looks at them."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from playwright.sync_api import expect, sync_playwright

REPOSITORY = Path(__file__).parents[2]
# Each request to the store would be a line in the report of a failed test.
logging.getLogger("werkzeug").setLevel(logging.WARNING)
sys.path += [str(REPOSITORY / folder) for folder in ("tests/browser", "scripts")]

from airflow_processes import Airflow, wait_for  # noqa: E402
from demo_media import make_media  # noqa: E402
from page_stage import ACCESS, BUCKET, LONG, RAP, Run, Stage, aws_connection, wan_connection  # noqa: E402

from airflow_wan.emulator.testing import FAST, RunningEmulator  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

CASE_TIMEOUT_S = 900
END_S = 180.0
# How long a page may take to show what is expected, on a machine that does much else.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
# As the kinds of machine ask for that have no way out: without these, Chromium asks its maker for updates.
FLAGS = ("--disable-background-networking", "--disable-component-update", "--disable-gpu", "--disable-quic")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests the time that a whole Airflow needs to start."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(CASE_TIMEOUT_S))


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Start everything, make the videos, and keep the logs if a test fails."""
    folder = Path(tempfile.mkdtemp(prefix="airflow-wan-browser-"))
    media = make_media(folder / "media")
    outside = folder / "outside"
    with ExitStack() as running:
        store = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        store.start()
        running.callback(store.stop)
        endpoint = f"http://127.0.0.1:{store._server.server_port}"
        boto3.client("s3", endpoint_url=endpoint, **ACCESS).create_bucket(Bucket=BUCKET)
        quick, refusing, slow = (
            running.enter_context(RunningEmulator(replace(FAST, pending_s=pending_s, running_s=running_s)))
            for pending_s, running_s in ((0.5, 1.5), (0.5, 0.5), (1800, 1800))
        )
        refusing.add_fault("create", "task_failed", times=None)
        options = {
            # The first call of the execution API takes long on a busy machine; by default, a task waits 5 s for it.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            "AIRFLOW__WAN__POLL_INTERVAL": "1",
            "AIRFLOW__WAN__OUTPUT_BASE": str(folder / "videos"),
            "AIRFLOW__WAN__PREVIEW_BASES": json.dumps([str(media), f"s3://aws_default@{BUCKET}"]),
            "AIRFLOW_CONN_AWS_DEFAULT": aws_connection(endpoint),
        } | {
            f"AIRFLOW_CONN_WAN_{name}": wan_connection(one.base_url)
            for name, one in {"DEFAULT": quick, "REFUSING": refusing, "SLOW": slow}.items()
        }
        airflow = running.enter_context(Airflow(folder / "airflow", Path(__file__).parent / "dags", options))
        wait_for("the DAGs", lambda: len(airflow.rest.get("/api/v2/dags")["dags"]) >= 7, 60)

        def start(dag_id: str, **params: str) -> Run:
            conf = {"media": str(media), "videos": str(folder / "videos"), "prompt": "A lamp in the rain."} | params
            body = {"logical_date": None, "conf": conf}
            answer = airflow.rest.post(f"/api/v2/dags/{dag_id}/dagRuns", body)
            return Run(airflow, dag_id, answer["dag_run_id"])

        # The first one to start, so that its videos are the last ones in the gallery.
        archive = start("archive")
        runs = {
            "disk": start("rap_portrait", prompt=RAP),
            "mapped": start("product_clips"),
            "bucket": start("lighthouse", prompt="A lighthouse in a storm.", videos=f"s3://aws_default@{BUCKET}/day"),
            "hostile": start("lighthouse", prompt=LONG, videos=str(folder / "videos" / "hostile")),
            "outside": start("lighthouse", prompt="A lighthouse in the fog.", videos=str(outside)),
            "refused": start("refused_clip", prompt="A lighthouse, but not so."),
            "rejected": start("rejected_clip", prompt="The mug turns quickly."),
        }
        for name, run in runs.items():
            wait_for(f"the end of {name}", run.has_ended, END_S)
        ended = {name: run.state() for name, run in runs.items()}
        assert ended == dict.fromkeys(runs, "success") | dict.fromkeys(("mapped", "refused", "rejected"), "failed"), (
            f"not as planned; see {folder}"
        )
        assert archive.state() == "success"
        archive.leave({f"film_{number:02}": {"state": "done", "model": "wan2.6-t2v"} for number in range(35)})
        yield Stage(airflow, runs, slow, folder, start)
    if request.session.testsfailed:
        sys.stderr.write(f"\nThe logs of all processes are kept in {folder}.\n")
    else:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start a Chromium that is installed on this machine; a test run without one fails."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    assert path, "There is no Chromium on this machine: install the package chromium, or set CHROMIUM to its path."
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def look(browser: Browser, stage: Stage) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a page of Airflow, logged in; what goes wrong in it fails the test.

    Its options: `width` and `height` in px, Airflow's own settings in the browser (`stored`), `locale`, and `theme` of
    the system.
    """
    complaints: list[str] = []
    contexts = []

    def open_page(
        address: str,
        *,
        width: int = 1280,
        height: int = 860,
        stored: dict[str, str] | None = None,
        locale: str = "en-US",
        theme: Any = "light",
        **options: Any,
    ) -> Page:
        context = browser.new_context(
            base_url=stage.airflow.url,
            viewport={"width": width, "height": height},
            locale=locale,
            color_scheme=theme,
            timezone_id="UTC",
            permissions=["clipboard-read", "clipboard-write"],
            **options,
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        context.request.get("/auth/token/login", max_redirects=0)  # leaves the session's cookie
        if stored:
            lines = (f"localStorage.setItem({json.dumps(key)}, {json.dumps(value)});" for key, value in stored.items())
            context.add_init_script("".join(lines))
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    # Chromium asks each server for a favicon.
    assert [one for one in complaints if "favicon" not in one] == []
