"""The worker of a drill: the real one, but that its messages go to the drill's provider. ``python -m chaos.worker``."""

import os
import sys
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

import worker
from chaos.couriers import couriers
from connectors.configured import Outlets
from connectors.recording import Recording
from contacts import store
from contacts.facts import Facts
from contacts.tables import contacts

PROVIDER = "CHAOS_PROVIDER"
"""The variable that says where the provider is."""

WITHOUT_LOCK = "CHAOS_WITHOUT_LOCK"
"""The variable that, set to 1, takes the row lock out of the gate: the drill must then fail."""


def outlets(**_: Any) -> Outlets:
    """What the worker reaches the world through."""
    people = Recording()
    return Outlets(senders=couriers(os.environ[PROVIDER]), crm=people, alert=people)


async def look_without_lock(conn: AsyncConnection, contact_id: str) -> Facts:
    """``store.lock`` with the lock forgotten."""
    while True:
        query = sa.select(contacts.c.facts, contacts.c.merged_into).where(contacts.c.id == contact_id)
        row = (await conn.execute(query)).one()
        if row.merged_into is None:
            return store.read_facts(row.facts)
        contact_id = row.merged_into


if __name__ == "__main__":
    if os.environ.get(WITHOUT_LOCK) == "1":
        store.lock = look_without_lock
    sys.exit(worker.main(outlets))
