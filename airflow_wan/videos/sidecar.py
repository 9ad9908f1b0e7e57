"""The record beside a video, ``clip.mp4.json``: what was asked for, of whom, what came, and what it cost.

It may be handed on with the video: no key, no signature and no query string gets into it, whoever fills it in. Its
shape is docs/sidecar.schema.json, made from the models here. pydantic is heavy: import this module when a task runs.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeInt,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from airflow_wan import __version__
from airflow_wan.exceptions import DestinationError
from airflow_wan.redaction import shareable

if TYPE_CHECKING:
    from airflow_wan.videos.destination import Destination

log = logging.getLogger(__name__)

LARGEST_BYTES = 1024 * 1024
"""A record beyond this is none of ours, and is not read: ours are a few KB, the longest prompt is 20,000 characters."""


class _Part(BaseModel):
    """Whatever is put into a part of the record is made shareable first."""

    # Fields that are not known are passed over: a later version may add some without being another schema.
    model_config = ConfigDict(
        frozen=True, use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )

    @model_validator(mode="before")
    @classmethod
    def _make_shareable(cls, data: Any) -> Any:
        return shareable(data)


class Package(_Part):
    """The package that wrote the record."""

    name: str = "airflow-provider-wan"
    version: str = Field(default_factory=lambda: __version__)


class Video(_Part):
    """The file beside the record."""

    name: str
    """File name, without its folder."""
    bytes: NonNegativeInt
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Inspection(_Part):
    """What was found in the file."""

    duration_s: float | None
    """Length in s, as the header has it."""
    width: int | None
    """px, as shown."""
    height: int | None
    """px, as shown."""
    has_audio: bool
    c2pa: bool
    """Whether Content Credentials (a C2PA manifest) are in the file."""
    aigc_label: bool
    """Whether the file's metadata label it as generated (key AIGC)."""
    decoded: bool
    """Whether its first frame and its end were decoded, or only the header read."""
    shortcomings: tuple[str, ...] = ()
    """Where the video is not what was asked for, in sentences."""


class Source(_Part):
    """A file that the video was made from."""

    role: str
    """What it was to the model: first_frame, driving_audio, ..."""
    url: str
    """Where it came from, without query string; data URIs as their digest."""
    digest: str | None = None
    """Of its bytes, where they were seen."""


class Generation(_Part):
    """What the model worked from."""

    model: str | None = None
    seed: int | None = None
    prompt: str | None = None
    """As it was asked for."""
    expanded_prompt: str | None = None
    """As the gateway rewrote it (its actual_prompt)."""


class Gateway(_Part):
    """Who made the video."""

    name: str
    """apiyi or dashscope."""
    base_url: str
    wan_task_id: str
    request_id: str | None = None


class Attempts(_Part):
    """How often it was tried."""

    airflow_try: int | None = None
    """The try of the Airflow task that published the video."""
    downloads: int | None = None
    """Downloads it took within that try."""


class Cost(_Part):
    """What the video cost."""

    currency: Literal["USD"] = "USD"
    estimated: float | None = None
    """By the rates, before the video was ordered."""
    settled: float | None = None
    """By what the gateway said was used."""
    usage: Annotated[dict[str, JsonValue], WithJsonSchema({"type": "object"})] = {}
    """The gateway's own figures."""
    rates_as_of: str | None = None
    """When the rates were looked up: 2026-08."""


class AirflowTask(_Part):
    """The task instance that published the video."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    """-1 where the task is not mapped."""


class Sidecar(_Part):
    """The record beside a video that Wan made: what was asked for, of whom, what came, and what it cost."""

    schema_version: Literal[1] = 1
    package: Package = Field(default_factory=Package)
    video: Video
    inspection: Inspection
    request: Annotated[
        dict[str, JsonValue] | None, WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "null"}]})
    ] = None
    """The JSON body as it was asked for, in its shareable form: URLs without query, data URIs as their digests. null
    where it is not known, as to a sensor that only waited."""
    fingerprint: str | None = None
    """Equal for requests that ask for the same."""
    sources: tuple[Source, ...] = ()
    generation: Generation = Field(default_factory=Generation)
    gateway: Gateway
    times: dict[str, Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]] = {}
    """When each state was reached, in UTC: intent, submitted, running, ended, downloaded, published, ..."""
    attempts: Attempts = Field(default_factory=Attempts)
    cost: Cost = Field(default_factory=Cost)
    airflow: AirflowTask

    def to_json(self) -> str:
        """The text of the file: always in the same order, for people and for diffs."""
        return self.model_dump_json(indent=2) + "\n"


def schema_text() -> str:
    """What docs/sidecar.schema.json holds."""
    schema = Sidecar.model_json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def write_sidecar(destination: Destination, sidecar: Sidecar) -> None:
    """Write the record beside a video, all of it or nothing.

    :param destination: the video's.
    :raises DestinationError: when it could not be written.
    """
    destination.sidecar.write(sidecar.to_json().encode())


def read_sidecar(destination: Destination) -> Sidecar | None:
    """The record beside a video, or None when there is none, or none that can be understood.

    :param destination: the video's.
    :raises DestinationError: when the store cannot be asked for now.
    """
    place = destination.sidecar
    try:
        content = place.read(LARGEST_BYTES + 1)
    except DestinationError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        log.warning("%s is passed over: it may not be read.", place)
        return None
    if content is None:
        return None
    if len(content) > LARGEST_BYTES:
        log.warning("%s is passed over: it is larger than any record (%s bytes).", place, LARGEST_BYTES)
        return None
    try:
        return Sidecar.model_validate_json(content)
    except (ValidationError, OverflowError) as error:  # a time at the end of the calendar overflows
        log.warning("%s is passed over: it is no record of this version (%s).", place, _reason(error))
        return None


def video_matches(destination: Destination, sidecar: Sidecar) -> bool:
    """Whether the file that is there now is the one that the record is about.

    :param destination: the video's.
    :param sidecar: its record.
    :raises DestinationError: when it cannot be told.
    """
    # The size is to be had for nothing; for the digest the whole file is read.
    return destination.size() == sidecar.video.bytes and destination.sha256() == sidecar.video.sha256


def _reason(error: ValidationError | OverflowError) -> str:
    """The first thing that is wrong, without the text it is wrong in."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
