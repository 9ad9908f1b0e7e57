"""Reads what tasks have left in XCom. Anyone who may edit XComs can have written it, so it is checked strictly.

What is not exactly as this package writes it counts as unreadable: nothing of it is shown.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

MAX_CHARS = 250_000
"""Longest XCom that is read, in characters of JSON. A prompt has 20,000 at most, and stands in it up to three times."""

_MAX_DEPTH = 50


def _of_our_time(moment: datetime) -> datetime:
    first, last = 2020, 2100
    if not first <= moment.year < last:
        raise ValueError("is not of our time")
    return moment.astimezone(UTC)


Name = Annotated[str, Field(max_length=500)]
Text = Annotated[str, Field(max_length=25_000)]
Path = Annotated[str, Field(max_length=2_000)]
Amount = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Moment = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_of_our_time)]


class _Left(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True)


class Source(_Left):
    """A file that a video was made from."""

    role: Name
    url: Path
    digest: Name | None = None


class FailureLeft(_Left):
    """See `airflow_wan.videos.wan_status.WanFailure`."""

    kind: Name
    message: Text
    advice: Text = ""
    billed: bool | None = None
    code: Name | None = None
    request_id: Name | None = None
    http_status: Annotated[int, Field(ge=0, le=999)] | None = None
    kept_at: Path | None = None
    kept_sha256: Digest | None = None


class Status(_Left):
    """See `airflow_wan.videos.wan_status.WanStatus`."""

    state: Literal["waiting", "submitted", "done", "failed", "dry_run"]
    operator: Name | None = None
    model: Name | None = None
    prompt: Text | None = None
    expanded_prompt: Text | None = None
    request: dict[Name, Any] | None = None
    sources: Annotated[list[Source], Field(max_length=100)] = []
    seconds: Amount | None = None
    resolution: Name | None = None
    estimated_usd: Amount | None = None
    gateway: Name | None = None
    base_url: Path | None = None
    wan_task_id: Name | None = None
    request_id: Name | None = None
    wait_until: Moment | None = None
    times: Annotated[dict[Name, Moment], Field(max_length=50)] = {}
    shortcomings: Annotated[list[Text], Field(max_length=50)] = []
    reused: bool = False
    failure: FailureLeft | None = None

    def part(self, name: Literal["input", "parameters"]) -> dict[str, Any]:
        """Return a part of the request; empty if it is not known."""
        part = (self.request or {}).get(name)
        return part if isinstance(part, dict) else {}

    def took_s(self) -> float | None:
        """Return the seconds from the submit to the download of a video that this task has waited for."""
        submitted, downloaded = self.times.get("submitted"), self.times.get("downloaded")
        if self.state != "done" or self.reused or submitted is None or downloaded is None:
            return None
        return max(0.0, (downloaded - submitted).total_seconds())


class Video(_Left):
    """See `airflow_wan.videos.wan_video.WanVideo`."""

    path: Path
    bytes: Count
    sha256: Digest
    duration_s: Amount | None = None
    width: Count | None = None
    height: Count | None = None
    has_audio: bool | None = None
    wan_task_id: Name | None = None
    request_id: Name | None = None
    model: Name | None = None
    seed: Annotated[int, Field(ge=-(2**53), le=2**53)] | None = None
    spent_usd: Amount | None = None
    video_cost_usd: Amount | None = None
    cost_is_estimate: bool = True
    estimated_cost_usd: Amount | None = None
    poster: Path | None = None
    poster_sha256: Digest | None = None
    reused: bool = False


_T = TypeVar("_T", bound=_Left)


def read_status(text: str | None) -> Status | None:
    """Return what a task has left as ``wan_status``, from its JSON; None if there is none that can be read."""
    return _read(Status, text)


def read_video(text: str | None) -> Video | None:
    """Return what a task has left as ``wan_video``, from its JSON; None if there is none that can be read."""
    return _read(Video, text)


def _read(kind: type[_T], text: str | None) -> _T | None:
    if text is None or len(text) > MAX_CHARS:
        return None
    try:
        value = json.loads(text)
        if isinstance(value, str):  # some versions of Airflow store JSON within JSON
            value = json.loads(value)
        _check_depth(value)
        return kind.model_validate(value)
    except (ValueError, RecursionError, OverflowError, ValidationError):
        return None


def _check_depth(value: object, depth: int = _MAX_DEPTH) -> None:
    if depth == 0:
        raise ValueError("is nested too deep")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(inner, depth - 1)
