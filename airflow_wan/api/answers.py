"""A gateway's HTTP answer, as far as the rest of the protocol needs to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_wan.exceptions import MAX_CODE_CHARS


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, without anything of the HTTP library.

    :param http_status: its status code.
    :param headers: its headers, with names in lower case.
    :param payload: its body as JSON; None if the body is not JSON.
    :param text: its body as text.
    """

    http_status: int
    headers: Mapping[str, str]
    payload: object
    text: str = field(repr=False)

    @property
    def body(self) -> Mapping[str, Any]:
        """The JSON object; an empty one if the body is something else."""
        return self.payload if isinstance(self.payload, Mapping) else {}

    @property
    def ok(self) -> bool:
        """Whether the status code says success."""
        return 200 <= self.http_status < 300  # noqa: PLR2004

    @property
    def request_id(self) -> str | None:
        """The id that the gateway's support needs to find the request: APIYI's own id, else the upstream's."""
        own, upstream = self.headers.get("x-shellapi-request-id"), self.headers.get("x-request-id")
        found = own or text_of(self.body.get("request_id")) or upstream
        return found[:MAX_CODE_CHARS] if found else None


def text_of(value: object) -> str | None:
    """Return a string that is not blank, or a number as text; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (str, int, float)):
        return str(value).strip() or None
    return None
