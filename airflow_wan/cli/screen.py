"""What a command prints: its result on stdout, everything else on stderr, and no secret anywhere."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import traceback
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

import typer

from airflow_wan.cli.failures import UNEXPECTED, Stopped, as_json, exit_code, in_words
from airflow_wan.exceptions import WanError
from airflow_wan.redaction import KeyMask, redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType

    from airflow_wan.cli.options import Talk

_LOGGER = "airflow_wan"

_ONE_LEVEL = logging.WARNING - logging.INFO

_WIDE = 240
"""Columns of a table that goes to a file or a pipe."""


_UNWRITABLE = (OSError, ValueError, RuntimeError)
"""What a stream raises that nobody reads, that is closed, or that is being written to while a signal is handled."""


class _Unheard:
    """A stream to a person who may have gone: a pipe that nobody reads, a terminal that was closed, a full disk.

    That must stop no command, least of all while the answer to a create request is awaited.

    :param stream: the stream; None if there is none.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        """Return whether somebody may see it."""
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> int:
        """Write a text, if it can be written."""
        if self._stream is not None:
            with contextlib.suppress(*_UNWRITABLE):
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write out what is held back, if it can be written."""
        if self._stream is not None:
            with contextlib.suppress(*_UNWRITABLE):
                self._stream.flush()


class Screen:
    """Prints for one command.

    :param talk: how.
    """

    def __init__(self, talk: Talk) -> None:
        from rich.console import Console  # noqa: PLC0415 - not needed to show the help

        self._as_json = talk.as_json
        self._masks: list[KeyMask] = []
        self.err: Console = Console(file=cast("IO[str]", _Unheard(sys.stderr)), highlight=False, soft_wrap=True)
        # A pipe has no width: a table is as wide as its texts there.
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._out = Console(file=sys.stdout, highlight=False, width=None if is_terminal else _WIDE)

    def hide(self, *secrets: str) -> None:
        """Print none of these from now on, whatever a text says."""
        self._masks.append(KeyMask(*secrets))

    def result(self, document: Any, shown: RenderableType) -> None:
        """Print the result of the command, the only thing on stdout.

        :param document: the result for a script.
        :param shown: the result for a person.
        """
        with _stdout_errors():
            if self._as_json:
                self._print_json(document)
            elif isinstance(shown, str):
                self._out.print(self._clean(shown), markup=False, soft_wrap=True)
            else:
                with self._out.capture() as table:
                    self._out.print(shown)
                self._out.file.write(self._clean(table.get()))
                self._out.file.flush()

    def say(self, text: str) -> None:
        """Tell a person something on stderr."""
        self.err.print(self._clean(text), markup=False)

    def failed(self, error: WanError | Stopped) -> None:
        """Print an error: for a person on stderr, for a script on stdout, too."""
        self.say(in_words(error))
        if self._as_json:
            with contextlib.suppress(*_UNWRITABLE):
                self._print_json(as_json(error))

    def _print_json(self, document: Any) -> None:
        has_all_letters = str(getattr(sys.stdout, "encoding", "")).lower().startswith("utf")
        text = self._clean(json.dumps(document, indent=2, ensure_ascii=not has_all_letters))
        self._out.file.write(f"{text}\n")
        self._out.file.flush()

    def _clean(self, text: str) -> str:
        for mask in self._masks:
            text = mask.hide(text)
        return text


@contextlib.contextmanager
def _stdout_errors() -> Iterator[None]:
    """Turn what stdout raises into an error that says that the command has done its work.

    :raises WanError: when stdout cannot be written to.
    """
    try:
        yield
    except (*_UNWRITABLE, SystemExit) as error:  # SystemExit is what rich makes of a pipe that nobody reads
        raise _unprintable(error) from None


def _unprintable(error: BaseException) -> WanError:
    why = getattr(error, "strerror", None) or "Nobody reads it"
    problem = WanError(f"The command has done its work, but its result cannot be written to stdout: {why}.")
    problem.billed = None
    problem.advice = "If it was to make a video, the video is at its output, and the same command buys nothing more."
    return problem


@contextlib.contextmanager
def screen_of(talk: Talk) -> Iterator[Screen]:
    """Provide the screen of a command, and end the command with the exit code of what ends it.

    :param talk: how results and progress are told.
    """
    screen = Screen(talk)
    try:
        with _logs_on(screen, logging.INFO if talk.verbose else logging.WARNING):
            yield screen
    except (WanError, Stopped) as error:
        screen.failed(error)
        raise typer.Exit(exit_code(error)) from None
    except KeyboardInterrupt:
        stopped = Stopped("Stopped.", billed=False, signal=signal.SIGINT)
        screen.failed(stopped)
        raise typer.Exit(exit_code(stopped)) from None
    except typer.Exit:
        raise
    except Exception as error:  # noqa: BLE001 - one line for a person; a trace may show secrets, and is for those who ask for it
        if talk.verbose:
            screen.say(redact(traceback.format_exc()))
        unexpected = WanError(f"{type(error).__name__}: {error}")
        unexpected.billed = None
        screen.failed(unexpected)
        raise typer.Exit(UNEXPECTED) from None


@contextlib.contextmanager
def _logs_on(screen: Screen, level: int) -> Iterator[None]:
    """Print what is logged on a screen, and nowhere else: Airflow may have its logs go to stdout.

    :param screen: the screen.
    :param level: the level from which on the package is heard; all others are heard from two levels above.
    """
    root, ours, handler = logging.getLogger(), logging.getLogger(_LOGGER), _ScreenHandler(screen, level)
    handlers, before = root.handlers[:], ours.level
    root.handlers = [handler]
    ours.setLevel(level)
    try:
        with _airflows_own_logs():
            yield
    finally:
        root.handlers = handlers
        ours.setLevel(before)


@contextlib.contextmanager
def _airflows_own_logs() -> Iterator[None]:
    """Let structlog, by which Airflow logs, print nothing itself.

    Where nobody has set it up, it prints each line to stdout, and below an error all variables of the functions that it
    passed: the password of a connection is one of them. Airflow's own commands set it up to print to stdout, too.
    """
    import structlog  # noqa: PLC0415 - not needed to show the help

    before = structlog.get_config() if structlog.is_configured() else None
    structlog.configure(
        processors=[lambda _logger, _method, event: str(event.get("event"))],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        if before is None:
            structlog.reset_defaults()
        else:
            structlog.configure(**before)


class _ScreenHandler(logging.Handler):
    def __init__(self, screen: Screen, level: int) -> None:
        super().__init__(level)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line; a trace is for a log file, not for a terminal."""
        if not record.name.startswith(_LOGGER) and record.levelno < self.level + 2 * _ONE_LEVEL:
            return
        word = "" if record.levelno <= logging.INFO else f"{record.levelname.capitalize()}: "
        self._screen.say(f"{word}{redact(record.getMessage())}")
