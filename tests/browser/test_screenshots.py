"""The pictures of the documentation. They are taken when SCREENSHOTS names a folder: `make screenshots`."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from page_stage import Stage
    from playwright.sync_api import Page

FOLDER = os.environ.get("SCREENSHOTS", "")
WIDTH_PX = 1280
MAX_BYTES = 200_000
COLOURS = 256
# A player has what it asked for (its first frame, its length) and turns no circle, or is not asked for it yet.
LOADED = "(one) => one.preload === 'none' || (one.readyState >= 1 && one.networkState === one.NETWORK_IDLE)"

pytestmark = pytest.mark.skipif(not FOLDER, reason="SCREENSHOTS names no folder")


def pages(stage: Stage) -> dict[str, tuple[str, str, int]]:
    """Return the address, the theme and the height in px of each picture."""
    runs = stage.runs
    return {
        "video": (f"{runs['disk'].in_airflow}/tasks/rap/plugin/wan_video", "light", 980),
        "dark": (f"{runs['disk'].in_airflow}/tasks/rap/plugin/wan_video", "dark", 980),
        "failed": (f"{runs['refused'].in_airflow}/tasks/film/plugin/wan_video", "light", 780),
        "sheet": (f"{runs['mapped'].in_airflow}/plugin/wan_sheet", "light", 780),
        "gallery": ("/plugin/wan_gallery", "light", 980),
    }


def still_picture(page: Page) -> bytes:
    """Return a picture of the page when nothing moves: a player's circle turns on for a moment when all is loaded."""
    last, now = b"", page.screenshot()
    while now != last:
        page.wait_for_timeout(500)
        last, now = now, page.screenshot()
    return now


@pytest.mark.parametrize("name", ["video", "dark", "failed", "sheet", "gallery"])
def test_a_picture_is_taken(stage: Stage, look: Callable[..., Page], name: str) -> None:
    address, theme, height = pages(stage)[name]
    page = look(address, width=WIDTH_PX, height=height, stored={"theme": theme})
    frame = page.frame_locator("iframe")
    frame.locator("h1").wait_for()
    page.frames[-1].wait_for_function(f"() => [...document.querySelectorAll('video, audio')].every({LOADED})")
    taken = Image.open(io.BytesIO(still_picture(page)))

    target = Path(FOLDER) / f"{name}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    picture = taken.convert("RGB")
    palette = picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=5)
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(target, optimize=True)

    assert target.stat().st_size < MAX_BYTES
