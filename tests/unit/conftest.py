"""What the unit tests share: tasks that run, a gateway that is the emulator, an image to film."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from task_runner import connect, runner  # noqa: F401 - fixtures

# Imported rather than named in pytest_plugins, which pytest reads in the topmost conftest only.
from airflow_wan.emulator.pytest_plugin import wan_emulator, wan_emulator_for, wan_emulator_settings  # noqa: F401
from airflow_wan.emulator.testing import MediaServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_wan.emulator.testing import RunningEmulator


@pytest.fixture(params=["apiyi", "dashscope"])
def gateway(
    request: pytest.FixtureRequest,
    wan_emulator: RunningEmulator,  # noqa: F811
    connect: Callable[..., None],  # noqa: F811
) -> SimpleNamespace:
    """An emulator that `wan_default` leads to, as each of the two gateways in turn."""
    connect(wan_emulator.base_url, gateway=request.param)
    return SimpleNamespace(name=request.param, emulator=wan_emulator)


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    """Serves `frame.png` over loopback."""
    folder: Path = tmp_path_factory.mktemp("media")
    Image.linear_gradient("L").resize((320, 320)).convert("RGB").save(folder / "frame.png")
    with MediaServer(folder) as server:
        yield server


@pytest.fixture
def film(media: MediaServer, tmp_path: Path) -> Callable[..., Any]:
    """Makes an image-to-video task whose video goes to ``film.mp4`` in the test's folder."""
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
    """Retry loops do not sleep."""
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda _seconds: None))
