"""The witness of these tests notices each promise that is broken."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from hostile.answers import FORGED, KEY, MB, SIGNATURE
from hostile.witness import MAX_CPU_S, Seen, problems, ticking, unclean, unstorable, watching

from airflow_wan.exceptions import WanError

if TYPE_CHECKING:
    from hostile.server import HostileServer


def burn(seconds: float) -> None:
    """Take so much CPU time."""
    ends_at = time.process_time() + seconds
    while time.process_time() < ends_at:
        pass


def test_a_foreign_exception(server: HostileServer) -> None:
    with watching(server) as seen:
        raise KeyError("task_id")

    assert "KeyError" in problems(seen)[0]


def test_time(server: HostileServer) -> None:
    with watching(server) as seen:
        burn(MAX_CPU_S + 0.1)

    assert "CPU time" in problems(seen)[0]


def test_memory(server: HostileServer) -> None:
    with watching(server) as seen:
        seen.result = len(bytes(150 * MB).replace(b"\0", b"\1"))

    assert "memory" in " ".join(problems(seen))


async def test_a_loop_that_is_held_up_by_work(server: HostileServer) -> None:
    with watching(server) as seen:
        async with ticking(server, seen):
            burn(0.4)

    assert "event loop" in problems(seen)[0]


async def test_a_loop_that_is_held_up_by_a_wait(server: HostileServer) -> None:
    with watching(server) as seen:
        async with ticking(server, seen):
            time.sleep(3.2)  # noqa: ASYNC251 - the fault to be noticed

    assert "event loop" in problems(seen)[0]


@pytest.mark.parametrize(
    "text", [f"key {KEY}", f"?Signature={SIGNATURE}", "\x1b[31m", f"x\n{FORGED}", "a\u202eb", "a\0b"]
)
def test_a_line_of_a_log(server: HostileServer, text: str) -> None:
    with watching(server) as seen:
        logging.getLogger("airflow_wan.anything").warning("It said: %s", text)

    assert problems(seen)


def test_a_secret_in_a_suppressed_exception() -> None:
    try:
        try:
            int(f"Bearer {KEY}")
        except ValueError:
            raise WanError("no") from None
    except WanError as error:
        seen = Seen(error=error)

    assert problems(seen)


@pytest.mark.parametrize(
    "value", ["\ud83d", "a\0b", float("nan"), {"a": {1, 2}}, 2**70, {"x": f"a {KEY}"}, ["\x1b[0m"], "a\u202eb"]
)
def test_what_cannot_be_kept(value: Any) -> None:
    assert unstorable([value])


def test_what_is_well() -> None:
    assert unstorable({"a": [1, 2.5, None, True, "视频 — é\nsecond line"]}) == []
    assert unclean("One line.\nAnother line\twith a tab.") == []
