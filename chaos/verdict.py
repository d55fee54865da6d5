"""What must hold after a drill, judged by what the outside saw: acknowledgements to senders, and deliveries.

``perennial verify`` judges by tables and histories; this does not believe them, and compares them with the outside.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from chaos.lives import Act
from chaos.provider import Delivery
from chaos.teller import Acknowledged

GRACE = 40.0
"""Seconds a call may take from its claim to its arrival, a second attempt of it included."""

STARTS = {
    "resource.downloaded": "welcome",
    "checkout.started": "abandoned-checkout",
    "invoice.payment_failed": "dunning",
    "call.missed": "missed-call",
    "contract.signed": "contract-signed",
}
"""Acts that begin a journey, or leave a line that says why they did not."""

BUYS = ("checkout.session.completed", "purchase.completed")
"""Acts that end what asks the contact to buy."""

CLOCKS = 0.25
"""Seconds that two clocks of this machine may be apart."""

FORBIDS = ("consent.withdrawn", "message.unsubscribed")
"""After one of these no promotional mail may be claimed, ever."""


@dataclass(frozen=True)
class Row:
    """A touch's row."""

    key: str
    status: str
    purpose: str
    reason: str | None


@dataclass
class Verdict:
    """What was counted, and what ought to have been nothing.

    Attributes:
        lost: Acknowledged acts without their event or their effect.
        duplicated: Touches that reached a contact twice.
        sent_again: Of these, transactional ones whose provider drops no repeats and cannot be asked, as documented.
        forbidden: Messages that came after what forbids them was acknowledged.
        unexplained: Deliveries whose touch does not say sent or unknown, and touches sent that nobody got.
    """

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    sent_again: list[str] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Everything that must not be."""
        named = {
            "lost": self.lost,
            "duplicated": self.duplicated,
            "forbidden": self.forbidden,
            "unexplained": self.unexplained,
        }
        return [f"{kind}: {what}" for kind, found in named.items() for what in found]


def losses(
    acknowledged: Iterable[Acknowledged],
    source_of: Mapping[str, tuple[str, str]],
    stored: Counter[tuple[str, str]],
    lines: Mapping[str, Counter[tuple[str, str]]],
) -> list[str]:
    """Acknowledged acts without their event, or that neither began their journey nor say why not.

    Args:
        source_of: By an act's id, the (source, source id) of its event.
        stored: How often each (source, source id) is stored.
        lines: By address, the contact's journal: how often each (kind, journey) stands there, for ``enter`` and
            ``skip``.
    """
    found: list[str] = []
    wanted: defaultdict[tuple[str, str], int] = defaultdict(int)
    for one in acknowledged:
        act = one.act
        times = stored[source_of[act.id]]
        if times != 1:
            found.append(f"{act.type} {act.id} is stored {times} times")
        if act.type in STARTS:
            wanted[act.email, STARTS[act.type]] += 1
    for (email, journey), times in wanted.items():
        known = lines.get(email, Counter())
        if known["enter", journey] + known["skip", journey] < times:
            found.append(f"{email} neither entered {journey} nor is it said why not")
    return found


def told_twice(deliveries: Sequence[Delivery]) -> tuple[list[str], list[str]]:
    """Touches delivered more than once: those that must not be, and those sent again because nobody could tell."""
    times = Counter(d.key for d in deliveries)
    by_key = {d.key: d for d in deliveries}
    twice = [by_key[key] for key, count in times.items() if count > 1]
    excused = [d for d in twice if d.sender == "plain" and d.purpose == "transactional"]
    return (
        [f"{d.template} ({d.key}) by {d.sender}: {times[d.key]} times" for d in twice if d not in excused],
        [f"{d.template} ({d.key})" for d in excused],
    )


def forbidden(acknowledged: Iterable[Acknowledged], deliveries: Iterable[Delivery]) -> list[str]:
    """Promotion that arrived after its contact's opt-out, or after the purchase that ends it, was acknowledged."""
    opted_out: dict[str, Acknowledged] = {}
    bought: dict[tuple[str, str], Acknowledged] = {}
    for one in sorted(acknowledged, key=lambda a: a.at):
        if one.act.type in FORBIDS:
            opted_out.setdefault(one.act.email, one)
        if one.act.type in BUYS and one.act.under is None:
            for journey in ("welcome", "abandoned-checkout"):
                bought.setdefault((one.act.email, journey), one)
    found: list[str] = []
    for delivery in deliveries:
        if delivery.purpose != "promotional" or delivery.channel != "email":
            continue
        for since in (opted_out.get(delivery.to), bought.get((delivery.to, delivery.journey))):
            if since is not None and delivery.at > since.at + GRACE:
                found.append(
                    f"{delivery.template} to {delivery.to} {delivery.at - since.at:.1f} s after {since.act.type}"
                )
    return found


def claimed_after(
    acknowledged: Iterable[Acknowledged], deliveries: Iterable[Delivery], claimed: Mapping[str, float]
) -> list[str]:
    """Promotion that was let out while a ticket was open, or asks for what was bought under another name.

    How long a call takes would hide both: a ticket is soon solved, and a checkout soon given up. So what counts is when
    the touch was claimed.

    Args:
        claimed: By a touch's key, when it was claimed, on the clock of the acknowledgements.
    """
    told = sorted(acknowledged, key=lambda a: a.at)
    opened = {one.act.email: one for one in reversed(told) if one.act.type == "ticket.opened"}
    # From when its solution was first sent it may be solved.
    solved = {one.act.email: one.begun for one in told if one.act.type == "ticket.solved"}
    joined = {one.act.email: one for one in reversed(told) if one.act.joins}
    bought = {one.act.email: one for one in reversed(told) if one.act.type in BUYS and one.act.under is not None}
    found: list[str] = []
    for delivery in deliveries:
        at = claimed.get(delivery.key)
        if delivery.purpose != "promotional" or at is None:
            continue
        ticket = opened.get(delivery.to)
        if ticket is not None and ticket.at + CLOCKS < at < solved.get(delivery.to, inf):
            found.append(f"{delivery.template} to {delivery.to} was claimed {at - ticket.at:.1f} s after ticket.opened")
        order, both = bought.get(delivery.to), joined.get(delivery.to)
        if order is not None and both is not None and delivery.journey == "abandoned-checkout":
            since = max(order.at, both.at)
            if at > since + CLOCKS:
                found.append(
                    f"{delivery.template} to {delivery.to} was claimed {at - since:.1f} s after what another name of "
                    "theirs had bought was known to be theirs"
                )
    return found


def unexplained(rows: Iterable[Row], before: Iterable[Delivery], after: Iterable[Delivery]) -> list[str]:
    """Where the touches' rows and what contacts got differ. Life goes on while we look.

    Args:
        before: What had been delivered a while before the rows were read, so that they must know of it.
        after: What had been delivered after they were read, so that it must hold whatever they say.
    """
    known, all = {d.key for d in before}, {d.key for d in after}
    by_key = {row.key: row for row in rows}
    found = [f"{key} reached its contact and has no row" for key in sorted(known - by_key.keys())]
    for key, row in sorted(by_key.items()):
        if key in known and row.status not in ("sent", "unknown"):
            found.append(f"{key} reached its contact, and its row says {row.status} ({row.reason})")
        if key not in all and row.status == "sent":
            found.append(f"{key} is said to be sent, and reached nobody")
    return found


def told(acts: Iterable[Act], acknowledged: Iterable[Acknowledged]) -> dict[str, Any]:
    """Counts of what was to be told and what was acknowledged."""
    planned = list(acts)
    return {
        "acts": len(planned),
        "told twice or more": sum(bool(a.copies) for a in planned),
        "told late": sum(a.told > a.happens for a in planned),
        "told at the worst moment": sum(a.ambush for a in planned),
        "never told": sum(a.lost for a in planned),
        "acknowledged": len(list(acknowledged)),
    }
