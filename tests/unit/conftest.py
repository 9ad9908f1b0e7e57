"""What the unit tests share: a task runner, the emulator as a gateway, and an image to animate."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from task_runner import connect, runner  # noqa: F401 - fixtures

# Imported rather than named in pytest_plugins, which pytest reads in the topmost conftest only.
from airflow_wan.emulator.pytest_plugin import wan_emulator, wan_emulator_for  # noqa: F401
from airflow_wan.emulator.testing import MediaServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_wan.emulator.testing import RunningEmulator


@pytest.fixture
def connect_to(
    wan_emulator: RunningEmulator,  # noqa: F811
    connect: Callable[..., None],  # noqa: F811
) -> Callable[[str], SimpleNamespace]:
    """Point `wan_default` to an emulator, as the gateway of that name."""

    def gateway(name: str) -> SimpleNamespace:
        connect(wan_emulator.base_url, gateway=name)
        return SimpleNamespace(name=name, emulator=wan_emulator)

    return gateway


@pytest.fixture(params=["apiyi", "dashscope"])
def gateway(request: pytest.FixtureRequest, connect_to: Callable[[str], SimpleNamespace]) -> SimpleNamespace:
    """Each of the two gateways in turn."""
    return connect_to(request.param)


@pytest.fixture
def answers_alike() -> Iterator[Callable[..., str]]:
    """Start hosts that answer every request alike, with these headers and this reason; each call returns a base URL."""
    servers = []

    def start(status: int, body: bytes, *, headers: dict[str, str] | None = None, reason: str | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response_only(status, reason)
                for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - as the standard library names it

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    """Serve `frame.png` over loopback."""
    folder: Path = tmp_path_factory.mktemp("media")
    Image.linear_gradient("L").resize((320, 320)).convert("RGB").save(folder / "frame.png")
    with MediaServer(folder) as server:
        yield server


@pytest.fixture
def film(media: MediaServer, tmp_path: Path) -> Callable[..., Any]:
    """Return a factory of image-to-video tasks whose video goes to `film.mp4` in the test's folder."""
    from airflow_wan.operators.wan import WanImageToVideoOperator

    def make(**arguments: Any) -> WanImageToVideoOperator:
        defaults: dict[str, Any] = {
            "task_id": "animate",
            "prompt": "The clouds drift.",
            "first_frame": media.url("frame.png"),
            "duration": 2,
            "output_path": str(tmp_path / "film.mp4"),
            "poll_interval": 0.05,
        }
        return WanImageToVideoOperator(**defaults | arguments)

    return make


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make retry loops go on without sleeping."""
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda _seconds: None))


@pytest.fixture
def without_connection_in_the_triggerer(runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Let only the workers have the connection, as environment variables of one process do."""
    fire = runner._fire

    def fire_without(trigger: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.delenv("AIRFLOW_CONN_WAN_DEFAULT")
            return fire(trigger)

    monkeypatch.setattr(runner, "_fire", fire_without)
