"""The command line: `python -m airflow_wan.emulator --port 8765`."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from airflow_wan.emulator.clock import LONGEST_S, is_seconds
from airflow_wan.emulator.dependencies import missing_extra
from airflow_wan.emulator.faults import Fault
from airflow_wan.emulator.settings import Settings
from airflow_wan.emulator.validation import parse_json

try:
    import uvicorn

    from airflow_wan.emulator.app import Emulator
    from airflow_wan.emulator.connections import HttpProtocol
except ModuleNotFoundError as error:
    sys.exit(str(missing_extra(error)))

if TYPE_CHECKING:
    from collections.abc import Sequence

_LAST_PORT = 65_535


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; serve until interrupted."""
    options = _parser().parse_args(arguments)
    # Older uvicorns (0.30 among them) raise KeyboardInterrupt again after they have shut down.
    with closing(Emulator(_settings(options))) as emulator, suppress(KeyboardInterrupt):
        emulator.faults.add(options.fault)
        uvicorn.run(emulator.app, host=options.host, port=options.port, http=HttpProtocol, lifespan="off", ws="none")


def _parser() -> argparse.ArgumentParser:
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m airflow_wan.emulator",
        description="A stand-in for the Wan video gateways of APIYI and DashScope. It never costs money.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on. 0.0.0.0 lets everyone in your network create tasks, make this machine fetch any "
        "URL that it can reach, and use all controls under /_emulator: use it only in a network that you trust.",
    )
    parser.add_argument("--port", type=_port, default=8765, help="port to listen on")
    parser.add_argument(
        "--pending-s", type=_seconds, default=defaults.pending_s, help="seconds that a task stays PENDING"
    )
    parser.add_argument(
        "--running-s", type=_seconds, default=defaults.running_s, help="seconds that it then stays RUNNING"
    )
    parser.add_argument("--api-key", help="the only key that is accepted (default: every sk-... key)")
    parser.add_argument(
        "--reject-key", action="append", default=[], metavar="KEY", help="a key to refuse; can be repeated"
    )
    parser.add_argument(
        "--qps-limit",
        action=argparse.BooleanOptionalAction,
        default=defaults.qps_limit,
        help="limit DashScope reads to 20 a second for each key",
    )
    parser.add_argument(
        "--media-mirror",
        action="append",
        default=[],
        type=_mirror,
        metavar="PREFIX=TARGET",
        help="fetch media whose URL begins with PREFIX from TARGET instead; can be repeated",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        type=_fault,
        metavar="JSON",
        help="a fault, in the JSON that POST /_emulator/faults takes: "
        """{"on":"create","kind":"drop_connection"}; can be repeated""",
    )
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not is_seconds(seconds):
        raise argparse.ArgumentTypeError(f"expected a number of seconds from 0 to {LONGEST_S}, got {text!r}")
    return seconds


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not int(text) <= _LAST_PORT:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to {_LAST_PORT}, got {text!r}")
    return int(text)


def _fault(text: str) -> Fault:
    try:
        return Fault.from_json(parse_json(text.encode(errors="replace")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _mirror(text: str) -> tuple[str, str]:
    # The prefix may contain "=" too, so the split is where the target's scheme begins.
    prefix, separator, target = text.rpartition("=http")
    if not separator or not prefix:
        raise argparse.ArgumentTypeError(
            f"expected PREFIX=TARGET, such as https://cdn.com/=http://127.0.0.1:9000/, got {text!r}"
        )
    return prefix, f"http{target}"


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        pending_s=options.pending_s,
        running_s=options.running_s,
        api_key=options.api_key,
        rejected_keys=frozenset(options.reject_key),
        qps_limit=options.qps_limit,
        media_mirrors=tuple(options.media_mirror),
    )


if __name__ == "__main__":
    main()
