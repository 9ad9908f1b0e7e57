"""What the tests of whole DAGs share: the examples, the media that they name, and a player for their videos."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import av
import pytest
from media_files import tone
from PIL import Image
from whole_dags import run_dag, videos, wan_api_key, wan_connection  # noqa: F401 - fixtures

from airflow_wan.emulator.pytest_plugin import wan_emulator, wan_emulator_for  # noqa: F401 - fixtures
from airflow_wan.emulator.testing import MediaServer
from airflow_wan.emulator.video import Scene, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow.sdk import DAG

    from airflow_wan.emulator.settings import Settings


@dataclass(frozen=True)
class Film:
    """What a video player finds in an mp4 file."""

    seconds: float
    width: int
    height: int
    has_audio: bool


@pytest.fixture
def examples() -> Path:
    return Path(__file__).parents[2] / "example_dags"


@pytest.fixture
def example(examples: Path) -> Callable[..., DAG]:
    """Return a function that loads an example DAG from its file, as the DAG processor does."""

    def load(name: str, variable: str = "dag") -> DAG:
        spec = importlib.util.spec_from_file_location(name, examples / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        dag: DAG = getattr(module, variable)
        return dag

    return load


@pytest.fixture
def wan_emulator_settings(wan_emulator_settings: Settings, media: MediaServer) -> Settings:
    """Let the emulator read media from the test's server where a DAG names an address of the documentation."""
    return replace(wan_emulator_settings, media_mirrors=(("https://your-cdn.com/", media.url("")),))


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    folder = tmp_path_factory.mktemp("media")
    (folder / "products").mkdir()
    for name, colour in {
        "rap": "purple",
        "products/mug": "teal",
        "products/lamp": "olive",
        "products/chair": "navy",
    }.items():
        picture = Image.blend(
            Image.new("RGB", (1280, 720), colour), Image.radial_gradient("L").resize((1280, 720)).convert("RGB"), 0.4
        )
        picture.save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "rap.mp3").write_bytes(tone(seconds=3))
    (folder / "clip.mp4").write_bytes(render(Scene(picture, None, None, 640, 360, seconds=2)))
    with MediaServer(folder) as server:
        yield server


@pytest.fixture
def watch_film() -> Callable[[str], Film]:
    """Return a function that opens a video with a decoder that shares no code with this package."""

    def watch(path: str) -> Film:
        with av.open(path) as container:
            picture = container.streams.video[0]
            assert sum(1 for _ in container.decode(video=0)) == picture.frames
            return Film(
                seconds=round(float(container.duration or 0) / av.time_base, 1),
                width=picture.codec_context.width,
                height=picture.codec_context.height,
                has_audio=bool(container.streams.audio),
            )

    return watch
