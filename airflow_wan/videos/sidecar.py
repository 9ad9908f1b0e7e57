"""The record beside a video, ``clip.mp4.json``: the request, the gateway, what was found in the file, and the cost.

It can be shared together with the video: the models here remove keys, signatures and query strings from every field.
docs/sidecar.schema.json is generated from the models. pydantic is slow to import: import this module in running tasks
only.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
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
    computed_field,
    model_validator,
)

from airflow_wan import __version__
from airflow_wan.exceptions import DestinationError
from airflow_wan.redaction import shareable

if TYPE_CHECKING:
    from airflow_wan.videos.destination import Destination

log = logging.getLogger(__name__)

MAX_RECORD_BYTES = 1024 * 1024
"""Larger files are not read: our records have a few KB, and the longest prompt has 20,000 characters."""


class _Part(BaseModel):
    """Base of all parts of the record. It makes every value shareable before it is stored."""

    # Unknown fields are ignored: a later version may add some without a new schema_version. The validators are built
    # when they are first used, which more than halves the time to import this module.
    model_config = ConfigDict(
        defer_build=True, frozen=True, use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
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


class Poster(Video):
    """The first frame of the video, as JPEG beside it."""


class Inspection(_Part):
    """What was found in the file."""

    duration_s: float | None
    """Length in s, from the header."""
    width: int | None
    """Width in px, as displayed."""
    height: int | None
    """Height in px, as displayed."""
    has_audio: bool
    c2pa: bool
    """Whether the file holds Content Credentials (a C2PA manifest)."""
    aigc_label: bool
    """Whether the file's metadata label it as generated (key AIGC)."""
    decoded: bool
    """Whether the first frame and the end were decoded. If false, only the header was read."""
    shortcomings: tuple[str, ...] = ()
    """Sentences that say where the video differs from the request."""


class Source(_Part):
    """A file that the video was made from."""

    role: str
    """The role of the file in the request: first_frame, driving_audio, ..."""
    url: str
    """The URL or path of the file, without query string; the digest of a data URI."""
    digest: str | None = None
    """Identifies the file's content, as sha256:... or etag:..., where it is known."""
    adapted_digest: str | None = None
    """Identifies the copy that was sent instead of the file, as sha256:..., if the file was made to fit."""


class Generation(_Part):
    """The model and its input."""

    model: str | None = None
    seed: int | None = None
    prompt: str | None = None
    """The prompt of the request."""
    expanded_prompt: str | None = None
    """The prompt that the gateway made of it (its actual_prompt)."""


class Gateway(_Part):
    """The gateway that made the video."""

    name: str
    """apiyi or dashscope."""
    base_url: str
    wan_task_id: str
    request_id: str | None = None


class Attempts(_Part):
    """How many attempts the video took."""

    airflow_try: int | None = None
    """The number of the Airflow try that published the video."""
    downloads: int | None = None
    """How many downloads that try needed."""


class Cost(_Part):
    """What the video cost."""

    currency: Literal["USD"] = "USD"
    estimated: float | None = None
    """Estimated from the rates before the request was sent."""
    settled: float | None = None
    """Calculated from the usage that the gateway reported."""

    @computed_field  # type: ignore[prop-decorator] # mypy knows no decorated properties
    @property
    def video_usd(self) -> float | None:
        """What the video cost: the settled cost if it is known, otherwise the estimate."""
        return self.estimated if self.settled is None else self.settled

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_estimate(self) -> bool:
        """Whether video_usd is the estimate, because the gateway has not told what it billed."""
        return self.settled is None

    usage: Annotated[dict[str, JsonValue], WithJsonSchema({"type": "object"})] = {}
    """The usage that the gateway reported."""
    rates_as_of: str | None = None
    """The month of the price list: 2026-08."""


class AirflowTask(_Part):
    """The task instance that published the video."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    """-1 if the task is not mapped."""


class Sidecar(_Part):
    """The record beside a video made by Wan: the request, the gateway, what was found in the file, and the cost."""

    schema_version: Literal[1] = 1
    package: Package = Field(default_factory=Package)
    video: Video
    poster: Poster | None = None
    """null if this package left none beside the video."""
    inspection: Inspection
    request: Annotated[
        dict[str, JsonValue] | None, WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "null"}]})
    ] = None
    """The JSON body of the request, with URLs without their query and digests instead of data URIs. null if it is not
    known: a sensor only waits for the video."""
    fingerprint: str | None = None
    """Equal for requests with the same content."""
    sources: tuple[Source, ...] = ()
    generation: Generation = Field(default_factory=Generation)
    gateway: Gateway
    times: dict[str, Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]] = {}
    """When each state was reached, in UTC: intent, submitted, running, ended, downloaded, published, ..."""
    attempts: Attempts = Field(default_factory=Attempts)
    cost: Cost = Field(default_factory=Cost)
    airflow: AirflowTask | None
    """null if no Airflow task made the video, but the command line."""

    def to_json(self) -> str:
        """Return the content of the file. The order of the fields never changes, so that files can be compared."""
        return self.model_dump_json(indent=2) + "\n"


def schema_text() -> str:
    """Return the content of docs/sidecar.schema.json."""
    schema = Sidecar.model_json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def write_sidecar(destination: Destination, sidecar: Sidecar) -> None:
    """Write the record beside a video, in one step, unless a file is there that is no record of ours.

    :param destination: the video's destination.
    :param sidecar: the record.
    :raises DestinationError: when it could not be written; no partial record is left.
    """
    place = replace(destination.sidecar, may_replace=lambda: is_record_or_unknown(destination))
    if not place.write(sidecar.to_json().encode()):
        raise DestinationError(f"At {place} is a file that is no record of this package, and stays there.")


def is_record_or_unknown(destination: Destination) -> bool:
    """Return whether the file at the place of a record is a record, or no key tells what it is.

    :param destination: the video's destination.
    :raises DestinationError: when the store cannot answer for now.
    """
    if read_sidecar(destination) is not None:
        return True
    try:
        return destination.sidecar.size() is None
    except DestinationError as error:
        # A key that may only write to a store can never tell.
        if destination.local_path is None and isinstance(error.__cause__, PermissionError):
            return True
        raise


def read_sidecar(destination: Destination) -> Sidecar | None:
    """Return the record beside a video, or None when there is none that can be used.

    A file that may not be read, or is no record of this version, is ignored with a warning.

    :param destination: the video's destination.
    :raises DestinationError: when the store cannot answer for now.
    """
    place = destination.sidecar
    try:
        content = place.read(MAX_RECORD_BYTES + 1)
    except DestinationError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        log.warning("%s is ignored: no permission to read it.", place)
        return None
    if content is None:
        return None
    if len(content) > MAX_RECORD_BYTES:
        log.warning("%s is ignored: it is larger than any record (%s bytes).", place, MAX_RECORD_BYTES)
        return None
    try:
        return Sidecar.model_validate_json(content)
    except (ValidationError, OverflowError) as error:  # a time near the year 1 or 9999 overflows in UTC
        log.warning("%s is ignored: it is no record of this version (%s).", place, _reason(error))
        return None


def video_matches(destination: Destination, sidecar: Sidecar) -> bool:
    """Return whether the file at the destination is the one that the record describes.

    :param destination: the video's destination.
    :param sidecar: its record.
    :raises DestinationError: when the file cannot be read.
    """
    # The size is compared first: for the digest the whole file must be read.
    return destination.size() == sidecar.video.bytes and destination.sha256() == sidecar.video.sha256


def _reason(error: ValidationError | OverflowError) -> str:
    """Return the first problem without the value that caused it, which may hold a secret."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
