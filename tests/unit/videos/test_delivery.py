"""Whatever a gateway answers and its file host sends: a whole video is at its place, or an error of ours is told.

Both are one small server here that says what a test, or hypothesis, tells it to.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_wan.api.client import WanClient
from airflow_wan.api.gateways import GATEWAYS, Account, GatewayName
from airflow_wan.emulator.video import Scene, blank_still, render
from airflow_wan.exceptions import GatewayUnavailable, VideoDownloadFailed, VideoRejected, VideoTaskLost, WanError
from airflow_wan.media.mp4 import inspect_video
from airflow_wan.videos.delivery import Delivery
from airflow_wan.videos.destination import Destination

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "sk-delivery-0123456789"
AIRFLOW = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1}


class Host:
    """Answers each query of a task with `task`, and each download with `file`."""

    def __init__(self) -> None:
        self.task: Any = {}
        self.file = b""
        self.reads = self.downloads = 0

    def __enter__(self) -> Self:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/file"):
                    host.downloads += 1
                    self._say(host.file, "video/mp4")
                else:
                    host.reads += 1
                    self._say(json.dumps(host.task).encode(), "application/json")

            def _say(self, body: bytes, content_type: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def succeeded(self, **fields: Any) -> dict[str, Any]:
        """A task that is done, as DashScope says it."""
        url = f"{self.url}/file.mp4?Expires=1&Signature=TOPSECRET"
        return {"output": {"task_id": "x", "task_status": "SUCCEEDED", "video_url": url, **fields}}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host() as host:
        yield host


@pytest.fixture(scope="module")
def film() -> bytes:
    return render(Scene(blank_still("a kite"), None, None, 320, 180, seconds=1))


@pytest.fixture
def bring_home(host: Host, tmp_path: Path, no_pauses: None) -> Any:
    """Brings the host's video home to ``film.mp4``, in an emptied folder."""

    def bring() -> Any:
        for path in tmp_path.iterdir():
            path.unlink()
        host.reads = host.downloads = 0
        account = Account(gateway=GATEWAYS[GatewayName.DASHSCOPE], base_url=host.url, api_key=KEY)
        delivery = Delivery(Destination(str(tmp_path / "film.mp4")), account, airflow=AIRFLOW)
        with WanClient(account) as client:
            return delivery.deliver(client, "x")

    return bring


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_good_file_takes_one_read_and_one_download(bring_home: Any, host: Host, film: bytes, tmp_path: Path) -> None:
    host.task, host.file = host.succeeded(), film

    video = bring_home()

    assert (host.reads, host.downloads) == (1, 1)
    assert (tmp_path / "film.mp4").read_bytes() == film
    assert video.facts["bytes"] == len(film)


@pytest.mark.parametrize(
    ("task", "error"),
    [
        ({"output": {"task_id": "x", "task_status": "UNKNOWN"}}, VideoTaskLost),
        ({"output": {"task_id": "x", "task_status": "SUCCEEDED"}}, GatewayUnavailable),
        ({"output": {"task_id": "x", "task_status": "RUNNING"}}, GatewayUnavailable),
    ],
)
def test_a_task_without_a_file_is_no_reason_to_download(
    task: Any, error: type[WanError], bring_home: Any, host: Host, tmp_path: Path
) -> None:
    host.task = task

    with pytest.raises(error):
        bring_home()

    assert host.downloads == 0
    assert names(tmp_path) == set()


def test_a_file_that_is_no_video_is_fetched_once_more_and_then_kept_aside(
    bring_home: Any, host: Host, tmp_path: Path
) -> None:
    host.task, host.file = host.succeeded(), b"no film" * 1000

    with pytest.raises(VideoRejected, match="not a complete mp4"):
        bring_home()

    assert host.downloads == 2
    assert names(tmp_path) == {"film.rejected.mp4"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
HUGE = st.sampled_from(["x" * 200_000, 10**400, [[]] * 500, {"a": "b" * 100_000}])
FIELDS = [
    "task_id",
    "task_status",
    "status",
    "video_url",
    "result_url",
    "submit_time",
    "end_time",
    "scheduled_time",
    "orig_prompt",
    "actual_prompt",
    "usage",
    "code",
    "message",
    "progress",
    "output",
    "data",
    "result",
    "metadata",
    "request_id",
    "error",
    "fail_reason",
]


@given(fields=st.dictionaries(st.sampled_from(FIELDS), JSON | HUGE, max_size=6), nested=st.booleans())
@example(fields={"request_id": "x" * 200_000}, nested=False)
@example(fields={"usage": {"duration": "x" * 200_000}}, nested=False)
@example(fields={"usage": {"duration": 10**400}}, nested=True)
@example(fields={"actual_prompt": "x" * 200_000}, nested=True)
def test_no_answer_of_a_gateway_brings_anything_but_our_errors_or_a_whole_video(
    fields: dict[str, Any], nested: bool, bring_home: Any, host: Host, film: bytes, tmp_path: Path
) -> None:
    host.file = film
    host.task = host.succeeded(**fields) if nested else host.succeeded() | fields

    try:
        video = bring_home()
    except WanError:
        assert names(tmp_path) == set()
    else:
        assert (tmp_path / "film.mp4").read_bytes() == film
        assert len(json.dumps(video.facts)) < 10_000


@given(data=st.data())
def test_no_damage_to_a_file_brings_anything_but_our_errors_or_a_video_that_can_be_played(
    data: Any, bring_home: Any, host: Host, film: bytes, tmp_path: Path
) -> None:
    content = bytearray(film[: data.draw(st.integers(0, len(film)) | st.just(len(film)), label="cut at")])
    for _ in range(data.draw(st.integers(0, 20), label="flips")):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    host.task, host.file = host.succeeded(), bytes(content)

    try:
        bring_home()
    except (VideoRejected, VideoDownloadFailed):
        assert names(tmp_path) <= {"film.rejected.mp4"}
    else:
        assert names(tmp_path) == {"film.mp4", "film.mp4.json"}
        assert (tmp_path / "film.mp4").read_bytes() == bytes(content)
        inspect_video(tmp_path / "film.mp4")
