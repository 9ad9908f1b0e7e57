"""What can go wrong on demand: the vocabulary of faults, and which request each one strikes.

A fault is a JSON object, or the same words as arguments of `RunningEmulator.add_fault`:

    {"on": "create", "kind": "drop_connection", "times": 1, "after": 0, "accepted": true}

`on` says which requests it strikes: create, poll, cancel, list or download. The first `after` of them pass (default 0),
the next `times` are struck (default 1, null for ever). A request is struck by one fault, the oldest whose turn it is;
the others count it all the same, so `after` is the number of the request since the fault was added, from 0. What
becomes of an accepted task (the three `task_…` kinds) is counted in accepted creates, and goes with any other fault.

Kinds for every request:

- `drop_connection`: closes the connection without an answer; `reset` (false) sends a TCP reset instead.
- `delay`: answers after `delay_s` (70) seconds of real time, which the emulator's clock does not shorten.
- `hold`: answers when released, never if the client goes away first; a download is held after `at_bytes` (0).
- `bad_gateway` 502, `gateway_timeout` 504: a proxy's page. `html`: a proxy's page with status 200.
- `server_error` 500, `unavailable` 503: in the words of the gateway or of the file store.

On create and cancel these, and `malformed_json`, take `accepted`: whether the gateway did what was asked before the
answer went wrong. It is true unless said otherwise, but false for `server_error` and `unavailable`. A delayed or held
request with `accepted` false is dealt with only after the wait, and never if the client has gone.

Kinds for all but downloads: `malformed_json` (the true answer, cut in half), `unauthorized` 401, `throttled` 429 with
`retry_after` (null: no such header; seconds or an HTTP date).

Kinds for one request each:

- create: `insufficient_balance` with `status` 429 (default), or 403 or 400: APIYI's `insufficient_user_quota` is 429
  or 403, DashScope's `PostpaidBillOverdue` is 429 and its `Arrearage` 400, so that 403 and 400 mean the same.
- create: `task_failed` with `code` ("DataInspectionFailed") and `message`; `task_canceled`; `task_unknown` after
  `after_s` (0) seconds of the emulator's clock. They end an accepted task in that way.
- poll: `unknown_status` with the status `word` ("SUSPENDED").
- download: `expired` and `forbidden` 403; `truncated` after `at_bytes` (null: half) of the promised bytes; `reset`, the
  same by a TCP reset; `wrong_length`, a Content-Length `off_by` (1000) bytes, too short when negative; `empty`;
  `slow` at `bytes_per_s` (20000). The byte counts are those of the answer, which a Range makes shorter.
- download: `corrupt`, the promised bytes with some of them flipped; `changed`, another file under the same URL, with an
  ETag and checksums of its own; `no_validators`, the whole file whatever part was asked for, without ETag, date or
  checksum.
"""

from __future__ import annotations

import asyncio
import math
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_Word = TypeVar("_Word", bound=StrEnum)


class CallKind(StrEnum):
    """The kinds of request the emulator serves; all but the download belong to a gateway."""

    CREATE = "create"
    POLL = "poll"
    CANCEL = "cancel"
    LIST = "list"
    DOWNLOAD = "download"


class FaultKind(StrEnum):
    """The ways to go wrong."""

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
    TASK_FAILED = "task_failed"
    TASK_CANCELED = "task_canceled"
    TASK_UNKNOWN = "task_unknown"
    UNKNOWN_STATUS = "unknown_status"
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
class _Use:
    """Where a kind of fault makes sense, the parameters it takes, and whether a create is then accepted."""

    on: frozenset[CallKind]
    parameters: tuple[str, ...] = ()
    accepts: bool = True


_DOWNLOAD = frozenset({CallKind.DOWNLOAD})
_GATEWAY = frozenset(CallKind) - _DOWNLOAD
_ANY = frozenset(CallKind)
_CREATE = frozenset({CallKind.CREATE})
_POLL = frozenset({CallKind.POLL})

_USES = {
    FaultKind.DROP_CONNECTION: _Use(_ANY, ("accepted", "reset")),
    FaultKind.DELAY: _Use(_ANY, ("accepted", "delay_s")),
    FaultKind.HOLD: _Use(_ANY, ("accepted", "at_bytes")),
    FaultKind.BAD_GATEWAY: _Use(_ANY, ("accepted",)),
    FaultKind.GATEWAY_TIMEOUT: _Use(_ANY, ("accepted",)),
    FaultKind.HTML: _Use(_ANY, ("accepted",)),
    FaultKind.SERVER_ERROR: _Use(_ANY, ("accepted",), accepts=False),
    FaultKind.UNAVAILABLE: _Use(_ANY, ("accepted",), accepts=False),
    FaultKind.MALFORMED_JSON: _Use(_GATEWAY, ("accepted",)),
    FaultKind.UNAUTHORIZED: _Use(_GATEWAY, accepts=False),
    FaultKind.THROTTLED: _Use(_GATEWAY, ("retry_after",), accepts=False),
    FaultKind.INSUFFICIENT_BALANCE: _Use(_CREATE, ("status",), accepts=False),
    FaultKind.TASK_FAILED: _Use(_CREATE, ("code", "message")),
    FaultKind.TASK_CANCELED: _Use(_CREATE),
    FaultKind.TASK_UNKNOWN: _Use(_CREATE, ("after_s",)),
    FaultKind.UNKNOWN_STATUS: _Use(_POLL, ("word",)),
    FaultKind.EXPIRED: _Use(_DOWNLOAD),
    FaultKind.FORBIDDEN: _Use(_DOWNLOAD),
    FaultKind.TRUNCATED: _Use(_DOWNLOAD, ("at_bytes",)),
    FaultKind.RESET: _Use(_DOWNLOAD, ("at_bytes",)),
    FaultKind.WRONG_LENGTH: _Use(_DOWNLOAD, ("off_by",)),
    FaultKind.EMPTY: _Use(_DOWNLOAD),
    FaultKind.SLOW: _Use(_DOWNLOAD, ("bytes_per_s",)),
    FaultKind.CORRUPT: _Use(_DOWNLOAD),
    FaultKind.CHANGED: _Use(_DOWNLOAD),
    FaultKind.NO_VALIDATORS: _Use(_DOWNLOAD),
}
_OUTCOMES = frozenset({FaultKind.TASK_FAILED, FaultKind.TASK_CANCELED, FaultKind.TASK_UNKNOWN})
# Of the parameters several requests share, the ones that mean something to some of them only.
_PARAMETER_ON = {"accepted": frozenset({CallKind.CREATE, CallKind.CANCEL}), "at_bytes": _DOWNLOAD}
_COMMON = ("times", "after")


@dataclass(frozen=True)
class Fault:
    """One thing that is to go wrong; the module explains every word. ValueError says what is amiss in a fault."""

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
    at_bytes: int | None = None
    off_by: int = 1000
    bytes_per_s: int = 20_000

    def __post_init__(self) -> None:
        _check_belongs(self.on, self.kind, [name for name, default in _DEFAULTS.items() if self._has(name, default)])
        for name, rule in _RULES.items():
            if not rule.admits(getattr(self, name)):
                raise ValueError(f"{name} of a fault must be {rule.wanted}, not {getattr(self, name)!r}")

    def _has(self, name: str, default: object) -> bool:
        return bool(getattr(self, name) != default)

    @classmethod
    def read(cls, words: object) -> Fault:
        """Return the fault that a JSON object describes."""
        if not isinstance(words, dict):
            raise ValueError(f'a fault is an object such as {{"on": "create", "kind": "html"}}, not {words!r}')  # noqa: TRY004
        rest = dict(words)
        on = _member(CallKind, rest.pop("on", None), CallKind, "'on' of a fault")
        kind = _member(FaultKind, rest.pop("kind", None), _kinds(on), f"'kind' of a fault on {on}")
        _check_belongs(on, kind, rest)
        return cls(on, kind, **rest)

    @property
    def is_outcome(self) -> bool:
        """Whether it is the task that goes wrong and not the answer."""
        return self.kind in _OUTCOMES

    @property
    def lets_through(self) -> bool:
        """Whether the gateway does what it was asked."""
        return _USES[self.kind].accepts if self.accepted is None else self.accepted

    def words(self) -> dict[str, Any]:
        """Return the JSON object that describes the fault."""
        shown = ("on", "kind", *_COMMON, *_parameters(self.on, self.kind))
        words = {name: getattr(self, name) for name in shown}
        return words | ({"accepted": self.lets_through} if "accepted" in words else {})


_DEFAULTS = {one.name: one.default for one in fields(Fault) if one.name not in ("on", "kind", *_COMMON)}


@dataclass(frozen=True)
class _Rule:
    admits: Callable[[Any], bool]
    wanted: str


def _is_whole(value: object, least: float = -math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_header(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_SECONDS = _Rule(_is_seconds, "a number of seconds from 0")
_TEXT = _Rule(_is_text, "a text")

_RULES = {
    "times": _Rule(lambda value: value is None or _is_whole(value, 1), "a whole number from 1, or null for ever"),
    "after": _Rule(lambda value: _is_whole(value, 0), "a whole number from 0"),
    "accepted": _Rule(lambda value: value is None or isinstance(value, bool), "true or false"),
    "reset": _Rule(lambda value: isinstance(value, bool), "true or false"),
    "delay_s": _SECONDS,
    "retry_after": _Rule(
        lambda value: value is None or _is_whole(value, 0) or _is_header(value), "whole seconds, an HTTP date or null"
    ),
    "status": _Rule(lambda value: _is_whole(value) and value in (429, 403, 400), "429, 403 or 400"),
    "code": _TEXT,
    "message": _TEXT,
    "after_s": _SECONDS,
    "word": _TEXT,
    "at_bytes": _Rule(lambda value: value is None or _is_whole(value, 0), "a whole number from 0, or null"),
    "off_by": _Rule(lambda value: _is_whole(value) and value != 0, "a whole number other than 0"),
    "bytes_per_s": _Rule(lambda value: _is_whole(value, 1), "a whole number from 1"),
}


@dataclass(eq=False)
class Planted:
    """A fault, how many requests it has seen, and the answers it holds back."""

    fault: Fault
    seen: int = 0
    fired: int = 0
    held: set[_Held] = field(default_factory=set)

    def strikes(self) -> bool:
        """Count one more request; tell whether it is this fault's turn."""
        is_due = self.seen >= self.fault.after and self.left != 0
        self.seen += 1
        return is_due

    @property
    def left(self) -> int | None:
        """How often it will strike yet; None is for ever."""
        return None if self.fault.times is None else self.fault.times - self.fired


@dataclass(frozen=True, eq=False)
class _Held:
    """One answer that waits in the web server's loop, released from any thread."""

    released: asyncio.Event
    loop: asyncio.AbstractEventLoop

    def release(self) -> None:
        self.loop.call_soon_threadsafe(self.released.set)


class Faults:
    """The faults of one emulator, oldest first; a test's thread and the web server's may both use it."""

    def __init__(self) -> None:
        self._planted: list[Planted] = []
        self._lock = threading.Lock()

    def add(self, faults: Iterable[Fault]) -> list[dict[str, Any]]:
        """Plant faults; return their rows."""
        planted = [Planted(fault) for fault in faults]
        with self._lock:
            self._planted += planted
            return [_row(one) for one in planted]

    def rows(self) -> list[dict[str, Any]]:
        """Return each fault since the last clear.

        `fired` is how often it has struck, `left` how often it will (null: for ever), `holding` how many answers it
        holds back now.
        """
        with self._lock:
            return [_row(planted) for planted in self._planted]

    def take(self, on: CallKind, *, outcome: bool = False) -> Planted | None:
        """Return the fault that strikes this request, or this accepted task, if any does."""
        struck_by: Planted | None = None
        with self._lock:
            for planted in self._planted:
                if planted.fault.on is not on or planted.fault.is_outcome is not outcome:
                    continue
                if planted.strikes() and struck_by is None:
                    struck_by = planted
                    planted.fired += 1
        return struck_by

    @contextmanager
    def holding(self, planted: Planted) -> Iterator[asyncio.Event]:
        """Count an answer among those held back; the event is set when it is released."""
        held = _Held(asyncio.Event(), asyncio.get_running_loop())
        with self._lock:
            planted.held.add(held)
        try:
            yield held.released
        finally:
            with self._lock:
                planted.held.discard(held)

    def release(self) -> int:
        """Let every held, delayed and slow answer go at once; return how many there were."""
        with self._lock:
            return self._release()

    def clear(self) -> None:
        """Forget every fault, and release what it holds back."""
        with self._lock:
            self._release()
            self._planted.clear()

    def _release(self) -> int:
        # Under the lock, for an answer leaves `held` before its loop can end.
        every = [held for planted in self._planted for held in planted.held]
        for held in every:
            held.release()
        return len(every)


def _row(planted: Planted) -> dict[str, Any]:
    counts = {"fired": planted.fired, "left": planted.left, "holding": len(planted.held)}
    return planted.fault.words() | counts


def _parameters(on: CallKind, kind: FaultKind) -> list[str]:
    return [name for name in _USES[kind].parameters if on in _PARAMETER_ON.get(name, _ANY)]


def _check_belongs(on: CallKind, kind: FaultKind, given: Iterable[str]) -> None:
    if on not in _USES[kind].on:
        raise ValueError(f"'kind' of a fault on {on} is one of {', '.join(_kinds(on))}, not {kind.value!r}")
    known_here = [*_COMMON, *_parameters(on, kind)]
    strangers = [repr(name) for name in given if name not in known_here]
    if strangers:
        raise ValueError(f"{kind} on {on} takes {', '.join(known_here)}, not {', '.join(strangers)}")


def _member(words: type[_Word], value: object, known: Iterable[str], of: str) -> _Word:
    if isinstance(value, str) and value in list(words):
        return words(value)
    raise ValueError(f"{of} is one of {', '.join(known)}, not {value!r}")


def _kinds(on: CallKind) -> list[FaultKind]:
    return [kind for kind, use in _USES.items() if on in use.on]
