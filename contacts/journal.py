"""What happened, in words a person can read, in the order of time.

Entries are written in the same transaction as the fact they tell of. ``simulate``, ``demo`` and ``explain`` read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contacts.tables import journal

Kind = Literal[
    "event", "enter", "stage", "touch", "wait", "drop", "hold", "release", "handoff", "ack", "escalate",
    "approval", "review", "exit", "skip", "merge",
]  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One line of a contact's life.

    Attributes:
        once: A name that makes a repeat harmless: a second entry with the same name is not written.
        data: What the kind needs: ``touch``, ``channel``, ``purpose``, ``subject``, ``body``, ``reason``, ``until``,
            ``stage``, ``outcome``, ``type`` ...
    """

    at: datetime
    contact_id: str
    kind: Kind
    journey: str | None = None
    run_id: str | None = None
    once: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


async def write(conn: AsyncConnection, *entries: Entry) -> None:
    """Adds entries; one that was written before (by its ``once``) is left as it was."""
    if entries:
        rows = [
            {
                "at": e.at,
                "contact_id": e.contact_id,
                "kind": e.kind,
                "journey": e.journey,
                "run_id": e.run_id,
                "once": e.once,
                "data": {k: v for k, v in e.data.items() if v is not None},
            }
            for e in entries
        ]
        await conn.execute(insert(journal).on_conflict_do_nothing(index_elements=["once"]), rows)


async def read(conn: AsyncConnection, contact_id: str | None = None, after: int = 0) -> list[tuple[int, Entry]]:
    """Entries with their ids, in order of time: a contact's, or everybody's; only those written after an id."""
    query = sa.select(journal).where(journal.c.id > after).order_by(journal.c.at, journal.c.id)
    if contact_id is not None:
        query = query.where(journal.c.contact_id == contact_id)
    rows = await conn.execute(query)
    return [(r.id, Entry(r.at, r.contact_id, r.kind, r.journey, r.run_id, r.once, r.data)) for r in rows]
