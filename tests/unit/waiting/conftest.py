"""A gateway on the test's own event loop: it counts connections and requests, and lies as the test says."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from airflow_wan.api.gateways import APIYI, DASHSCOPE, Account
from airflow_wan.waiting import listing, shared_reader
from airflow_wan.waiting.limits import Limits
from airflow_wan.waiting.watch import VideoWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

KEY = "sk-shared-reader-0123456789"
FAST = Limits(reads_per_second=500, lists_per_second=200)

Answer = tuple[int, Any]


class LoopGateway:
    """Tasks of which a test says what they are, read one by one or by the list.

    :ivar states: the word for the state of each task.
    :ivar fields: what else a task says.
    :ivar rows: what the list says instead of the task's state.
    :ivar on_task: answers a read of a task; None leaves it to the gateway.
    :ivar on_list: answers a page of the list likewise.
    :ivar counts: requests by kind.
    :ivar reads: reads of each task.
    :ivar keys: the keys that came.
    :ivar held: tasks whose reads are not answered; ``list`` stands for the list.
    """

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.fields: dict[str, dict[str, Any]] = {}
        self.rows: dict[str, str] = {}
        self.on_task: Callable[[str], Answer | None] = lambda _: None
        self.on_list: Callable[[dict[str, str]], Answer | None] = lambda _: None
        self.counts: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.held: set[str] = set()
        self.connections = self.open = 0
        self.writers: set[asyncio.StreamWriter] = set()
        self.queries: list[dict[str, str]] = []
        self.base_url = ""

    def add(self, number: int, state: str = "RUNNING") -> list[str]:
        """Add tasks, and return their ids."""
        names = [f"task-{len(self.states) + index}" for index in range(number)]
        self.states |= dict.fromkeys(names, state)
        return names

    def finish(self, *names: str, state: str = "SUCCEEDED") -> None:
        """End tasks."""
        self.states |= dict.fromkeys(names or list(self.states), state)

    def account(self, *, apiyi: bool = False, key: str = KEY, **fields: Any) -> Account:
        """Return the account that leads here."""
        return Account(APIYI if apiyi else DASHSCOPE, self.base_url, key, **fields)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        self.open += 1
        self.writers.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                status, body = await self._answer(head.decode())
                content = json.dumps(body).encode()
                extra = "Retry-After: 1\r\n" if status == 429 else ""
                writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(content)}\r\n{extra}\r\n".encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            self.writers.discard(writer)
            writer.close()

    def has_closed(self) -> bool:
        """End all connections; return whether there are none left."""
        for writer in [*self.writers]:
            writer.transport.abort()
        return not self.open

    async def _answer(self, head: str) -> Answer:
        target = head.split(" ", 2)[1]
        self.keys |= {line.partition(" ")[2] for line in head.split("\r\n") if line.lower().startswith("authorization")}
        url = urlsplit(target)
        if url.path == "/api/v1/tasks/":
            self.counts["list"] += 1
            query = dict(parse_qsl(url.query))
            self.queries.append(query)
            await self._hold("list")
            return self.on_list(query) or self._page(query)
        name = url.path.rpartition("/")[2]
        self.counts["task"] += 1
        self.reads[name] += 1
        await self._hold(name)
        return self.on_task(name) or self._task(name)

    async def _hold(self, name: str) -> None:
        while name in self.held:  # noqa: ASYNC110 - the test changes it as it likes
            await asyncio.sleep(0.01)

    def _task(self, name: str) -> Answer:
        state = self.states.get(name, "UNKNOWN")
        url = {"video_url": "https://files.example/x.mp4?Signature=TOPSECRET"} if state == "SUCCEEDED" else {}
        return 200, {"output": {"task_id": name, "task_status": state} | url | self.fields.get(name, {})}

    def _page(self, query: dict[str, str]) -> Answer:
        number, size = int(query["page_no"]), int(query["page_size"])
        rows = [
            {"task_id": name, "status": self.rows.get(name, state), "gmt_create": int(time.time() * 1000)}
            for name, state in self.states.items()
        ]
        return 200, {"total": len(rows), "data": rows[(number - 1) * size : number * size]}


@asynccontextmanager
async def loop_gateway() -> AsyncIterator[LoopGateway]:
    """Serve a gateway on the running loop."""
    gateway = LoopGateway()
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    gateway.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield gateway
    finally:
        server.close()
        gateway.held = set()
        await until(gateway.has_closed)  # also what was accepted a moment ago


def watch(name: str, **fields: Any) -> VideoWatch:
    now = time.time()
    return VideoWatch(name, **{"started": now, "deadline": now + 60, "poll_interval": 0.05} | fields)


async def until(condition: Callable[[], object]) -> None:
    """Return once something is true; fail when it does not become so in a generous time."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the list be read as often as it is wanted, and a reader begin again at once."""
    monkeypatch.setattr(shared_reader, "SWEEP_EVERY_S", 0.05)
    monkeypatch.setattr(shared_reader, "RESTART_S", 0.05)
    monkeypatch.setattr(listing, "LONGEST_NEWNESS_S", -1.0)
