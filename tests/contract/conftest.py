"""What the tests of foreign clients share: media behind a public address, and an emulator that can fetch them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from file_host import make_mp4
from media_files import image, tone

from airflow_wan.emulator.testing import AT_ONCE, FAST, MediaServer, RunningEmulator

if TYPE_CHECKING:
    from collections.abc import Iterator

CDN = "https://your-cdn.com/"


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


@pytest.fixture
def public_emulator(
    media_mirrors: tuple[tuple[str, str], ...], request: pytest.FixtureRequest
) -> Iterator[RunningEmulator]:
    """Run an emulator for which CDN is the server of the media; its videos are finished at the first poll."""
    settings = FAST if request.node.get_closest_marker("takes_time") else AT_ONCE
    with RunningEmulator(replace(settings, media_mirrors=media_mirrors)) as running:
        yield running
