"""Verified requests, kept as they came before anybody tries to understand them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
import structlog

from contacts.events import Event, PartlyUnderstood
from contacts.intake import Intake
from contacts.tables import inbox

log = structlog.get_logger()

_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})


@dataclass(frozen=True)
class Outcome:
    """What became of a request: the inbox row, how many events it held, and why it was not understood, if so."""

    inbox_id: int
    events: int
    error: str | None


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
    ) -> Outcome:
        """Stores a verified request, parses it and records its events.

        What cannot be parsed stays with its error and can be retried after a fix; the sender need not care.

        Raises:
            sqlalchemy.exc.OperationalError: The database is out of reach; the sender should try again.
        """
        kept = {k: v for k, v in headers.items() if k.lower() not in _SECRET_HEADERS}
        async with self.intake.engine.begin() as conn:
            row = await conn.execute(
                sa.insert(inbox)
                .values(
                    connector=connector,
                    received_at=now,
                    method=method,
                    url=url,
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

    async def understand(self, inbox_id: int, parse: Callable[[], Sequence[Event]], now: datetime) -> Outcome:
        """Parses a stored request and records its events; safe to repeat, since every event is recorded once."""
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
        if error:
            log.warning("inbox.not_understood", inbox=inbox_id, error=error)
        status = "failed" if error else ("parsed" if found else "ignored")
        async with self.intake.engine.begin() as conn:
            await conn.execute(
                sa.update(inbox).where(inbox.c.id == inbox_id).values(status=status, error=error, events=len(found))
            )
        return Outcome(inbox_id, len(found), error)


def _one_line(problem: Exception) -> str:
    # What a sender wrote may be quoted in it, with characters no column can hold.
    printable = "".join(c if c.isprintable() else " " for c in str(problem))
    return f"{type(problem).__name__}: {' '.join(printable.split())}"[:500]
