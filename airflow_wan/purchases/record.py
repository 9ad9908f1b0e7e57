"""What a task instance has bought, or was about to buy, as a plain JSON record that outlives the worker.

nothing → `Intent` (written before the create request) → `Purchase` (written as soon as the Wan task id is known).

Nothing secret is in a record: Airflow keeps it as plain text in its database and shows it in its web interface.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from airflow_wan.api.gateways import GATEWAYS
from airflow_wan.exceptions import LedgerUnreadable
from airflow_wan.redaction import identity

RECORD_VERSION = 1

STATE_STORE_KEY = "wan_purchase"
"""The key of the record in Airflow's task state store."""


@dataclass(frozen=True, slots=True)
class Order:
    """What was ordered, as far as whoever brings the video home needs to know. An empty order: nothing is known.

    :param request: the JSON body as its author wrote it, without signatures and inline data.
    :param sources: the files that it names: dicts with ``role``, ``url``, ``digest``, ``duration_s`` and
        ``adapted_digest``.
    :param seconds: the length ordered, s; None where the video follows its source or the model decides.
    :param resolution: ``480P``, ``720P`` or ``1080P``.
    :param driven_by_audio: whether a sound track was given, so that the video must have one.
    :param estimated_usd: what it should cost by the estimate, USD.
    :param found_there: `Destination.version` of what was at the destination just before the video was ordered; None
        where that is not known.
    :param reservations: what it holds of the budgets, see `budget`.
    """

    request: Mapping[str, Any]
    sources: Sequence[Mapping[str, Any]] = ()
    seconds: float | None = None
    resolution: str | None = None
    driven_by_audio: bool = False
    estimated_usd: float | None = None
    found_there: str | None = None
    reservations: list[str] = field(default_factory=list)

    @property
    def model(self) -> str | None:
        """The model id, where known."""
        model: str | None = self.request.get("model")
        return model

    @property
    def prompt(self) -> str:
        """The prompt, empty if there is none."""
        return str(self.request.get("input", {}).get("prompt") or "")


NOTHING_KNOWN = Order(request={})
"""The order of a Wan task of which nothing but the id is known."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A create request that may have been sent.

    :param fingerprint: digest of the request, from `fingerprint_of`.
    :param intent_at: when it was about to be sent, unix time in s.
    :param wan_conn_id: the Airflow connection it was sent with.
    :param gateway: that connection's gateway, ``apiyi`` or ``dashscope``.
    :param base_url: the base URL it was sent to.
    :param order: what was ordered; it helps to find the task of a lost answer at the gateway.
    :param nonce: random text, a new one for each intent: it tells the intent of one try from that of another.
    """

    fingerprint: str
    intent_at: float
    wan_conn_id: str
    gateway: str
    base_url: str
    order: Order
    nonce: str = ""

    @property
    def identity(self) -> tuple[str, float, str | None]:
        """What tells this record from every other one."""
        return self.nonce, self.intent_at, None

    def to_record(self) -> dict[str, Any]:
        """Return the record as plain JSON."""
        return _plain_json({"version": RECORD_VERSION, "state": "intent", **asdict(self)})


@dataclass(frozen=True, slots=True)
class Purchase:
    """A Wan task that was accepted, and may be billed.

    :param intent: the create request.
    :param wan_task_id: the gateway's id of the task.
    :param request_id: the gateway's id of the create request.
    :param submitted_at: when the gateway answered, unix time in s.
    """

    intent: Intent
    wan_task_id: str
    request_id: str | None
    submitted_at: float

    @property
    def order(self) -> Order:
        """What was ordered."""
        return self.intent.order

    @property
    def identity(self) -> tuple[str, float, str | None]:
        """What tells this record from every other one."""
        return self.intent.nonce, self.intent.intent_at, self.wan_task_id

    def to_record(self) -> dict[str, Any]:
        """Return the record as plain JSON."""
        answered = {"wan_task_id": self.wan_task_id, "request_id": self.request_id, "submitted_at": self.submitted_at}
        return self.intent.to_record() | {"state": "submitted"} | answered


def new_nonce() -> str:
    """Return random text for a new intent."""
    return uuid.uuid4().hex


def intent_of(record: Intent | Purchase) -> Intent:
    """Return the intent that a record began with."""
    return record if isinstance(record, Intent) else record.intent


def is_same(one: Intent | Purchase | None, other: Intent | Purchase | None) -> bool:
    """Return whether two reads of a record found the same: the same intent, in the same state, or both nothing."""
    return (one and one.identity) == (other and other.identity)


def read_record(record: object) -> Intent | Purchase:
    """Return what `Intent.to_record` or `Purchase.to_record` wrote.

    People may edit a record, so each field is checked: what is wrong must not surface later, as another error.

    :raises LedgerUnreadable: when the record is anything else.
    """
    if not isinstance(record, Mapping) or record.get("version") != RECORD_VERSION:
        raise LedgerUnreadable(f"The purchase record is not of version {RECORD_VERSION}, and cannot be read.")
    _check_is_json(record)
    try:
        order = Order(**_fields_of(Order, record["order"]))
        intent = Intent(**_fields_of(Intent, record) | {"order": order})
        if record["state"] == "intent":
            return intent
        if record["state"] == "submitted":
            return Purchase(intent, **_fields_of(Purchase, record))
    except (TypeError, KeyError, AttributeError) as error:
        raise LedgerUnreadable(f"The purchase record is incomplete: {error}") from None
    raise LedgerUnreadable("The purchase record is in a state that this version does not know.")


def _check_is_json(record: Mapping[str, Any]) -> None:
    try:
        json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:  # half a character is a ValueError, too
        raise LedgerUnreadable(f"The purchase record holds what is no JSON ({type(error).__name__}).") from None


def _fields_of(kind: type[Order | Intent | Purchase], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the record that the class knows: a newer version may have written more.

    :raises LedgerUnreadable: when a field is not of its type.
    """
    known = {field.name: record[field.name] for field in fields(kind) if field.name in record}
    for name, value in known.items():
        if name in _IS_VALID and not _IS_VALID[name](value):
            raise LedgerUnreadable(f"The purchase record has no valid {name!r}.")
    return known


_LATEST_TIME_S = 1e11
"""No unix time is later: a moment in the year 5138."""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LATEST_TIME_S


def _is_time(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _or_none(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


def _is_request(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and _or_none(_is_text)(value.get("model"))
        and all(isinstance(value.get(part, {}), Mapping) for part in ("input", "parameters"))
    )


def _are_sources(value: object) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(source, Mapping)
        and all(_is_text(source.get(name)) for name in ("role", "url"))
        and all(_or_none(_is_text)(source.get(name)) for name in ("digest", "adapted_digest"))
        and _or_none(_is_number)(source.get("duration_s"))
        for source in value
    )


def _are_reservations(value: object) -> bool:
    """Return whether a value is a list of places within the folder of reservations, and of nowhere else."""
    return isinstance(value, list) and all(isinstance(place, str) and _PLACE.fullmatch(place) for place in value)


_PLACE = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]*/)+[0-9a-f]+\.[0-9a-f]+\.[0-9]+", re.ASCII)


_IS_VALID: Mapping[str, Callable[[object], bool]] = {
    "request": _is_request,
    "sources": _are_sources,
    "seconds": _or_none(_is_number),
    "resolution": _or_none(_is_text),
    "driven_by_audio": lambda value: isinstance(value, bool),
    "estimated_usd": _or_none(_is_number),
    "reservations": _are_reservations,
    "fingerprint": _is_text,
    "intent_at": _is_time,
    "wan_conn_id": _is_text,
    "gateway": lambda value: value in list(GATEWAYS),
    "base_url": _is_text,
    "nonce": _is_text,
    "wan_task_id": lambda value: isinstance(value, str) and bool(value.strip()),
    "request_id": _or_none(_is_text),
    "submitted_at": _is_time,
}


def _plain_json(record: dict[str, Any]) -> dict[str, Any]:
    """Return what a JSON database would give back: Airflow's task state store refuses a tuple, for one."""
    plain: dict[str, Any] = json.loads(json.dumps(record))
    return plain


def fingerprint_of(body: Mapping[str, Any]) -> str:
    """Return a digest of a request body. What signs a URL does not count: it differs at every rendering."""
    text = json.dumps(identity(body), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
