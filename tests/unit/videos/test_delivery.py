"""Whatever a gateway answers and its file host sends: a whole video is at its place, or an error of ours is told.

Both are one small server here that says what a test, or hypothesis, tells it to.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_wan.api.client import WanClient
from airflow_wan.api.gateways import GATEWAYS, Account, GatewayName
from airflow_wan.emulator.video import Scene, blank_still, render
from airflow_wan.exceptions import GatewayUnavailable, VideoDownloadFailed, VideoRejected, VideoTaskLost, WanError
from airflow_wan.media.mp4 import inspect_video
from airflow_wan.net.deadline import Pace
from airflow_wan.purchases.record import Intent, Order, Purchase
from airflow_wan.telemetry import metrics
from airflow_wan.videos import download
from airflow_wan.videos.delivery import Delivery
from airflow_wan.videos.destination import Destination
from airflow_wan.videos.sidecar import read_sidecar

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
        self.drips = False

    def __enter__(self) -> Self:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/file"):
                    host.downloads += 1
                    if host.drips:
                        self._drip()
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

            def _drip(self) -> None:
                self.send_response(200)
                self.end_headers()
                with suppress(ConnectionError):
                    while host.drips:
                        self.wfile.write(b"x")
                        time.sleep(0.005)

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

    def bring(acceptance: Any = "strict", **limits: float) -> Any:
        for path in tmp_path.iterdir():
            path.unlink()
        host.reads = host.downloads = 0
        account = Account(gateway=GATEWAYS[GatewayName.DASHSCOPE], base_url=host.url, api_key=KEY, **limits)
        delivery = Delivery(Destination(str(tmp_path / "film.mp4")), account, acceptance=acceptance, airflow=AIRFLOW)
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


def test_a_file_host_that_drips_ends_the_try_and_the_next_one_brings_the_video(
    bring_home: Any, host: Host, film: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "WINDOW_S", 0.2)
    monkeypatch.setattr(download, "GRACE_S", 0.5)
    host.task, host.file, host.drips = host.succeeded(), film, True

    with pytest.raises(VideoDownloadFailed, match="the host was too slow"):
        bring_home(least_speed=1e6)
    assert names(tmp_path) == set()

    host.drips = False
    bring_home()

    assert (tmp_path / "film.mp4").read_bytes() == film


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


@pytest.mark.parametrize("acceptance", ["strict", "warn", "off"])
def test_a_file_that_is_not_whole_is_never_accepted(
    bring_home: Any, host: Host, film: bytes, tmp_path: Path, acceptance: str
) -> None:
    # The index of the frames is intact, and the frames are gone.
    start, end = film.index(b"mdat") + 4, film.index(b"moov") - 4
    assert start < end
    host.task, host.file = host.succeeded(), film[:start] + bytes(end - start) + film[end:]

    with pytest.raises(VideoRejected):
        bring_home(acceptance)

    assert names(tmp_path) == {"film.rejected.mp4"}


def hand_on_like_airflow(facts: Any) -> Any:
    """Take facts the way of an XCom: to the supervisor as msgpack, to the API server as JSON, into PostgreSQL."""
    from airflow.sdk.bases.xcom import BaseXCom
    from airflow.sdk.execution_time.comms import SetXCom, _RequestFrame

    value = BaseXCom.serialize_value(facts)
    message = SetXCom(key="wan_video", value=value, dag_id="d", run_id="r", task_id="t", map_index=-1)
    _RequestFrame(id=1, body=message.model_dump()).as_bytes()
    stored = json.dumps(value, allow_nan=False)
    assert r"\u0000" not in stored
    stored.encode()
    return json.loads(json.dumps(facts, allow_nan=False))


def nested(levels: int) -> Any:
    return json.loads("[" * levels + "1" + "]" * levels)


TRIFLES: dict[str, dict[str, Any]] = {
    "a time of the year 1": {"submit_time": "0001-01-01 00:00:00", "end_time": "0001-01-01 00:00:00.123"},
    "a time of the year 9999": {"end_time": "9999-12-31 23:59:59-23:59"},
    "a time of another zone": {"end_time": "0001-01-01T00:00:00+14:00"},
    "a NUL": {"actual_prompt": "a\0b", "usage": {"a\0b": "c\0d"}, "request_id": "r\0"},
    "half an emoji": {"actual_prompt": "cut \ud83d", "orig_prompt": "\ude00", "usage": {"\ud83d": "\ude00"}},
    "deep usage": {"usage": {"a": nested(400)}},
    "deeper usage": {"usage": {"a": nested(900)}},
    "numbers that are none": {"usage": {"duration": float("nan"), "cost": float("-inf")}},
    "a number of 400 digits": {"usage": {"duration": 10**400, "SR": -(10**400)}},
    "a number of 65 bits": {"usage": {"duration": 2**64, "SR": -(2**63) - 1, "fits": 2**64 - 1}},
}


@pytest.mark.parametrize("trifle", TRIFLES)
def test_a_trifle_that_cannot_be_recorded_fails_no_delivery(
    trifle: str, bring_home: Any, host: Host, film: bytes, tmp_path: Path
) -> None:
    host.task, host.file = host.succeeded(**TRIFLES[trifle]) | {"request_id": TRIFLES[trifle].get("request_id")}, film

    video = bring_home()

    assert (tmp_path / "film.mp4").read_bytes() == film
    assert hand_on_like_airflow(video.facts) == video.facts
    record = read_sidecar(Destination(str(tmp_path / "film.mp4")))
    assert record is not None
    assert record.video.sha256 == video.facts["sha256"]
    assert record.gateway.wan_task_id == "x"
    assert "published" in record.times


@pytest.mark.parametrize("order", [{}, {"sources": [{"nonsense": 1}]}, {"request": {"parameters": [1]}}], ids=str)
def test_an_order_that_is_no_order_leaves_a_record_of_the_essentials(
    order: Any, host: Host, film: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host.task, host.file = host.succeeded(), film
    intent = Intent("f" * 64, float("nan"), "wan_default", "dashscope", host.url, Order(**{"request": {}, **order}))
    purchase = Purchase(intent, "x", "r" * 10, float("inf"))
    account = Account(gateway=GATEWAYS[GatewayName.DASHSCOPE], base_url=host.url, api_key=KEY)
    seen: Any = {"succeeded": "never", "running": 1e300}
    delivery = Delivery(Destination(str(tmp_path / "film.mp4")), account, purchase, seen=seen, airflow=AIRFLOW)

    with WanClient(account) as client:
        video = delivery.deliver(client, "x")

    assert hand_on_like_airflow(video.facts) == video.facts
    assert read_sidecar(delivery.destination)
    assert "left out" in caplog.text
    assert ("The request, the times and the cost" in caplog.text) is bool(order)


@pytest.mark.parametrize("beside", ["film.mp4.json", "film.jpg"])
def test_what_cannot_be_written_beside_a_video_fails_no_delivery(
    beside: str, host: Host, film: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host.task, host.file = host.succeeded(), film
    (tmp_path / beside).mkdir()
    account = Account(gateway=GATEWAYS[GatewayName.DASHSCOPE], base_url=host.url, api_key=KEY)
    delivery = Delivery(Destination(str(tmp_path / "film.mp4")), account, poster=True, airflow=AIRFLOW)

    with WanClient(account) as client:
        video = delivery.deliver(client, "x")

    assert (tmp_path / "film.mp4").read_bytes() == film
    assert video.facts["poster"] == (None if beside == "film.jpg" else str(tmp_path / "film.jpg"))
    assert "could not be" in caplog.text


def test_metrics_that_cannot_be_sent_fail_no_delivery(
    bring_home: Any, host: Host, film: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("statsd.example: name or service not known")

    monkeypatch.setattr(metrics, "Stats", SimpleNamespace(incr=refuse, timing=refuse))
    host.task, host.file = host.succeeded(), film

    assert bring_home().facts["bytes"] == len(film)

    assert "A metric could not be reported" in caplog.text
    for count in (
        lambda: metrics.count_submit("apiyi", "wan2.7-i2v", 0.1),
        lambda: metrics.count_reuse(None),
        lambda: metrics.count_failure(WanError("no")),
    ):
        count()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
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
        assert hand_on_like_airflow(video.facts) == video.facts


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
