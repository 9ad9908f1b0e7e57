"""Submits videos to the emulator as anybody could, with an HTTP client and nothing of this package."""

from __future__ import annotations

import httpx


def submit_plainly(base_url: str, gateway: str, first_frame: str) -> str:
    """Submit a video, and return the id of its Wan task.

    :param base_url: where the emulator is.
    :param gateway: the gateway whose protocol to speak: ``apiyi`` or ``dashscope``.
    :param first_frame: URL of the first frame.
    """
    prefix = "/wan" if gateway == "apiyi" else ""
    answer = httpx.post(
        f"{base_url}{prefix}/api/v1/services/aigc/video-generation/video-synthesis",
        headers={"Authorization": "Bearer sk-unit-tests-0123456789", "X-DashScope-Async": "enable"},
        json={
            "model": "wan2.7-i2v",
            "input": {"prompt": "x", "media": [{"type": "first_frame", "url": first_frame}]},
            "parameters": {"resolution": "720P", "duration": 2},
        },
    )
    return str(answer.json()["output"]["task_id"])
