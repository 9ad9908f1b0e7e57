"""What 480P, 720P and 1080P mean in pixels; shared by the protocol and the acceptance of files."""

from __future__ import annotations

import math

TIER_PIXELS = {"480P": 854 * 480, "720P": 1280 * 720, "1080P": 1920 * 1080}
"""Pixels of a frame by resolution. A tier fixes the area, whatever the sides: 720P is 1280x720, 960x960 or 1104x832,
1080P 1920x1080, 1440x1440 or 1648x1248 (Alibaba's sizes for wan2.7-t2v); for 480P no size is documented."""


def nearest_resolution(pixels: int) -> str:
    """The tier that a frame of so many pixels belongs to.

    :param pixels: width times height, more than 0.
    """
    return min(TIER_PIXELS, key=lambda tier: abs(math.log(pixels / TIER_PIXELS[tier])))
