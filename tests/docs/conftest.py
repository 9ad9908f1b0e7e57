"""A gateway, a store and media for the code in the documentation, and the count of what was run of it."""

from __future__ import annotations

import functools
import json
import re
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from media_files import image, tone
from PIL import Image
from s3_server import s3_client, s3_connection, s3_port  # noqa: F401 - s3_port is a fixture
from whole_dags import run_dag, videos, wan_api_key, wan_connection  # noqa: F401 - fixtures

from airflow_wan.emulator.pytest_plugin import wan_emulator, wan_emulator_for  # noqa: F401 - fixtures
from airflow_wan.emulator.video import Scene, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_wan.emulator.settings import Settings
    from airflow_wan.emulator.testing import RunningEmulator

MEDIA_HOST = "https://your-cdn.com/"
BUCKET = "s3://aws_default@your-bucket/"
"""Where the media of the documentation are."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much of the documentation's code was run."""
    counts: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            properties = dict(getattr(report, "user_properties", ())) if getattr(report, "when", "") == "call" else {}
            counts.update(properties.get("documentation", {}))
    if counts:
        told = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
        terminalreporter.write_line(f"Documentation: {told}")


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Return a function that adds to the count of what was run, once in a test."""

    def add(**counts: int) -> None:
        record_property("documentation", {name.replace("_", " "): number for name, number in counts.items()})

    return add


@pytest.fixture
def copy_database(airflow_db: Path) -> Callable[[Path], None]:
    """Return a function that copies the metadata database to a new file."""

    def copy(target: Path) -> None:
        with closing(sqlite3.connect(airflow_db)) as ours, closing(sqlite3.connect(target)) as theirs:
            ours.backup(theirs)

    return copy


@functools.cache
def medium(name: str) -> bytes:
    """Return a picture, sound or video, as the ending of a name says."""
    ending = name.rpartition(".")[2]
    if ending == "wav":
        return tone(seconds=4)
    if ending == "mp4":
        picture = Image.radial_gradient("L").resize((640, 360)).convert("RGB")
        return render(Scene(picture, None, None, 640, 360, seconds=3))
    return image(kind={"png": "PNG", "jpg": "JPEG"}[ending], size=(1280, 720))


class _MediaHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = medium(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def media_url() -> Iterator[str]:
    """Return the base URL of a server that has every picture, sound and video that it is asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _MediaHandler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def wan_emulator_settings(wan_emulator_settings: Settings, media_url: str) -> Settings:
    """Let the emulator read media from the test's server where the documentation names an address of its own."""
    return replace(wan_emulator_settings, media_mirrors=((MEDIA_HOST, media_url),))


@pytest.fixture
def make_media(s3_port: int) -> Callable[[str, Path], None]:  # noqa: F811
    """Return a function that makes the media that a block names: in the bucket, and for options, in a folder."""
    store = s3_client(s3_port)
    store.create_bucket(Bucket="your-bucket")

    def make(code: str, folder: Path) -> None:
        for name in re.findall(rf"{BUCKET}([\w./-]+\.(?:png|jpg|wav|mp4))", code):
            store.put_object(Bucket="your-bucket", Key=name, Body=medium(name))
        for name in re.findall(r"--(?!output)[\w-]+ ([\w-]+\.(?:png|jpg|wav|mp4))", code):
            (folder / name).write_bytes(medium(name))

    return make


@pytest.fixture
def connections(
    wan_emulator: RunningEmulator,  # noqa: F811
    wan_connection: None,  # noqa: F811
    wan_api_key: str,  # noqa: F811
    s3_port: int,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Define the connections that the documentation names, beside `wan_default`."""
    from airflow.sdk.io import store

    named: dict[str, dict[str, Any]] = {
        "WAN_INTL": {
            "conn_type": "wan",
            "password": wan_api_key,
            "host": wan_emulator.base_url,
            "extra": {"gateway": "dashscope"},
        },
        "AWS_DEFAULT": s3_connection(f"http://127.0.0.1:{s3_port}"),
    }
    for name, fields in named.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(fields))
    monkeypatch.setattr(store, "_STORE_CACHE", {})
