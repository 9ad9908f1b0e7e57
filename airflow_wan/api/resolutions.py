"""What 480P, 720P and 1080P mean in pixels; used for requests and to check the finished video."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from airflow_wan.api.parameters import to_integer

if TYPE_CHECKING:
    from collections.abc import Mapping

TIER_PIXELS = {"480P": 854 * 480, "720P": 1280 * 720, "1080P": 1920 * 1080}
"""Pixels of a frame by resolution. A resolution fixes the area and not the sides: 720P is 1280x720, 960x960 or
1104x832, and 1080P is 1920x1080, 1440x1440 or 1648x1248 (Alibaba's sizes for wan2.7-t2v)."""

SIZES: Mapping[tuple[str, str], str] = {
    ("480P", "16:9"): "832*480",
    ("480P", "9:16"): "480*832",
    ("480P", "1:1"): "624*624",
    ("720P", "16:9"): "1280*720",
    ("720P", "9:16"): "720*1280",
    ("720P", "1:1"): "960*960",
    ("720P", "4:3"): "1088*832",
    ("720P", "3:4"): "832*1088",
    ("1080P", "16:9"): "1920*1080",
    ("1080P", "9:16"): "1080*1920",
    ("1080P", "1:1"): "1440*1440",
    ("1080P", "4:3"): "1632*1248",
    ("1080P", "3:4"): "1248*1632",
}
"""DashScope's ``size`` for wan2.6 and the models before it, by resolution and ratio. Source: Alibaba's wan2.6 page; for
480P, a copy of its wan2.5 page. At 1080P they are not those of wan2.7, whose 4:3 is 1648x1248."""


def sizes_of(resolutions: tuple[str, ...]) -> tuple[str, ...]:
    """Return every ``size`` of some resolutions."""
    return tuple(size for (resolution, _), size in SIZES.items() if resolution in resolutions)


def nearest_resolution(pixels: int) -> str:
    """Return the resolution whose area is nearest to a frame's.

    :param pixels: width times height, more than 0.
    """
    return min(TIER_PIXELS, key=lambda tier: abs(math.log(pixels / TIER_PIXELS[tier])))


def resolution_of_size(size: str) -> str:
    """Return the resolution of a ``size`` such as ``1280*720``; the lowest one for other text."""
    width, _, height = size.partition("*")
    return nearest_resolution(max(1, (to_integer(width) or 0) * (to_integer(height) or 0)))
