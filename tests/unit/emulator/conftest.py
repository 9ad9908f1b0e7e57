"""Test media, and one small caller for each gateway of the emulator under test."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import httpx
import pytest
from file_host import host  # noqa: F401
from media_files import tone
from PIL import Image

# Imported, because pytest reads `pytest_plugins` only in the topmost conftest.
from airflow_wan.emulator.pytest_plugin import wan_emulator, wan_emulator_for  # noqa: F401
from airflow_wan.emulator.testing import AT_ONCE, MediaServer, RunningEmulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_wan.emulator.settings import Settings

KEY = "sk-emulator-test-0123456789"
_CREATE = "/api/v1/services/aigc/video-generation/video-synthesis"
_DEADLINE_S = 30.0


@pytest.fixture
def wan_emulator_settings() -> Settings:
    """Tasks are finished at their first poll; a test of states overrides this."""
    return AT_ONCE


@dataclass(frozen=True)
class Gateway:
    """A small client of one gateway of the emulator, with a valid key."""

    http: httpx.Client
    web: httpx.Client
    create_path: str
    task_path: str

    def create(self, body: Any, **headers: str) -> httpx.Response:
        sent = {"X-DashScope-Async": "enable", **headers}
        if isinstance(body, bytes):
            return self.http.post(self.create_path, content=body, headers=sent)
        return self.http.post(self.create_path, json=body, headers=sent)

    def created(self, body: Any) -> str:
        answer = self.create(body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["output"]["task_id"])

    def poll(self, task_id: str) -> dict[str, Any]:
        answer = self.http.get(f"{self.task_path}{task_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ended(self, task_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline:
            body = self.poll(task_id)
            status = body.get("status") or body["output"]["task_status"]
            if status in {"completed", "failed", "SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN"}:
                return body
            time.sleep(0.02)
        raise AssertionError(f"task {task_id} did not end within {_DEADLINE_S} s")

    def video(self, body: Any) -> bytes:
        """Create, wait, download."""
        ended = self.ended(self.created(body))
        url = ended.get("result_url") or ended["output"]["video_url"]
        answer = self.web.get(url)
        assert answer.status_code == 200, answer.text
        return answer.content


@pytest.fixture
def http(wan_emulator: RunningEmulator) -> Iterator[httpx.Client]:  # noqa: F811  # a fixture as argument
    headers = {"Authorization": f"Bearer {KEY}"}
    # With `verify`, each test would read all certificates first.
    with httpx.Client(base_url=wan_emulator.base_url, headers=headers, timeout=10, verify=False) as client:
        yield client


@pytest.fixture
def web() -> Iterator[httpx.Client]:
    """A client without a key, for downloads."""
    with httpx.Client(verify=False) as client:
        yield client


@pytest.fixture
def apiyi(http: httpx.Client, web: httpx.Client) -> Gateway:
    return Gateway(http, web, f"/wan{_CREATE}", "/v1/tasks/")


@pytest.fixture
def dashscope(http: httpx.Client, web: httpx.Client) -> Gateway:
    return Gateway(http, web, _CREATE, "/api/v1/tasks/")


@pytest.fixture(params=["apiyi", "dashscope"])
def gateway(request: pytest.FixtureRequest) -> Gateway:
    """Each gateway in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    folder = tmp_path_factory.mktemp("media")
    picture((1280, 720), "purple").save(folder / "first.png")
    picture((1280, 720), "green").save(folder / "last.png")
    picture((600, 800), "navy").save(folder / "portrait.jpg")
    picture((200, 200), "red").save(folder / "small.png")
    picture((300, 300), "red").save(folder / "below-happyhorse.png")
    picture((3000, 300), "red").save(folder / "strip.png")
    (folder / "tone.wav").write_bytes(tone(3.0))
    (folder / "blip.wav").write_bytes(tone(0.5))
    (folder / "clip.mp4").write_bytes(clip(3))
    (folder / "smooth.mp4").write_bytes(clip(3, fps=24))
    (folder / "long.mp4").write_bytes(clip(9, fps=16))
    (folder / "notes.txt").write_text("neither picture nor sound")
    with MediaServer(folder) as server:
        yield server


@pytest.fixture
def i2v(media: MediaServer) -> dict[str, Any]:
    """The smallest valid body: two seconds from one first frame."""
    return {
        "model": "wan2.7-i2v",
        "input": {"prompt": "a kite", "media": [{"type": "first_frame", "url": media.url("first.png")}]},
        "parameters": {"resolution": "720P", "duration": 2},
    }


def picture(size: tuple[int, int], colour: str) -> Image.Image:
    return Image.blend(Image.new("RGB", size, colour), Image.linear_gradient("L").resize(size).convert("RGB"), 0.3)


def clip(seconds: int, fps: int = 10) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        still = picture((640, 360), "orange")
        for number in range(seconds * fps):
            frame = av.VideoFrame.from_image(still)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()
