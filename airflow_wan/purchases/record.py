"""What a task instance has bought, or was about to buy, as a plain JSON record that outlives the worker.

nothing → `Intent` (written before the create request) → `Purchase` (written as soon as the Wan task id is known).

Nothing secret is in a record: Airflow keeps it as plain text in its database and shows it in its web interface.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from airflow_wan.exceptions import LedgerUnreadable
from airflow_wan.redaction import identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RECORD_VERSION = 1

STATE_STORE_KEY = "wan_purchase"
"""The key of the record in Airflow's task state store."""


@dataclass(frozen=True, slots=True)
class Order:
    """What was ordered, as far as whoever brings the video home needs to know. An empty order: nothing is known.

    :param request: the JSON body as its author wrote it, without signatures and inline data.
    :param sources: the files that it names: dicts with ``role``, ``url``, ``digest`` and ``duration_s``.
    :param seconds: the length ordered, s; None where the video follows its source or the model decides.
    :param resolution: ``480P``, ``720P`` or ``1080P``.
    :param driven_by_audio: whether a sound track was given, so that the video must have one.
    :param estimated_usd: what it should cost by the estimate, USD.
    :param found_there: `Destination.version` of what was at the destination just before the video was ordered; None
        where that is not known.
    """

    request: Mapping[str, Any]
    sources: Sequence[Mapping[str, Any]] = ()
    seconds: float | None = None
    resolution: str | None = None
    driven_by_audio: bool = False
    estimated_usd: float | None = None
    found_there: str | None = None

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
    :param order: what was ordered; its prompt helps to find the task of a lost answer at the gateway.
    """

    fingerprint: str
    intent_at: float
    wan_conn_id: str
    gateway: str
    base_url: str
    order: Order

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

    def to_record(self) -> dict[str, Any]:
        """Return the record as plain JSON."""
        answered = {"wan_task_id": self.wan_task_id, "request_id": self.request_id, "submitted_at": self.submitted_at}
        return self.intent.to_record() | {"state": "submitted"} | answered


def read_record(record: object) -> Intent | Purchase:
    """Return what `Intent.to_record` or `Purchase.to_record` wrote.

    :raises LedgerUnreadable: when the record is anything else.
    """
    if not isinstance(record, dict) or record.get("version") != RECORD_VERSION:
        raise LedgerUnreadable(
            f"The purchase record of this task instance is not of version {RECORD_VERSION}, and cannot be read."
        )
    try:
        order = Order(**_fields_of(Order, record["order"]))
        intent = Intent(**_fields_of(Intent, record) | {"order": order})
        if record["state"] == "intent":
            return intent
        return Purchase(intent, **_fields_of(Purchase, record))
    except (TypeError, KeyError, AttributeError) as error:
        raise LedgerUnreadable(f"The purchase record of this task instance is incomplete: {error}") from error


def _fields_of(kind: type[Order | Intent | Purchase], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the record that the class knows: a newer version may have written more."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in record.items() if name in names}


def _plain_json(record: dict[str, Any]) -> dict[str, Any]:
    """Return what a JSON database would give back: Airflow's task state store refuses a tuple, for one."""
    plain: dict[str, Any] = json.loads(json.dumps(record))
    return plain


def fingerprint_of(body: Mapping[str, Any]) -> str:
    """Return a digest of a request body. What signs a URL does not count: it differs at every rendering."""
    text = json.dumps(identity(body), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
