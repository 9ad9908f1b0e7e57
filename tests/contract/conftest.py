"""What the tests of foreign clients share: media behind a public address, and an emulator that can fetch them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from file_host import make_mp4
from foreign_clients import CDN
from media_files import image, tone

from airflow_wan.emulator.testing import AT_ONCE, FAST, MediaServer, RunningEmulator

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def media_mirrors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[tuple[str, str], ...]]:
    """Serve first.png, last.png, voice.wav and clip.mp4, and return where the emulator finds what CDN has."""
    folder = tmp_path_factory.mktemp("cdn")
    (folder / "first.png").write_bytes(image(size=(1280, 720)))
    (folder / "last.png").write_bytes(image(size=(1280, 720)))
    (folder / "voice.wav").write_bytes(tone(3))
    (folder / "clip.mp4").write_bytes(make_mp4(seconds=3.0, size=(640, 360)))
    with MediaServer(folder) as server:
        yield ((CDN, server.url("")),)


@pytest.fixture(scope="session")
def emulator_at_once(media_mirrors: tuple[tuple[str, str], ...]) -> Iterator[RunningEmulator]:
    """Run one emulator for all tests, because to stop one takes 0.2 s."""
    with RunningEmulator(replace(AT_ONCE, media_mirrors=media_mirrors)) as running:
        yield running


@pytest.fixture
def public_emulator(
    media_mirrors: tuple[tuple[str, str], ...], request: pytest.FixtureRequest
) -> Iterator[RunningEmulator]:
    """Return an emulator for which CDN is the server of the media, and that has no tasks."""
    if request.node.get_closest_marker("takes_time"):
        with RunningEmulator(replace(FAST, media_mirrors=media_mirrors)) as running:
            yield running
    else:
        shared: RunningEmulator = request.getfixturevalue("emulator_at_once")
        shared.reset()
        yield shared
