"""ali-bailian-mcp, an MCP server by which agents make videos, against the emulator to a downloaded file.

Its version is in constraints/clients.txt. It makes videos with wan3.0 and edits them with HappyHorse, uploads local
files, and keeps a record of each job.
"""

from __future__ import annotations

import base64
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from file_host import make_mp4
from foreign_clients import CDN, FIRST, KEY, LAST, ForeignClient, assert_the_one_video, python_client
from media_files import image, tone

from airflow_wan.emulator.testing import FAST, RunningEmulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LONGEST_WAIT_S = 60.0


@pytest.fixture(scope="module")
def emulator_for_all(media_mirrors: tuple[tuple[str, str], ...]) -> Iterator[RunningEmulator]:
    with RunningEmulator(replace(FAST, media_mirrors=media_mirrors)) as running:
        yield running


@pytest.fixture
def emulator(emulator_for_all: RunningEmulator) -> RunningEmulator:
    emulator_for_all.reset()
    return emulator_for_all


@pytest.fixture(scope="module")
def call(emulator_for_all: RunningEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Call a tool of the MCP server and return its result."""
    home = tmp_path_factory.mktemp("ali_bailian_mcp")
    account = {"DASHSCOPE_BASE_URL": emulator_for_all.base_url, "DASHSCOPE_API_KEY": KEY}
    numbers = count()
    with ForeignClient(python_client("ali-bailian-mcp", "ali-bailian-mcp"), home, **account) as server:

        def request(method: str, **parameters: Any) -> dict[str, Any]:
            asked = {"jsonrpc": "2.0", "id": next(numbers), "method": method, "params": parameters}
            answer: dict[str, Any] = server.ask(asked)["result"]
            return answer

        def call_tool(tool: str, **arguments: Any) -> dict[str, Any]:
            result: dict[str, Any] = request("tools/call", name=tool, arguments=arguments)["structuredContent"]
            return result

        client = {"name": "tests", "version": "1"}
        request("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
        server.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})
        yield call_tool


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Write local media and return the path of each."""
    contents = {
        "frame.png": image(size=(1280, 720)),
        "voice.wav": tone(3),
        "clip.mp4": make_mp4(seconds=3.0, size=(640, 360)),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in contents}


def _ended(call: Callable[..., Any], submitted: dict[str, Any]) -> dict[str, Any]:
    """Ask for a job until it has ended, and return it."""
    assert submitted["job_state"] == "running", submitted
    deadline = time.monotonic() + _LONGEST_WAIT_S
    while (job := call("get_job", job_id=submitted["job_id"]))["job_state"] == "running":
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
    return dict(job)


def _content(job: dict[str, Any]) -> bytes:
    (path,) = job["files"]
    return Path(path).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "media"),
    [
        ({}, None),
        ({"model": "wan-fast", "ratio": "9:16", "seed": 7}, None),
        (
            {"first_frame": FIRST, "last_frame": LAST},
            [{"type": "first_frame", "url": FIRST}, {"type": "last_frame", "url": LAST}],
        ),
        ({"reference_images": [FIRST, LAST]}, [{"type": "reference_image", "url": url} for url in (FIRST, LAST)]),
    ],
    ids=["from text", "from text by wan-fast", "from first and last frame", "from images"],
)
def test_a_job_ends_in_a_file(
    arguments: dict[str, Any], media: object, call: Callable[..., Any], emulator: RunningEmulator, tmp_path: Path
) -> None:
    order = {"prompt": "a kite", "resolution": "480P", "duration": 2, "out_dir": str(tmp_path)}

    job = _ended(call, call("generate_video", **order | arguments))

    assert job["job_state"] == "delivered", job
    assert job["usage"]["output_video_duration"] == 2
    (request,) = emulator.requests()
    assert request["body"]["input"] == {"prompt": "a kite"} | ({"media": media} if media else {})
    assert request["body"]["parameters"] == {
        "resolution": "480P",
        "ratio": "adaptive",
        "audio": True,
        "watermark": False,
        "duration": 2,
    } | {name: arguments[name] for name in ("ratio", "seed") if name in arguments}
    assert_the_one_video(_content(job), emulator)


def test_local_files_are_uploaded_first(
    call: Callable[..., Any], emulator: RunningEmulator, files: dict[str, str], tmp_path: Path
) -> None:
    references = {
        "reference_images": [files["frame.png"]],
        "reference_videos": [files["clip.mp4"]],
        "reference_audios": [files["voice.wav"]],
    }

    job = _ended(
        call,
        call("generate_video", prompt="a kite", resolution="480P", duration=2, out_dir=str(tmp_path), **references),
    )

    assert job["job_state"] == "delivered", job
    (request,) = emulator.requests()
    assert request["headers"]["x-dashscope-ossresourceresolve"] == "enable"
    assert [item["url"] for item in request["body"]["input"]["media"]] == [row["url"] for row in emulator.uploads()]
    assert_the_one_video(_content(job), emulator)


def test_a_local_clip_is_edited_with_an_image_in_the_request(
    call: Callable[..., Any], emulator: RunningEmulator, files: dict[str, str], tmp_path: Path
) -> None:
    submitted = call(
        "edit_video",
        video=files["clip.mp4"],
        prompt="a kite",
        reference_images=[files["frame.png"]],
        out_dir=str(tmp_path),
    )
    job = _ended(call, submitted)

    assert job["job_state"] == "delivered", job
    (request,) = emulator.requests()
    assert request["body"]["model"] == "happyhorse-1.0-video-edit"
    assert request["body"]["input"]["media"] == [
        {"type": "video", "url": emulator.uploads()[0]["url"]},
        {
            "type": "reference_image",
            "url": "data:image/png;base64," + base64.b64encode(Path(files["frame.png"]).read_bytes()).decode(),
        },
    ]
    assert_the_one_video(_content(job), emulator)


def test_errors_arrive_as_code_and_message(call: Callable[..., Any], emulator: RunningEmulator, tmp_path: Path) -> None:
    order = {"prompt": "a kite", "out_dir": str(tmp_path)}
    refused = call("generate_video", **order, parameters={"resolution": "8K"})
    assert emulator.ledger() == []
    failed = _ended(call, call("generate_video", **order, first_frame=f"{CDN}absent.png"))

    assert "HTTP 400 InvalidParameter" in refused["error"]
    assert "InvalidFile.DownloadFailed" in failed["error"]
    assert [task["billed"] for task in emulator.ledger()] == [False]


def test_a_create_is_sent_once_although_its_answer_is_lost(
    call: Callable[..., Any], emulator: RunningEmulator, tmp_path: Path
) -> None:
    emulator.add_fault("create", "drop_connection")

    submitted = call("generate_video", prompt="a kite", out_dir=str(tmp_path))
    recovered = call("recover_job", job_id=submitted["job_id"])

    assert (submitted["job_state"], recovered["ok"]) == ("unknown", False)
    assert len(emulator.requests()) == len(emulator.ledger()) == 1


def test_a_download_that_breaks_is_repeated_without_another_create(
    call: Callable[..., Any], emulator: RunningEmulator, tmp_path: Path
) -> None:
    emulator.add_fault("download", "truncated")

    broken = _ended(call, call("generate_video", prompt="a kite", resolution="480P", duration=2, out_dir=str(tmp_path)))
    recovered = call("recover_job", job_id=broken["job_id"])

    assert (broken["job_state"], broken["files"]) == ("download_failed", [])
    assert recovered["job_state"] == "delivered", recovered
    assert_the_one_video(_content(recovered), emulator)
