"""The faults that tests can ask for, and which request each of them strikes.

A fault is a JSON object, or the same names as arguments of `RunningEmulator.add_fault`::

    {"on": "create", "kind": "drop_connection", "times": 1, "after": 0, "accepted": true}

`on` is the kind of request: create, poll, cancel, list or download. The first `after` of these requests pass
(default 0), and the fault strikes the next `times` (default 1; null: all that follow).

Only one fault strikes a request: the oldest one whose turn it is. The other faults count the request too, so `after` is
the number of requests since the fault was added. The three `task_…` kinds decide how an accepted task ends. They count
accepted creates, and can be combined with any other fault.

Kinds for every request:

- `drop_connection`: closes the connection without an answer; with `reset` (default false), by a TCP reset.
- `delay`: answers after `delay_s` seconds (default 70) of real time; the emulator's clock does not shorten them.
- `hold`: answers when the fault is released, and never if the client disconnects first; a download is held after
  `at_bytes` (default 0) bytes.
- `bad_gateway` 502, `gateway_timeout` 504: a proxy's HTML page. `html`: such a page with status 200.
- `server_error` 500, `unavailable` 503: in the words of the gateway or of the file store.

On create and cancel, these kinds and `malformed_json` take `accepted`: whether the gateway did what the request asked
for before the answer failed. The default is true, but false for `server_error` and `unavailable`. With `accepted`
false, a delayed or held request is handled only after the wait, and never if the client has disconnected.

Kinds for all requests except downloads:

- `malformed_json`: the first half of the correct answer.
- `unauthorized` 401.
- `not_found` 404: there is no such path, as at a relay that passes on only some of them.
- `throttled` 429, with the header Retry-After if `retry_after` (default null) is a number of seconds or an HTTP date.

Kinds for create:

- `insufficient_balance` with `status` 429 (default), 403 or 400. APIYI's `insufficient_user_quota` has 429 or 403,
  DashScope's `PostpaidBillOverdue` has 429 and its `Arrearage` has 400; 403 and 400 therefore mean the same.
- `free_quota_used_up`: DashScope's `AllocationQuota.FreeTierOnly`.
- `task_failed`: the task fails with `code` (default "DataInspectionFailed") and `message`.
- `task_canceled`: the task is canceled when it would start.
- `task_unknown`: the task expires after `after_s` (default 0) seconds of the emulator's clock.

Kind for poll:

- `unknown_status`: the state of the task is `word` (default "SUSPENDED").

Kinds for list; the rest of the answer stays as it is:

- `rows_missing`: every `every`-th (default 2) row is missing.
- `rows_cut`: a page has no more than `rows` (default 10) rows, whatever it says.
- `wrong_page_count`: says that there are `pages` (default 1) pages.

Kinds for download; byte counts refer to the answer, which a Range makes shorter:

- `expired` 403, `forbidden` 403.
- `truncated`: closes the connection after `at_bytes` (default null: half) of the promised bytes. `reset`: the same by a
  TCP reset.
- `wrong_length`: a Content-Length that is `off_by` (default 1000) bytes too long, or too short if negative.
- `empty`: no bytes.
- `slow`: `bytes_per_s` (default 20000).
- `corrupt`: the promised number of bytes, some of them wrong.
- `changed`: another file under the same URL, with its own ETag and checksums.
- `no_validators`: the whole file even if a Range was asked for, without ETag, date or checksum.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_wan.emulator.clock import is_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_Enum = TypeVar("_Enum", bound=StrEnum)


class CallKind(StrEnum):
    """The kinds of request that the emulator serves; all except downloads belong to a gateway."""

    CREATE = "create"
    POLL = "poll"
    CANCEL = "cancel"
    LIST = "list"
    DOWNLOAD = "download"


class FaultKind(StrEnum):
    """The kinds of fault; the module describes each of them."""

    DROP_CONNECTION = "drop_connection"
    DELAY = "delay"
    HOLD = "hold"
    BAD_GATEWAY = "bad_gateway"
    GATEWAY_TIMEOUT = "gateway_timeout"
    HTML = "html"
    SERVER_ERROR = "server_error"
    UNAVAILABLE = "unavailable"
    MALFORMED_JSON = "malformed_json"
    UNAUTHORIZED = "unauthorized"
    THROTTLED = "throttled"
    INSUFFICIENT_BALANCE = "insufficient_balance"
    FREE_QUOTA_USED_UP = "free_quota_used_up"
    TASK_FAILED = "task_failed"
    TASK_CANCELED = "task_canceled"
    TASK_UNKNOWN = "task_unknown"
    UNKNOWN_STATUS = "unknown_status"
    NOT_FOUND = "not_found"
    ROWS_MISSING = "rows_missing"
    ROWS_CUT = "rows_cut"
    WRONG_PAGE_COUNT = "wrong_page_count"
    EXPIRED = "expired"
    FORBIDDEN = "forbidden"
    TRUNCATED = "truncated"
    RESET = "reset"
    WRONG_LENGTH = "wrong_length"
    EMPTY = "empty"
    SLOW = "slow"
    CORRUPT = "corrupt"
    CHANGED = "changed"
    NO_VALIDATORS = "no_validators"


@dataclass(frozen=True)
class _KindRule:
    """The requests that a kind of fault can strike, its parameters, and whether the request is accepted by default."""

    on: frozenset[CallKind]
    parameters: tuple[str, ...] = ()
    accepts: bool = True


_DOWNLOAD = frozenset({CallKind.DOWNLOAD})
_GATEWAY = frozenset(CallKind) - _DOWNLOAD
_ANY = frozenset(CallKind)
_CREATE = frozenset({CallKind.CREATE})
_POLL = frozenset({CallKind.POLL})
_LIST = frozenset({CallKind.LIST})

_KIND_RULES = {
    FaultKind.DROP_CONNECTION: _KindRule(_ANY, ("accepted", "reset")),
    FaultKind.DELAY: _KindRule(_ANY, ("accepted", "delay_s")),
    FaultKind.HOLD: _KindRule(_ANY, ("accepted", "at_bytes")),
    FaultKind.BAD_GATEWAY: _KindRule(_ANY, ("accepted",)),
    FaultKind.GATEWAY_TIMEOUT: _KindRule(_ANY, ("accepted",)),
    FaultKind.HTML: _KindRule(_ANY, ("accepted",)),
    FaultKind.SERVER_ERROR: _KindRule(_ANY, ("accepted",), accepts=False),
    FaultKind.UNAVAILABLE: _KindRule(_ANY, ("accepted",), accepts=False),
    FaultKind.MALFORMED_JSON: _KindRule(_GATEWAY, ("accepted",)),
    FaultKind.UNAUTHORIZED: _KindRule(_GATEWAY, accepts=False),
    FaultKind.THROTTLED: _KindRule(_GATEWAY, ("retry_after",), accepts=False),
    FaultKind.INSUFFICIENT_BALANCE: _KindRule(_CREATE, ("status",), accepts=False),
    FaultKind.FREE_QUOTA_USED_UP: _KindRule(_CREATE, accepts=False),
    FaultKind.TASK_FAILED: _KindRule(_CREATE, ("code", "message")),
    FaultKind.TASK_CANCELED: _KindRule(_CREATE),
    FaultKind.TASK_UNKNOWN: _KindRule(_CREATE, ("after_s",)),
    FaultKind.UNKNOWN_STATUS: _KindRule(_POLL, ("word",)),
    FaultKind.NOT_FOUND: _KindRule(_GATEWAY, accepts=False),
    FaultKind.ROWS_MISSING: _KindRule(_LIST, ("every",)),
    FaultKind.ROWS_CUT: _KindRule(_LIST, ("rows",)),
    FaultKind.WRONG_PAGE_COUNT: _KindRule(_LIST, ("pages",)),
    FaultKind.EXPIRED: _KindRule(_DOWNLOAD),
    FaultKind.FORBIDDEN: _KindRule(_DOWNLOAD),
    FaultKind.TRUNCATED: _KindRule(_DOWNLOAD, ("at_bytes",)),
    FaultKind.RESET: _KindRule(_DOWNLOAD, ("at_bytes",)),
    FaultKind.WRONG_LENGTH: _KindRule(_DOWNLOAD, ("off_by",)),
    FaultKind.EMPTY: _KindRule(_DOWNLOAD),
    FaultKind.SLOW: _KindRule(_DOWNLOAD, ("bytes_per_s",)),
    FaultKind.CORRUPT: _KindRule(_DOWNLOAD),
    FaultKind.CHANGED: _KindRule(_DOWNLOAD),
    FaultKind.NO_VALIDATORS: _KindRule(_DOWNLOAD),
}
_OUTCOMES = frozenset({FaultKind.TASK_FAILED, FaultKind.TASK_CANCELED, FaultKind.TASK_UNKNOWN})
# Parameters that only some of the requests take which their kind of fault can strike.
_PARAMETER_ON = {"accepted": frozenset({CallKind.CREATE, CallKind.CANCEL}), "at_bytes": _DOWNLOAD}
_COMMON = ("times", "after")


@dataclass(frozen=True)
class Fault:
    """A fault; the module describes every field.

    :raises ValueError: if there is no such fault.
    """

    on: CallKind
    kind: FaultKind
    times: int | None = 1
    after: int = 0
    accepted: bool | None = None
    reset: bool = False
    delay_s: float = 70.0
    retry_after: int | str | None = None
    status: int = 429
    code: str = "DataInspectionFailed"
    message: str = "Output data may contain inappropriate content."
    after_s: float = 0.0
    word: str = "SUSPENDED"
    every: int = 2
    rows: int = 10
    pages: int = 1
    at_bytes: int | None = None
    off_by: int = 1000
    bytes_per_s: int = 20_000

    def __post_init__(self) -> None:
        _check_belongs(
            self.on, self.kind, [name for name, default in _DEFAULTS.items() if self._differs(name, default)]
        )
        for name, rule in _VALUE_RULES.items():
            if not rule.admits(getattr(self, name)):
                raise ValueError(f"{name} of a fault must be {rule.expected}, got {getattr(self, name)!r}")

    def _differs(self, name: str, default: object) -> bool:
        return bool(getattr(self, name) != default)

    @classmethod
    def from_json(cls, value: object) -> Fault:
        """Return the fault that a JSON object describes.

        :raises ValueError: if it describes none.
        """
        if not isinstance(value, dict):
            raise ValueError(f'a fault must be an object such as {{"on": "create", "kind": "html"}}, got {value!r}')  # noqa: TRY004  # wrong JSON, not a wrong call
        rest = dict(value)
        on = _member(CallKind, rest.pop("on", None), CallKind, "'on' of a fault")
        kind = _member(FaultKind, rest.pop("kind", None), _kinds(on), f"'kind' of a fault on {on}")
        _check_belongs(on, kind, rest)
        return cls(on, kind, **rest)

    @property
    def is_outcome(self) -> bool:
        """Whether the fault decides how a task ends, instead of what is answered."""
        return self.kind in _OUTCOMES

    @property
    def is_accepted(self) -> bool:
        """Whether the gateway does what the request asks for."""
        return _KIND_RULES[self.kind].accepts if self.accepted is None else self.accepted

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that describes the fault."""
        names = ("on", "kind", *_COMMON, *_parameters(self.on, self.kind))
        value = {name: getattr(self, name) for name in names}
        return value | ({"accepted": self.is_accepted} if "accepted" in value else {})


_GREATEST_WHOLE = 2**53
"""Greatest whole number that is taken: every JSON reader keeps it exact."""

_DEFAULTS = {known.name: known.default for known in fields(Fault) if known.name not in ("on", "kind", *_COMMON)}


@dataclass(frozen=True)
class _ValueRule:
    admits: Callable[[Any], bool]
    expected: str


def _is_whole(value: object, least: int = -_GREATEST_WHOLE) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= _GREATEST_WHOLE


def _is_header(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_SECONDS = _ValueRule(is_seconds, "a number of seconds, 0 or more")
_TEXT = _ValueRule(_is_text, "a text")
_COUNT = _ValueRule(lambda value: _is_whole(value, 1), "a whole number of at least 1")

_VALUE_RULES = {
    "times": _ValueRule(
        lambda value: value is None or _is_whole(value, 1), "a whole number of at least 1, or null for all requests"
    ),
    "after": _ValueRule(lambda value: _is_whole(value, 0), "a whole number of at least 0"),
    "accepted": _ValueRule(lambda value: value is None or isinstance(value, bool), "true or false"),
    "reset": _ValueRule(lambda value: isinstance(value, bool), "true or false"),
    "delay_s": _SECONDS,
    "retry_after": _ValueRule(
        lambda value: value is None or _is_whole(value, 0) or _is_header(value), "whole seconds, an HTTP date or null"
    ),
    "status": _ValueRule(lambda value: _is_whole(value) and value in (429, 403, 400), "429, 403 or 400"),
    "code": _TEXT,
    "message": _TEXT,
    "after_s": _SECONDS,
    "word": _TEXT,
    "every": _COUNT,
    "rows": _COUNT,
    "pages": _COUNT,
    "at_bytes": _ValueRule(lambda value: value is None or _is_whole(value, 0), "a whole number of at least 0, or null"),
    "off_by": _ValueRule(lambda value: _is_whole(value) and value != 0, "a whole number other than 0"),
    "bytes_per_s": _COUNT,
}


@dataclass(eq=False)
class ActiveFault:
    """A fault in use: how many requests it has counted and struck, and the answers that it holds."""

    fault: Fault
    seen: int = 0
    fired: int = 0
    held: set[_Held] = field(default_factory=set)

    def strikes(self) -> bool:
        """Count one more request; return whether it is this fault's turn."""
        is_due = self.seen >= self.fault.after and self.left != 0
        self.seen += 1
        return is_due

    @property
    def left(self) -> int | None:
        """How many more requests it will strike; None if it strikes all that follow."""
        return None if self.fault.times is None else self.fault.times - self.fired


@dataclass(frozen=True, eq=False)
class _Held:
    """One answer that waits in the web server's event loop; any thread may release it."""

    released: asyncio.Event
    loop: asyncio.AbstractEventLoop

    def release(self) -> None:
        self.loop.call_soon_threadsafe(self.released.set)


class Faults:
    """The faults of one emulator, oldest first; safe to use from several threads."""

    def __init__(self) -> None:
        self._active: list[ActiveFault] = []
        self._lock = threading.Lock()

    def add(self, faults: Iterable[Fault]) -> list[dict[str, Any]]:
        """Add faults; return their rows."""
        added = [ActiveFault(fault) for fault in faults]
        with self._lock:
            self._active += added
            return [_row(one) for one in added]

    def rows(self) -> list[dict[str, Any]]:
        """Return each fault since the last clear.

        `fired` is how many requests it has struck, `left` how many more it will strike (None: all that follow), and
        `holding` how many answers it holds now.
        """
        with self._lock:
            return [_row(active) for active in self._active]

    def take(self, on: CallKind, *, outcome: bool = False) -> ActiveFault | None:
        """Count a request for every fault, and return the one that strikes it, if any.

        :param outcome: whether to look for a fault that decides how the accepted task ends.
        """
        struck_by: ActiveFault | None = None
        with self._lock:
            for active in self._active:
                if active.fault.on is not on or active.fault.is_outcome is not outcome:
                    continue
                if active.strikes() and struck_by is None:
                    struck_by = active
                    active.fired += 1
        return struck_by

    @contextmanager
    def holding(self, active: ActiveFault) -> Iterator[asyncio.Event]:
        """Count an answer among the held ones; yield the event that is set when it is released."""
        held = _Held(asyncio.Event(), asyncio.get_running_loop())
        with self._lock:
            active.held.add(held)
        try:
            yield held.released
        finally:
            with self._lock:
                active.held.discard(held)

    def release(self) -> int:
        """Send every held, delayed and slow answer now; return how many there were."""
        with self._lock:
            return self._release()

    def clear(self) -> None:
        """Remove every fault, and release the answers that they hold."""
        with self._lock:
            self._release()
            self._active.clear()

    def _release(self) -> int:
        # The caller has the lock: an answer leaves `held` before its event loop can end, so the loop still runs here.
        all_held = [held for active in self._active for held in active.held]
        for held in all_held:
            held.release()
        return len(all_held)


def _row(active: ActiveFault) -> dict[str, Any]:
    counts = {"fired": active.fired, "left": active.left, "holding": len(active.held)}
    return active.fault.to_json() | counts


def _parameters(on: CallKind, kind: FaultKind) -> list[str]:
    return [name for name in _KIND_RULES[kind].parameters if on in _PARAMETER_ON.get(name, _ANY)]


def _check_belongs(on: CallKind, kind: FaultKind, given: Iterable[str]) -> None:
    if on not in _KIND_RULES[kind].on:
        raise ValueError(f"'kind' of a fault on {on} must be one of {', '.join(_kinds(on))}, got {kind.value!r}")
    known = [*_COMMON, *_parameters(on, kind)]
    unknown = [repr(name) for name in given if name not in known]
    if unknown:
        raise ValueError(f"{kind} on {on} takes {', '.join(known)}, not {', '.join(unknown)}")


def _member(enum: type[_Enum], value: object, known: Iterable[str], name: str) -> _Enum:
    if isinstance(value, str) and value in list(enum):
        return enum(value)
    raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def _kinds(on: CallKind) -> list[FaultKind]:
    return [kind for kind, use in _KIND_RULES.items() if on in use.on]
