"""Verified requests, kept as they came before anybody tries to understand them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import unquote_plus

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts.events import Event, NamesNobody, PartlyUnderstood
from contacts.intake import Intake
from contacts.tables import inbox, tokens

log = structlog.get_logger()

_SECRET_HEADERS = frozenset(
    {"authorization", "cookie", "proxy-authorization", "x-api-key", "x-make-apikey", "x-perennial-secret"}
)
_SECRET_PARAMETERS = ("key", "token", "secret", "password")
"""How the names of parameters end whose values let in whoever knows them. No ``parse`` looks at those."""


@dataclass(frozen=True)
class Outcome:
    """What became of a request: the inbox row, how many events it held, and why it was not understood, if so."""

    inbox_id: int
    events: int
    error: str | None


class TokenReused(Exception):
    """What was signed came before, with another body: somebody replays a signature over a body of their own."""


@dataclass(frozen=True)
class Inbox:
    """Keeps, then understands."""

    intake: Intake

    async def accept(
        self,
        connector: str,
        *,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        parse: Callable[[], Sequence[Event]],
        now: datetime,
        token: str | None = None,
    ) -> Outcome:
        """Stores a verified request, parses it and records its events.

        It is kept as it came, but for what lets in whoever knows it: secrets in headers and in the address.
        What cannot be parsed stays with its error and can be retried after a fix; the sender need not care.

        Args:
            token: What was signed where that is not the body; it may come with one body only.

        Raises:
            TokenReused: It came with another body before; nothing is kept.
            sqlalchemy.exc.OperationalError: The database is out of reach; the sender should try again.
        """
        kept = {k: v for k, v in headers.items() if k.lower() not in _SECRET_HEADERS}
        async with self.intake.engine.begin() as conn:
            if token is not None:
                await _use(conn, connector, token, body, now)
            row = await conn.execute(
                sa.insert(inbox)
                .values(
                    connector=connector,
                    received_at=now,
                    method=method,
                    url=_without_secrets(url),
                    headers=kept,
                    body=body,
                    status="received",
                )
                .returning(inbox.c.id)
            )
            inbox_id: int = row.scalar_one()
        return await self.understand(inbox_id, parse, now)

    async def unread(self, before: datetime) -> list[int]:
        """Requests that were kept before that time and that nobody has read: whoever kept them has died."""
        left = sa.select(inbox.c.id).where(inbox.c.status == "received", inbox.c.received_at < before)
        async with self.intake.engine.connect() as conn:
            return list((await conn.execute(left.order_by(inbox.c.id))).scalars())

    async def nobodys(self, since: datetime) -> list[int]:
        """Requests kept since that time of which nobody could tell whose they are; what tells may have come since."""
        known = sa.select(inbox.c.id).where(inbox.c.status == "nobody", inbox.c.received_at >= since)
        async with self.intake.engine.connect() as conn:
            return list((await conn.execute(known.order_by(inbox.c.id))).scalars())

    async def understand(self, inbox_id: int, parse: Callable[[], Sequence[Event]], now: datetime) -> Outcome:
        """Parses a stored request and records its events; safe to repeat, since every event is recorded once.

        A request is ``nobody`` where all that is wrong is that nobody can tell whose its events are: no fix will change
        that. But what is known of a message may be recorded a moment after its provider speaks of it, so the first
        reading leaves such a request ``received``, and it is read once more soon, and a few times later (``nobodys``).
        """
        problems: list[Exception] = []
        found: Sequence[Event] = ()
        try:
            found = parse()
        except PartlyUnderstood as problem:
            found = problem.events
            problems.append(problem)
        except Exception as problem:  # a fault of the parser's: the request is verified, and must not be lost for it
            problems.append(problem)
        for event in found:
            try:
                await self.intake.record(event, now)
            except ValueError as problem:
                # The rest of the request is not to blame.
                problems.append(problem)
        error = _one_line(problems[0]) if problems else None
        values: dict[str, Any] = {"status": "parsed" if found else "ignored", "error": error, "events": len(found)}
        if problems and all(isinstance(problem, NamesNobody) for problem in problems):
            values["status"] = sa.case((inbox.c.received_at >= now, "received"), else_="nobody")
        elif problems:
            values["status"] = "failed"
            log.warning("inbox.not_understood", inbox=inbox_id, error=error)
        async with self.intake.engine.begin() as conn:
            await conn.execute(sa.update(inbox).where(inbox.c.id == inbox_id).values(values))
        return Outcome(inbox_id, len(found), error)


def _without_secrets(url: str) -> str:
    address, mark, query = url.partition("?")
    return address + mark + "&".join(map(_masked, query.split("&")))


def _masked(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    secret = unquote_plus(name).strip().lower().endswith(_SECRET_PARAMETERS)
    return f"{name}{equals}***" if secret and equals else parameter


async def _use(conn: AsyncConnection, source: str, token: str, body: bytes, now: datetime) -> None:
    """Remembers a token with its body, for longer than any sender repeats itself."""
    old = sa.delete(tokens).where(tokens.c.source == source, tokens.c.seen_at < now - _TOKENS_KEPT)
    await conn.execute(old)
    hashed = sha256(body).digest()
    new = insert(tokens).values(source=source, token=token, body_hash=hashed, seen_at=now)
    await conn.execute(new.on_conflict_do_nothing())
    known = sa.select(tokens.c.body_hash).where(tokens.c.source == source, tokens.c.token == token)
    if (await conn.execute(known)).scalar_one() != hashed:
        raise TokenReused


_TOKENS_KEPT = timedelta(days=30)


def _one_line(problem: Exception) -> str:
    # What a sender wrote may be quoted in it, with characters no column can hold.
    printable = "".join(c if c.isprintable() else " " for c in str(problem))
    return f"{type(problem).__name__}: {' '.join(printable.split())}"[:500]
