"""What happens to the contacts of a drill: a function of the seed.

Senders tell things twice, late, in another order than they happened, or never. Half of what ends a journey is told at
the worst of moments: just as the contact's run is about to wake and ask for its next message. And some contacts come
at night, so that the messages of two journeys wait for the same morning, and ask at the same instant.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Literal
from zoneinfo import ZoneInfo

Door = Literal["track", "cloudevents", "stripe", "zendesk"]

ZONES = (
    "Europe/Berlin", "Europe/London", "America/New_York", "America/Los_Angeles", "Asia/Kolkata", "Asia/Kathmandu",
    "Australia/Adelaide", "America/St_Johns",
)  # fmt: skip

_TWICE, _LATE, _LOST = 0.2, 0.1, 0.03


@dataclass(frozen=True)
class Act:
    """Something that happens to a contact, and how it is told.

    Attributes:
        id: The sender's own; the same at every telling.
        happens: When, in days since the drill began.
        told: When it is told first, likewise: later where the sender is late.
        ambush: It is not told before the contact's run is about to wake, but at the latest two days after ``told``.
        copies: How many times it is told besides, each so many days after the first.
        lost: Nobody ever tells it.
        under: Another name of the contact's, an address or a device, under which it is told; what is told of both names
            (``joins``) makes them one person.
    """

    id: str
    email: str
    door: Door
    type: str
    happens: float
    told: float
    data: Mapping[str, Any] = field(default_factory=dict)
    ambush: bool = False
    copies: tuple[float, ...] = ()
    lost: bool = False
    under: str | None = None

    @property
    def joins(self) -> bool:
        """It says that two names are one person's."""
        return self.under is not None and self.type in ("identify", "contact.merged")


@dataclass(frozen=True)
class Life:
    """A contact and everything that happens to it."""

    email: str
    kind: str
    acts: tuple[Act, ...]


def lives(seed: int, contacts: int, begins: datetime, arriving_over: float) -> list[Life]:
    """The contacts of a drill.

    Args:
        seed: The same seed gives the same lives.
        begins: When the drill begins, on the journeys' clock.
        arriving_over: Days in which they come.
    """
    random = Random(f"lives/{seed}")  # noqa: S311  # a drill is to be repeatable, not unpredictable
    kinds, weights = zip(*_KINDS.items(), strict=True)
    found: list[Life] = []
    for number in range(contacts):
        kind: str = random.choices(kinds, weights=[weight for weight, _ in weights])[0]
        life = _Life(random, f"c{number}-of-{seed}@example.com", begins, random.uniform(0, arriving_over))
        acts = tuple(_told_badly(act, random) for act in _KINDS[kind][1](life))
        found.append(Life(life.email, kind, acts))
    return found


def _told_badly(act: Act, random: Random) -> Act:
    """Doubled, late, and so out of order; what makes the contact known at all is at least told in the end."""
    if act.type != "identify" and random.random() < _LOST:
        return replace(act, lost=True)
    if not act.ambush and random.random() < _LATE:
        act = replace(act, told=act.told + random.uniform(0.1, 3))
    if random.random() < _TWICE:
        # At the same moment, soon, or days later: a vendor's retry, a replay, an import.
        moments = (0.0, random.uniform(0, 0.05), random.uniform(0.5, 4))
        return replace(act, copies=tuple(random.sample(moments, random.randint(1, 2))))
    return act


class _Life:
    def __init__(self, random: Random, email: str, drill_begins: datetime, begins: float) -> None:
        self.random = random
        self.email = email
        self.begins = begins
        self.timezone = random.choice(ZONES)
        self._drill_begins = drill_begins
        self._acts = 0

    def begin_at_night(self) -> None:
        """It begins an hour before midnight of its own zone."""
        local = (self._drill_begins + timedelta(days=self.begins)).astimezone(ZoneInfo(self.timezone))
        self.begins += (23 - local.hour - local.minute / 60) / 24

    def act(
        self, door: Door, type: str, after: float, *, ambush: bool = False, under: str | None = None, **data: Any
    ) -> Act:
        self._acts += 1
        id = f"{self.email.partition('@')[0]}-{self._acts}"
        at = self.begins + after
        return Act(id, self.email, door, type, at, at, data, ambush, under=under)

    def identify(self, after: float = 0, *, ambush: bool = False, under: str | None = None) -> Act:
        phone = f"+4930{self.random.randint(1_000_000, 9_999_999)}"
        traits: dict[str, Any] = {
            "firstName": "Ada",
            "timezone": self.timezone,
            "consent": {"email": ["promotional", "lifecycle"], "sms": ["lifecycle"]},
            "phone": phone,
        }
        return self.act("track", "identify", after, ambush=ambush, under=under, **traits)

    def soon(self) -> float:
        return self.random.uniform(0.02, 0.3)

    def later(self) -> float:
        return self.random.uniform(2, 9)

    def change_of_heart(self) -> Iterator[Act]:
        """What forbids the next message, or does not come at all."""
        ambush = self.random.random() < 0.7
        after = self.later()
        match self.random.randrange(7):
            case 0:
                yield self.act("cloudevents", "consent.withdrawn", after, ambush=ambush, channel="email")
            case 1:
                yield self.act("cloudevents", "message.unsubscribed", after, ambush=ambush, channel="email")
            case 2:
                ticket = f"t-{self.email.partition('@')[0]}"
                yield self.act("zendesk", "ticket.opened", after, ambush=ambush, ticket_id=ticket)
                yield self.act("zendesk", "ticket.solved", after + self.random.uniform(2, 5), ticket_id=ticket)
            case 3:
                yield self.act("cloudevents", "meeting.booked", after, ambush=ambush, meeting_id=f"m-{self.email}")
            case 4:
                yield from self.purchase(after, ambush=ambush)
            case 5:
                yield self.act("cloudevents", "conversation.started", after, ambush=ambush, rep="Kim")
            case _:
                return

    def purchase(self, after: float, *, ambush: bool = False, checkout: str | None = None) -> Iterator[Act]:
        yield self.act("stripe", "checkout.session.completed", after, ambush=ambush, checkout_id=checkout)


def _reader(life: _Life) -> Iterator[Act]:
    yield life.identify()
    yield life.act("track", "resource.downloaded", life.soon(), resource="seo-guide", topic="seo")
    if life.random.random() < 0.4:
        yield life.act("track", "page.viewed", life.later(), page="blog", topic="seo")
    if life.random.random() < 0.3:
        yield life.act(
            "track", "checkout.started", life.soon(), checkout_id=f"k-{life.email}", value=4900, currency="EUR"
        )
    yield from life.change_of_heart()


def _owl(life: _Life) -> Iterator[Act]:
    life.begin_at_night()
    yield life.identify()
    yield life.act("track", "resource.downloaded", 0.005, resource="seo-guide", topic="seo")
    checkout = f"k-{life.email}"
    yield life.act("track", "checkout.started", 0.01, checkout_id=checkout, value=4900, currency="EUR")
    yield life.act("track", "page.viewed", 0.02, page="pricing", topic="seo")
    yield from life.change_of_heart()


def _buyer(life: _Life) -> Iterator[Act]:
    checkout = f"k-{life.email}"
    yield life.identify()
    yield life.act("track", "checkout.started", life.soon(), checkout_id=checkout, value=4900, currency="EUR")
    if life.random.random() < 0.6:
        yield from life.purchase(life.random.uniform(0.1, 4), ambush=life.random.random() < 0.7, checkout=checkout)
    else:
        yield from life.change_of_heart()


def _subscriber(life: _Life) -> Iterator[Act]:
    invoice = f"in_{life.email.partition('@')[0]}"
    yield life.identify()
    yield life.act("stripe", "invoice.payment_failed", life.soon(), invoice_id=invoice)
    if life.random.random() < 0.6:
        ambush = life.random.random() < 0.7
        yield life.act("stripe", "invoice.paid", life.random.uniform(1, 8), ambush=ambush, invoice_id=invoice)


def _caller(life: _Life) -> Iterator[Act]:
    yield life.identify()
    yield life.act("cloudevents", "call.missed", life.soon())
    if life.random.random() < 0.5:
        yield life.act("cloudevents", "conversation.started", life.random.uniform(0.1, 1), ambush=True, rep="Kim")


def _customer(life: _Life) -> Iterator[Act]:
    yield life.identify()
    yield from life.purchase(life.soon())
    yield life.act("cloudevents", "contract.signed", life.later())
    if life.random.random() < 0.6:
        yield life.act("cloudevents", "value.realized", life.later(), what="ten sales")
    yield from life.change_of_heart()


def _stranger(life: _Life) -> Iterator[Act]:
    """Leaves a checkout under one name and buys under another; only then it shows that both are one person's."""
    name = life.email.partition("@")[0]
    yield life.identify()
    # Told by the moment it happened at, to the hour: a device's clock is not.
    yield life.act("cloudevents", "checkout.started", 0.01, checkout_id=f"k-{name}", value=4900, currency="EUR")
    bought = life.random.uniform(0.3, 0.9)
    known, ambush = bought + life.random.uniform(0.2, 1.5), life.random.random() < 0.5
    if life.random.random() < 0.5:
        device = f"device-of-{name}"
        yield life.act("track", "purchase.completed", bought, under=device, order_id=f"o-{name}")
        yield life.identify(known, ambush=ambush, under=device)
    else:
        address = f"also-{life.email}"
        yield life.act("stripe", "checkout.session.completed", bought, under=address, checkout_id=None)
        yield life.act("cloudevents", "contact.merged", known, ambush=ambush, under=address)


_KINDS: dict[str, tuple[int, Callable[[_Life], Iterator[Act]]]] = {
    "reader": (30, _reader),
    "owl": (10, _owl),
    "buyer": (20, _buyer),
    "subscriber": (15, _subscriber),
    "caller": (10, _caller),
    "customer": (15, _customer),
    "stranger": (10, _stranger),
}
