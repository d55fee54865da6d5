"""Touches that a colleague carries out: a call, a note, a gift, a letter. Each becomes a task in the CRM."""

from datetime import datetime, timedelta
from typing import ClassVar

from connectors.base import Accepted, Crm, Message, Person, Task

CHANNELS = ("call", "note", "gift", "mail")
"""Channels on which a person, not a machine, reaches the contact. ``mail`` is a letter on paper."""


class Errands:
    """A ``Sender`` that asks a person: by ``metadata["due"]``. The address only says who is meant, in the CRM."""

    name: ClassVar[str] = "errands"
    channel: ClassVar[str] = "call"
    idempotent: ClassVar[bool] = True
    listed_within: ClassVar[timedelta | None] = None

    def __init__(self, crm: Crm) -> None:
        self._crm = crm

    async def send(self, message: Message) -> Accepted:
        """See ``Sender.send``. The CRM makes one task of the same key, so a second call is harmless."""
        crm_id = await self._crm.upsert(Person(email=message.to))
        due = datetime.fromisoformat(message.metadata["due"])
        task = Task(key=message.key, title=message.subject, body=message.text, due=due)
        return Accepted(await self._crm.task(crm_id, task))

    async def look_up(self, key: str) -> Accepted | None:
        """See ``Sender.look_up``; never needed, since a second call with the same key is harmless."""
        return None
