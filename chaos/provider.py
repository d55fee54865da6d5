"""The provider of the drill: takes messages over HTTP, remembers every one, and misbehaves as its seed says.

It never dies, and so it is the witness: what it has delivered is what contacts have got, whatever our tables say.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import h11

from ops import engines

Mishap = Literal["busy", "broken", "broken_after", "silent", "silent_after", "late", "dropped"]
"""
``busy``          429 with Retry-After, and nothing was done
``broken``        500, and nothing was done
``broken_after``  500, though it was done
``silent``        no answer, and nothing was done
``silent_after``  no answer, though it was done
``late``          no answer for longer than anybody waits for one, and then it is done
``dropped``       it was done, and the connection is closed without an answer
"""
MISHAPS: tuple[Mishap, ...] = ("busy", "broken", "broken_after", "silent", "silent_after", "late", "dropped")
_DONE_FIRST = ("broken_after", "silent_after", "dropped")

_SILENCE = 6.0
"""Seconds; our own patience is shorter (``couriers``)."""


@dataclass(frozen=True)
class Delivery:
    """A message that reached its contact. ``at``: seconds on this process's monotonic clock."""

    key: str
    sender: str
    channel: str
    to: str
    purpose: str
    template: str
    journey: str
    at: float


@dataclass
class Provider:
    """What it has seen and done.

    Attributes:
        well: It misbehaves no more.
        delivered: What reached contacts, in order; one key twice where it was delivered twice.
        calls: How often it was called, by sender.
        mishaps: How often it misbehaved, and how.
    """

    seed: int
    share: float
    well: bool = False
    delivered: list[Delivery] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    look_ups: int = 0
    repeats_dropped: int = 0
    mishaps: Counter[Mishap] = field(default_factory=Counter)
    _attempts: Counter[str] = field(default_factory=Counter)
    _known: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def mishap(self, what: str) -> Mishap | None:
        """How the next call about this goes wrong; None if it goes well."""
        self._attempts[what] += 1
        random = Random(f"{self.seed}/{what}/{self._attempts[what]}")  # noqa: S311  # repeatable
        if self.well or random.random() >= self.share:
            return None
        chosen = random.choice(MISHAPS)
        self.mishaps[chosen] += 1
        return chosen

    def take(self, sender: str, message: Mapping[str, str]) -> str:
        """Delivers a message; the same key again is dropped for the sender whose key it honours."""
        key = message["key"]
        if sender == "keyed" and key in self._known[sender]:
            self.repeats_dropped += 1
        else:
            fields = {name: message[name] for name in ("channel", "to", "purpose", "template", "journey")}
            self.delivered.append(Delivery(key, sender, **fields, at=monotonic()))
        self._known[sender].add(key)
        return f"{sender}-{key}"

    def knows(self, sender: str, key: str) -> bool:
        """Whether it has the message."""
        return key in self._known[sender]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serves on a free port of the loopback address; yields its URL."""
        port = engines.free_port()
        talking: set[asyncio.Task[None]] = set()

        def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(_Conversation(self, reader, writer).hold())
            talking.add(task)
            task.add_done_callback(talking.discard)

        server = await asyncio.start_server(greet, engines.LOOPBACK, port)
        try:
            yield f"http://{engines.LOOPBACK}:{port}"
        finally:
            server.close()
            for task in talking:
                task.cancel()


class _Conversation:
    """One connection: ``POST /<sender>`` hands a message over, ``GET /<sender>?key=`` asks for one."""

    def __init__(self, provider: Provider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._provider = provider
        self._reader = reader
        self._writer = writer
        self._wire = h11.Connection(h11.SERVER)

    async def hold(self) -> None:
        with suppress(ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            while await self._answer_one():
                self._wire.start_next_cycle()
        self._writer.close()

    async def _answer_one(self) -> bool:
        target, method, body = "", b"", b""
        while True:
            event = self._wire.next_event()
            if event is h11.NEED_DATA:
                self._wire.receive_data(await self._reader.read(65536))
            elif isinstance(event, h11.Request):
                target, method = event.target.decode(), event.method
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False
        parts = urlsplit(target)
        sender = parts.path.strip("/")
        if method == b"GET":
            return await self._look_up(sender, parse_qs(parts.query)["key"][0])
        return await self._take(sender, json.loads(body))

    async def _take(self, sender: str, message: Mapping[str, str]) -> bool:
        provider = self._provider
        provider.calls[sender] += 1
        mishap = provider.mishap(message["key"])
        if mishap in _DONE_FIRST:
            provider.take(sender, message)
        match mishap:
            case None:
                return await self._say(200, {"id": provider.take(sender, message)})
            case "busy":
                return await self._say(429, {}, ("retry-after", "1"))
            case "broken" | "broken_after":
                return await self._say(500, {})
            case "silent" | "silent_after":
                await asyncio.sleep(_SILENCE)
            case "late":
                await asyncio.sleep(_SILENCE)
                provider.take(sender, message)
            case "dropped":
                pass
        return False

    async def _look_up(self, sender: str, key: str) -> bool:
        self._provider.look_ups += 1
        mishap = self._provider.mishap(f"look-up/{key}")
        if mishap in ("busy", "broken", "broken_after"):
            return await self._say(503, {})
        if mishap is not None:
            await asyncio.sleep(_SILENCE if mishap != "dropped" else 0)
            return False
        if not self._provider.knows(sender, key):
            return await self._say(404, {})
        return await self._say(200, {"id": f"{sender}-{key}"})

    async def _say(self, status: int, body: Any, *headers: tuple[str, str]) -> bool:
        content = json.dumps(body).encode()
        given = [("content-type", "application/json"), ("content-length", str(len(content))), *headers]
        for event in (
            h11.Response(status_code=status, headers=given),
            h11.Data(data=content),
            h11.EndOfMessage(),
        ):
            self._writer.write(self._wire.send(event) or b"")
        await self._writer.drain()
        return self._wire.our_state is h11.DONE
