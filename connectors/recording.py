"""Stands in for systems we have no credentials for: does as asked, in memory, and remembers every call.

Development uses it so that the whole road runs; production refuses it. Tests use it to see what a journey asked for
and to have the asking go wrong in any way a real system can.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Self

from connectors.base import Accepted, Message, Person, Task
from connectors.errors import ConnectorError, NeverAgain, Unknown


@dataclass(frozen=True)
class Sent:
    """``send`` was called."""

    message: Message


@dataclass(frozen=True)
class LookedUp:
    """``look_up`` was called."""

    key: str


@dataclass(frozen=True)
class Upserted:
    """``upsert`` was called."""

    person: Person


@dataclass(frozen=True)
class Tasked:
    """``task`` was called."""

    crm_id: str
    task: Task


@dataclass(frozen=True)
class Noted:
    """``note`` was called."""

    crm_id: str
    key: str
    body: str
    at: datetime


@dataclass(frozen=True)
class Alerted:
    """``alert`` was called."""

    key: str
    title: str
    body: str
    link: str | None


@dataclass(frozen=True)
class Staged:
    """``stage`` was called."""

    crm_id: str
    stage: str


Call = Sent | LookedUp | Upserted | Tasked | Noted | Staged | Alerted


class Recording:
    """A ``Sender``, ``Crm`` and ``Alert`` that reaches nobody.

    Attributes:
        calls: Everything it was asked, in order, whatever came of it.
        delivered: The messages that went out, in order; one twice where a sender without idempotency was asked twice.
    """

    name: ClassVar[str] = "recording"
    channel: ClassVar[str] = "email"
    idempotent: ClassVar[bool] = False
    listed_within: ClassVar[timedelta | None] = timedelta(0)

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.delivered: list[Message] = []
        self._accepted: dict[str, Accepted] = {}
        self._ids: dict[tuple[str, str], str] = {}
        self._upcoming: deque[ConnectorError | None] = deque()

    @classmethod
    def on(cls, channel: str, *, idempotent: bool = False, listed_within: timedelta | None = timedelta(0)) -> Self:
        """One that stands in for a sender on that channel with those abilities."""
        abilities = {"channel": channel, "idempotent": idempotent, "listed_within": listed_within}
        stand_in: type[Self] = type(cls.__name__, (cls,), abilities)
        return stand_in()

    def fail(self, *errors: ConnectorError) -> None:
        """The next calls fail, one error each, and do nothing. A look-up fails so too."""
        self._upcoming.extend(errors)

    def lose_answer(self) -> None:
        """The next call does as asked, and then its answer is lost: it raises ``Unknown``."""
        self._upcoming.append(None)

    async def send(self, message: Message) -> Accepted:
        """See ``Sender.send``."""
        with self._asked(Sent(message)):
            known = self._accepted.get(message.key)
            if known is not None and self.idempotent:
                return known
            self.delivered.append(message)
            # By the key, not by a count: a provider's id names one message for ever, and we may be started anew.
            return self._accepted.setdefault(message.key, Accepted(f"recording-message-{message.key}"))

    async def look_up(self, key: str) -> Accepted | None:
        """See ``Sender.look_up``; tells the truth."""
        with self._asked(LookedUp(key)):
            if self.listed_within is None:
                raise NeverAgain(self.name, "this sender cannot be asked what became of a message")
            return self._accepted.get(key)

    async def upsert(self, person: Person) -> str:
        """See ``Crm.upsert``; an address has one id."""
        with self._asked(Upserted(person)):
            return self._id("person", person.email.casefold())

    async def task(self, crm_id: str, task: Task) -> str:
        """See ``Crm.task``; a key has one id."""
        with self._asked(Tasked(crm_id, task)):
            return self._id("task", task.key)

    async def note(self, crm_id: str, key: str, body: str, at: datetime) -> str:
        """See ``Crm.note``; a key has one id."""
        with self._asked(Noted(crm_id, key, body, at)):
            return self._id("note", key)

    async def stage(self, crm_id: str, stage: str) -> None:
        """See ``Crm.stage``."""
        with self._asked(Staged(crm_id, stage)):
            pass

    async def alert(self, key: str, title: str, body: str, link: str | None = None) -> str:
        """See ``Alert.alert``; a key has one id."""
        with self._asked(Alerted(key, title, body, link)):
            return self._id("alert", key)

    @contextmanager
    def _asked(self, call: Call) -> Iterator[None]:
        self.calls.append(call)
        if not self._upcoming:
            yield
            return
        error = self._upcoming.popleft()
        if error is not None:
            raise error
        yield
        raise Unknown(self.name, "the answer was lost")

    def _id(self, kind: str, key: str) -> str:
        return self._ids.setdefault((kind, key), f"recording-{kind}-{len(self._ids) + 1}")
