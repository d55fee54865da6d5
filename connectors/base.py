"""What a connector can be: each ability is a small Protocol, and a connector has those its system has.

``Source``  verifies what the system sends and parses it into events.
``Sender``  delivers messages on one channel.
``Crm``     keeps a contact, a task, a note in the sales team's system.
``Alert``   tells people who work here.
``Directory``  knows the address behind its own id.
``CardPages``  has a page on which a customer changes their card.
``LiveFacts``  knows more of a person than we keep, as of now.
``Sink``    is told what happened to contacts, by us.
``Poller``  is asked what happened, where it does not tell, or not reliably.

A ``Source`` may need more of the front door than verify and parse: ``Prepares``, ``SingleUse``, ``Replies``,
``Confirms``, ``SendsAgainOn``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Protocol, runtime_checkable

from contacts.events import Event, Identity


class Refused(Exception):
    """The request is not what it claims to be: nothing of it may be kept.

    Attributes:
        status: The HTTP status to answer: 401 for a bad signature, 400 for a malformed request.
        reason: One line for the sender's developer; never says what the right answer would have been.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Request:
    """One HTTP request as it arrived.

    Attributes:
        method: Upper case.
        url: As the sender called it: scheme, public host, path and query.
        headers: Names in lower case.
        body: The raw bytes; signatures are over these.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@runtime_checkable
class Source(Protocol):
    """A system that tells us what happened."""

    name: ClassVar[str]

    def verify(self, request: Request, now: datetime) -> None:
        """Checks signature, tolerance and form over the raw bytes.

        Args:
            request: As it arrived.
            now: The machine's time (UTC), which the sender's timestamp is held against.

        Raises:
            Refused: The request is forged, stale or malformed.
        """

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """The events in a verified request; empty when its kind means nothing to us.

        Must not depend on anything but its arguments, so that it can be run again after a fix.

        Raises:
            ValueError: The body does not parse (``InvalidEvent`` and pydantic's errors are ValueErrors).
        """


@runtime_checkable
class Prepares(Protocol):
    """A source that must fetch something before it can verify, such as the certificate a request names."""

    async def prepare(self, request: Request) -> None:
        """Fetches it; called before every ``verify``, so what was fetched is kept.

        Raises:
            Refused: What the request names may not be fetched.
            ConnectorError: It cannot be had now; the sender is asked to try again.
        """


@runtime_checkable
class SingleUse(Protocol):
    """A source whose signature does not cover the body: what is signed may come with one body only."""

    def token(self, request: Request) -> str:
        """What is signed. The front door refuses a verified request whose token came with another body before."""


@dataclass(frozen=True)
class Reply:
    """What a sender wants to read in our answer."""

    body: bytes = b""
    media_type: str = "application/json"
    status: int = 200


@runtime_checkable
class Replies(Protocol):
    """A source whose sender reads our answer: a challenge to echo, a form that must be kept."""

    def reply(self, request: Request) -> Reply | None:
        """The answer to a verified request, once it is kept; None for the usual one."""


@runtime_checkable
class Confirms(Protocol):
    """A source whose sender wants to be called back before it sends for good."""

    async def confirm(self, request: Request) -> None:
        """Calls back if this verified and kept request asks for it. May be repeated.

        Raises:
            ConnectorError: It did not work; the sender is asked to try again.
        """


@runtime_checkable
class SendsAgainOn(Protocol):
    """A source whose sender sends again what is answered with one status, and gives up at any other failure.

    Senders without this send again at 503, and most of them at 500.
    """

    again_on: ClassVar[int]


@dataclass(frozen=True)
class Polled:
    """A page of what a system was asked for.

    Attributes:
        events: What happened, oldest first; the same again is harmless, since events are unique by source id.
        cursor: Where to go on next time; kept with the events of this page.
        more: There is another page at once.
        fault: What the system would not say and why, where it says the rest: the cursor has not moved there.
    """

    events: Sequence[Event]
    cursor: str
    more: bool = False
    fault: str | None = None


@runtime_checkable
class Poller(Protocol):
    """A system that is asked what happened."""

    name: ClassVar[str]
    every: ClassVar[timedelta]
    """How long to wait before asking again (machine time)."""

    async def poll(self, cursor: str | None, now: datetime) -> Polled:
        """The next page.

        Args:
            cursor: Where the last page ended; None the first time, which begins at ``now`` and not with all of history.
            now: The machine's time (UTC).

        Raises:
            ConnectorError: It cannot say; see ``connectors.errors``.
        """


@dataclass(frozen=True)
class Told:
    """Something that happened to a contact, on its way to another system.

    Attributes:
        id: Ours, the same at every attempt.
        identities: Everything the contact is known by, oldest first.
        data: Of the event, with names and addresses where it has them.
    """

    id: str
    type: str
    occurred_at: datetime
    contact_id: str
    identities: Sequence[Identity]
    data: Mapping[str, Any]

    def known_as(self, kind: str) -> str | None:
        """The contact's newest identity of a kind."""
        return next((i.value for i in reversed(self.identities) if i.kind == kind), None)


@runtime_checkable
class Sink(Protocol):
    """A system that is told what happened. ``policy.toml`` says of which events (``[[outgoing]]``)."""

    @property
    def name(self) -> str:
        """What the policy calls it."""

    async def tell(self, told: Told) -> str | None:
        """Tells it; returns the system's id of what it made, if it says one.

        The same ``id`` twice does no more than once where the system can tell.

        Raises:
            NobodyThere: It does not know the contact, and need not; that counts as told.
            TryAgain, NeverAgain, Unknown: see ``connectors.errors``. ``Unknown`` is tried again: better twice than not.
        """


@dataclass(frozen=True)
class Message:
    """One touch, rendered, on its way to a provider.

    Attributes:
        key: The touch's key: unique for ever, without personal data, at most 255 characters.
        to: The recipient's address on this channel.
        purpose: ``promotional``, ``lifecycle`` or ``transactional``.
        unsubscribe_url: Where the recipient's one click goes; None for transactional messages.
        card: What the card with a gift says. Of a gift ``text`` is for the colleague who sees to it, and holds these
            words too; whoever sends the gift without a colleague sends them alone.
        metadata: ``journey``, ``template``, ``due`` (ISO, when a colleague should have acted). Of a letter or
            a gift also ``name`` (the recipient's) and ``address`` (``connectors.postal.PostalAddress`` as JSON), where
            they are known.
    """

    key: str
    to: str
    subject: str
    text: str
    html: str | None = None
    purpose: str = "promotional"
    unsubscribe_url: str | None = None
    card: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def tag_of(key: str) -> str:
    """A touch's key in letters, digits, ``-`` and ``_``, for providers whose tags take nothing else.

    >>> tag_of("0b5a-11/greet_them/2"), key_of("0b5a-11--greet_them--2")
    ('0b5a-11--greet_them--2', '0b5a-11/greet_them/2')
    """
    return key.replace("/", "--")


def key_of(tag: str) -> str:
    """The touch's key in a tag; the other way round."""
    return tag.replace("--", "/")


@dataclass(frozen=True)
class Accepted:
    """The provider took the message. ``provider_id`` is its name for it, ``request_id`` that of the call."""

    provider_id: str
    request_id: str | None = None


@runtime_checkable
class Sender(Protocol):
    """A system that delivers messages.

    ``idempotent`` says that the provider drops a second call with the same key. ``listed_within`` says how long a
    message that it took may be missing from what ``look_up`` asks; None where it cannot be asked. A sender with
    neither leaves a touch ``unknown`` when a call has no answer.
    """

    name: ClassVar[str]
    channel: ClassVar[str]
    idempotent: ClassVar[bool]
    listed_within: ClassVar[timedelta | None]

    async def send(self, message: Message) -> Accepted:
        """Hands the message over.

        Raises:
            TryAgain, NeverAgain, BadAddress, OptedOut, Unknown: see ``connectors.errors``.
        """

    async def look_up(self, key: str) -> Accepted | None:
        """What the provider lists of a key; None when it lists no such message.

        What that proves is not for a sender to say: it keeps nothing between two calls. Whoever asks knows when the
        last call for the key began, and believes None only when ``listed_within`` is over too.

        Raises:
            ConnectorError: The provider cannot say now, or this sender never can (``NeverAgain``).
        """


@dataclass(frozen=True)
class Person:
    """A contact as a CRM sees one."""

    email: str
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    company: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """Something a person should do for a contact.

    Attributes:
        key: Unique name of the task, so that asking twice makes one.
        due: When it should be done (UTC).
    """

    key: str
    title: str
    body: str
    due: datetime
    owner: str | None = None


@runtime_checkable
class Crm(Protocol):
    """The sales team's system. Every method may raise the errors of ``connectors.errors``."""

    name: ClassVar[str]

    async def upsert(self, person: Person) -> str:
        """Creates or updates the person; returns the CRM's id."""

    async def task(self, crm_id: str, task: Task) -> str:
        """Creates the task on the person; returns its id. The same key twice makes one task."""

    async def note(self, crm_id: str, key: str, body: str, at: datetime) -> str:
        """Writes a note on the person; returns its id. The same key twice makes one note."""

    async def stage(self, crm_id: str, stage: str) -> None:
        """Says where the person stands with us: one of ``contacts.policy.Stage``. The same again changes nothing."""


@runtime_checkable
class Alert(Protocol):
    """A way to tell the people who work here."""

    name: ClassVar[str]

    async def alert(self, key: str, title: str, body: str, link: str | None = None) -> str:
        """Tells them; returns the provider's id of the message. May raise the errors of ``connectors.errors``."""


@runtime_checkable
class CardPages(Protocol):
    """A payment provider that has a page on which a customer changes their card."""

    name: ClassVar[str]
    """Also the kind of identity that names a customer there."""

    async def card_page(self, customer_id: str, key: str) -> str:
        """Makes the page and returns its address, which is worth a visit at once. The same key makes one page.

        Raises:
            ConnectorError: It cannot; see ``connectors.errors``.
        """


@runtime_checkable
class Directory(Protocol):
    """A system that knows the address behind its own id. May raise the errors of ``connectors.errors``."""

    name: ClassVar[str]
    """Also the kind of identity it can look up."""

    async def email(self, id: str) -> str | None:
        """The e-mail address of whoever has this id there; None if it knows none."""


@runtime_checkable
class LiveFacts(Protocol):
    """A system that is asked about a person while a message to them is on its way out."""

    name: ClassVar[str]

    def knows(self, name: str) -> bool:
        """Whether it may be asked for this name at all."""

    async def fetch(self, name: str, person: Sequence[Identity], about: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What it has under this name, in the shape of the template's type (``usage``: ``{"headline": ...}``).

        Args:
            name: A context name of a template, such as ``usage``.
            person: Everything the person is known by, oldest first.
            about: The data of the event that the message answers; ``invoice_id`` names the invoice it is about.

        Returns:
            None where it knows nothing of that for this person.

        Raises:
            ConnectorError: It cannot say; see ``connectors.errors``.
        """
