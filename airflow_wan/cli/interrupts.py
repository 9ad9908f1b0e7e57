"""Ctrl-C while money is on its way: the answer to a create request is waited for, so that its video is not lost.

At any other time, Ctrl-C stops the command at once; and a second Ctrl-C always does. The same holds for SIGTERM, and
for SIGHUP, which comes when the terminal is closed.
"""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Any, Self

from airflow_wan.purchases.record import Intent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType

    from airflow_wan.purchases.file_ledger import FileLedger
    from airflow_wan.purchases.record import Purchase

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Turns signals into `KeyboardInterrupt`, now or a little later; a context manager of the main thread.

    :param tell: tells a person that the command stops a little later.
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._held = False
        self._waiting = False
        self.signal: int = signal.SIGINT
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Handle the signals, but those that are ignored: with nohup, a command outlives its terminal."""
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._handle) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the signals to whoever handled them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hold(self) -> None:
        """Let the first signal wait from now on."""
        self._held = True

    def release(self) -> None:
        """Let signals stop the command at once.

        :raises KeyboardInterrupt: when one has waited.
        """
        self._held = False
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def until_settled(self) -> Iterator[None]:
        """Provide a stretch in which a ledger may hold the signals: an error that ends it comes before they do.

        :raises KeyboardInterrupt: when one has waited, at the end of the stretch.
        """
        try:
            yield
        except BaseException:
            self._held = self._waiting = False
            raise
        self.release()

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        if not self._held or self._waiting:
            self._waiting = False
            raise KeyboardInterrupt
        self._waiting = True
        self._tell()


class HeldLedger:
    """A ledger during whose doubtful time the first signal waits: from an intent to what became of it.

    :param ledger: the ledger.
    :param interrupts: the signals.
    """

    def __init__(self, ledger: FileLedger, interrupts: Interrupts) -> None:
        self._ledger = ledger
        self._interrupts = interrupts
        self.where = ledger.where

    def read(self) -> Intent | Purchase | None:
        """See `Ledger.read`."""
        return self._ledger.read()

    def write(self, record: Intent | Purchase) -> None:
        """See `Ledger.write`."""
        if isinstance(record, Intent):
            self._interrupts.hold()
        self._ledger.write(record)
        if not isinstance(record, Intent):
            self._interrupts.release()

    def clear(self, *, own_only: bool = False) -> None:
        """See `Ledger.clear`."""
        self._ledger.clear(own_only=own_only)
        self._interrupts.release()
