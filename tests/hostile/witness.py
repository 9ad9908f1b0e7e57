"""What is measured while the product meets a lie, and what must hold whatever the lie is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from hostile.answers import FORGED, KEY, MB, SIGNATURE

from airflow_wan.exceptions import WanError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hostile.server import HostileServer

MAX_CPU_S = 2.0
"""CPU time that one answer may cost, in seconds: what a lie is given to burn is minutes, or seconds of the loop."""

MAX_STALL_S = 0.1
"""CPU time between two ticks of the event loop, in seconds: the promise is 50 ms, and a busy machine counts twice."""

MAX_WALL_STALL_S = 3.0
"""Time between two ticks in which nothing is computed: whatever blocks the loop here waits for longer."""

MAX_ANSWER_BYTES = 24 * MB
"""What may be taken of one answer of a gateway, in bytes. Several MB of it are buffers of the kernel."""

MAX_GROWN_BYTES = 100 * MB
"""By how much the memory of the process may grow at any moment of an answer, in bytes."""

SECRETS = (KEY, SIGNATURE, "pa55w0rd")
TESTS = str(Path(__file__).parents[1])
_DIRECTIONS = {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI"}


@dataclass
class Seen:
    """What happened.

    :param result: what was returned.
    :param error: what was raised.
    :param cpu_s: CPU time that it took, without the server's own.
    :param stall_s: longest CPU time between two ticks of the event loop.
    :param wall_stall_s: longest time between two ticks.
    :param grown_bytes: by how much the memory of the process grew in between, at most.
    :param records: what was logged, by anything.
    """

    result: Any = None
    error: BaseException | None = None
    cpu_s: float = 0.0
    stall_s: float = 0.0
    wall_stall_s: float = 0.0
    grown_bytes: int = 0
    records: list[logging.LogRecord] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        """The class of the error, or of the result."""
        return type(self.error or self.result).__name__


class _Recorder(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.DEBUG)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@contextlib.contextmanager
def watching(server: HostileServer) -> Iterator[Seen]:
    """Measure a block, keep what it raises, and keep every line that anything logs, down to DEBUG."""
    seen = Seen()
    handler, root = _Recorder(seen.records), logging.getLogger()
    names = ["", "airflow_wan", "httpx", "httpcore", "airflow", "airflow.task"]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(handler)
    had_bytes = _peak_memory(afresh=True)
    before = time.process_time() - server.cpu_s
    try:
        yield seen
    except Exception as error:  # noqa: BLE001 - whatever it is, it is judged later
        seen.error = error
    finally:
        seen.cpu_s = time.process_time() - server.cpu_s - before
        seen.grown_bytes = _peak_memory() - had_bytes
        root.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    server.settle()


def _peak_memory(*, afresh: bool = False) -> int:
    """Return the most memory that the process has had since this was last asked for afresh, in bytes (Linux)."""
    if afresh:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@contextlib.asynccontextmanager
async def ticking(server: HostileServer, seen: Seen) -> Any:
    """Measure for how long the event loop is held up during a block."""

    def now() -> tuple[float, float]:
        return time.process_time() - server.cpu_s, time.monotonic()

    last = now()

    def measure() -> None:
        nonlocal last
        cpu, wall = now()
        seen.stall_s = max(seen.stall_s, cpu - last[0])
        seen.wall_stall_s = max(seen.wall_stall_s, wall - last[1])
        last = cpu, wall

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.002)
            measure()

    ticker = asyncio.create_task(tick())
    try:
        yield
    finally:
        measure()
        ticker.cancel()


def problems(
    seen: Seen,
    *,
    ours: tuple[type[BaseException], ...] = (WanError,),
    kept: Any = None,
    held: Any = None,
    cpu_s: float = MAX_CPU_S,
) -> list[str]:
    """Return a sentence for each promise that does not hold, whatever the answer was.

    :param seen: what happened.
    :param ours: the classes that an error may have.
    :param kept: whatever else reaches a database, a file or a terminal.
    :param held: what is not shown as it is, but must be fit for all that.
    :param cpu_s: CPU time that it may have taken, in seconds.
    """
    found = []
    if seen.error is not None and not isinstance(seen.error, ours):
        found.append(f"a foreign exception: {type(seen.error).__module__}.{seen.outcome}: {str(seen.error)[:200]}")
    if seen.cpu_s > cpu_s:
        found.append(f"{seen.cpu_s:.1f} s of CPU time")
    if seen.grown_bytes > MAX_GROWN_BYTES:
        found.append(f"the memory of the process grew by {seen.grown_bytes / MB:.0f} MB")
    if seen.stall_s > MAX_STALL_S:
        found.append(f"the event loop was held up for {seen.stall_s * 1000:.0f} ms of CPU time")
    if seen.wall_stall_s > MAX_WALL_STALL_S:
        found.append(f"the event loop was held up for {seen.wall_stall_s:.1f} s")
    for record in seen.records:
        found += [f"log line of {record.name}: {what}" for what in unfit_for_logs(formatted(record), record.levelno)]
    for error in shown(seen.error):
        found += [f"exception {type(error).__name__}: {what}" for what in unclean(f"{error} {error!r}")]
    for error in chain(seen.error):
        found += [
            f"exception {type(error).__name__}: {what}" for what in secrets_in(f"{error} {error!r} {vars(error)}")
        ]
        if KEY in _repr(list(frames(error))):
            found.append(f"a frame of {type(error).__name__} holds the key")
    found += [f"kept: {what}" for what in unstorable(kept)]
    found += [f"held: {what}" for what in unstorable(held) if SIGNATURE not in what and "pa55w0rd" not in what]
    return sorted(set(found))


def require(seen: Seen, **further: Any) -> None:
    """Fail with all `problems` of a test, if there are any."""
    found = problems(seen, **further)
    assert not found, "\n".join(found)


def formatted(record: logging.LogRecord) -> str:
    """Return a line as a file of Airflow has it, with its traceback."""
    try:
        text = record.getMessage()
    except Exception as error:  # noqa: BLE001 - a line that cannot be written is a fault of its own
        return f"{FORGED} cannot be formatted: {error!r}"
    return text + (logging.Formatter().formatException(record.exc_info) if record.exc_info else "")


def unfit_for_logs(text: str, level: int) -> list[str]:
    """Return what is wrong with a line of a log. Below INFO, libraries show bytes as they are, but no secret."""
    return secrets_in(text) if level < logging.INFO else unclean(text)


def unclean(text: str) -> list[str]:
    """Return what is wrong with text for people."""
    found = secrets_in(text)
    found += [f"{character!r} in {text[:80]!r}" for character in sorted(set(text)) if _is_harmful(character)]
    if any(FORGED in line[: len(FORGED)] for line in text.splitlines()[1:]):
        found.append("a forged line")
    return found


def _is_harmful(character: str) -> bool:
    if character in "\n\t":
        return False
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cs") or unicodedata.bidirectional(character) in _DIRECTIONS


def secrets_in(value: Any) -> list[str]:
    """Return which secrets show in a value."""
    text = value if isinstance(value, str) else _repr(value)
    return [f"shows {secret!r}" for secret in SECRETS if secret in text]


def unstorable(value: Any) -> list[str]:
    """Return why a value cannot be kept as msgpack, as JSON and as text in PostgreSQL, or must not be."""
    if value is None:
        return []
    try:
        msgspec.msgpack.decode(msgspec.msgpack.encode(value))
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except Exception as error:  # noqa: BLE001 - whatever it is, the triggerer dies of it
        return [f"cannot be serialised: {error!r}"[:200]]
    return unclean(text) + _escaped(text)


def _escaped(text: str) -> list[str]:
    """Return the control characters that JSON has escaped."""
    return [f"an escaped control character in {text[:80]!r}"] if "\\u00" in text else []


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that it holds on to."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]


def shown(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that a traceback shows before it."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def frames(error: BaseException) -> Iterator[Any]:
    """Yield the variables of each function that an error came through, as error trackers show them."""
    traceback = error.__traceback__
    while traceback is not None:
        if not traceback.tb_frame.f_code.co_filename.startswith(TESTS):
            yield from traceback.tb_frame.f_locals.values()
        traceback = traceback.tb_next


def _repr(value: Any) -> str:
    if isinstance(value, (list, tuple, set)):
        return " ".join(_repr(inner) for inner in list(value)[:1000])
    if isinstance(value, dict):
        return " ".join(_repr(inner) for pair in list(value.items())[:1000] for inner in pair)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value[:100_000]).decode("latin-1")
    if isinstance(value, str):
        return value[:100_000]
    try:
        return repr(value)[:100_000]
    except Exception:  # noqa: BLE001
        return ""
