"""Makes videos with litellm: one order a line in, as JSON, and one answer a line out."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would ask GitHub for prices

import litellm

litellm.suppress_debug_info = True


def make(target: str, account: dict[str, str], call: dict[str, Any]) -> dict[str, Any]:
    video = litellm.video_generation(**call, **account)
    while video.status in {"queued", "in_progress"}:
        time.sleep(0.1)
        video = litellm.video_status(video.id, **account)
    if video.status == "completed":
        Path(target).write_bytes(litellm.video_content(video.id, **account))
    return dict(video.model_dump())


for line in sys.stdin:
    try:
        answer = make(**json.loads(line))
    except Exception as error:  # noqa: BLE001  # whatever it is, the test looks at it
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer, default=str), flush=True)  # noqa: T201  # the answer is for the test that started this
