"""What a command prints: its result on stdout, everything else on stderr, and no secret anywhere."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

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


class Screen:
    """Prints for one command.

    :param talk: how.
    """

    def __init__(self, talk: Talk) -> None:
        from rich.console import Console  # noqa: PLC0415 - not needed to show the help

        self._as_json = talk.as_json
        self._masks: list[KeyMask] = []
        self.err: Console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        # A pipe has no width: a table is as wide as its texts there.
        self._out = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _WIDE)

    def hide(self, *secrets: str) -> None:
        """Print none of these from now on, whatever a text says."""
        self._masks.append(KeyMask(*secrets))

    def result(self, document: Any, shown: RenderableType) -> None:
        """Print the result of the command, the only thing on stdout.

        :param document: the result for a script.
        :param shown: the result for a person.
        """
        if self._as_json:
            self._print_json(document)
        elif isinstance(shown, str):
            self._out.print(self._clean(shown), markup=False, soft_wrap=True)
        else:
            self._out.print(shown)

    def say(self, text: str) -> None:
        """Tell a person something on stderr."""
        self.err.print(self._clean(text), markup=False)

    def failed(self, error: WanError | Stopped) -> None:
        """Print an error: for a person on stderr, for a script on stdout, too."""
        self.say(in_words(error))
        if self._as_json:
            self._print_json(as_json(error))

    def _print_json(self, document: Any) -> None:
        sys.stdout.write(self._clean(json.dumps(document, indent=2, ensure_ascii=False)) + "\n")
        sys.stdout.flush()

    def _clean(self, text: str) -> str:
        for mask in self._masks:
            text = mask.hide(text)
        return text


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
        yield
    finally:
        root.handlers = handlers
        ours.setLevel(before)


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
