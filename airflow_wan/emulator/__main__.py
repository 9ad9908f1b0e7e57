"""The command line: `python -m airflow_wan.emulator --port 8765`."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from airflow_wan.emulator.extra import require_extra
from airflow_wan.emulator.faults import Fault
from airflow_wan.emulator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    options = _parser().parse_args(arguments)
    try:
        require_extra()
    except ImportError as error:
        sys.exit(str(error))
    _serve(options.host, options.port, _settings(options), options.fault)


def _serve(host: str, port: int, settings: Settings, faults: Sequence[Fault]) -> None:
    # Not at the top of the file: without the extra these imports fail less clearly than require_extra.
    import uvicorn  # noqa: PLC0415

    from airflow_wan.emulator.app import Emulator  # noqa: PLC0415
    from airflow_wan.emulator.wire import WireProtocol  # noqa: PLC0415

    # Older uvicorns (0.30 among them) pass Ctrl-C on once they have shut down.
    with closing(Emulator(settings)) as emulator, suppress(KeyboardInterrupt):
        emulator.faults.add(faults)
        uvicorn.run(emulator.app, host=host, port=port, http=WireProtocol, lifespan="off", ws="none")


def _parser() -> argparse.ArgumentParser:
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m airflow_wan.emulator",
        description="A stand-in for the Wan video gateways of APIYI and DashScope. Nothing it does costs money.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8765, help="port to listen on")
    parser.add_argument("--pending-s", type=float, default=defaults.pending_s, help="seconds a task stays PENDING")
    parser.add_argument("--running-s", type=float, default=defaults.running_s, help="seconds it then stays RUNNING")
    parser.add_argument("--api-key", help="the only key accepted (default: every sk-... key)")
    parser.add_argument("--reject-key", action="append", default=[], metavar="KEY", help="a key to refuse; repeatable")
    parser.add_argument(
        "--qps-limit",
        action=argparse.BooleanOptionalAction,
        default=defaults.qps_limit,
        help="hold DashScope reads to 20 a second for each key",
    )
    parser.add_argument(
        "--media-mirror",
        action="append",
        default=[],
        type=_mirror,
        metavar="PREFIX=TARGET",
        help="fetch media whose URL begins with PREFIX from TARGET instead; repeatable",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        type=_fault,
        metavar="JSON",
        help="what is to go wrong, as for POST /_emulator/faults: "
        """{"on":"create","kind":"drop_connection"}; repeatable""",
    )
    return parser


def _fault(text: str) -> Fault:
    try:
        return Fault.read(json.loads(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _mirror(text: str) -> tuple[str, str]:
    # The prefix may hold an "=" of its own; the target begins with its scheme.
    prefix, found, target = text.rpartition("=http")
    if not found or not prefix:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not PREFIX=TARGET, such as https://cdn.com/=http://127.0.0.1:9000/"
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
