"""Whose event is this? The rule that turns identities into one contact, as a function of values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from contacts.events import Identity

WEAK = frozenset({"anonymous"})
"""Kinds that name a device rather than a person: they never join two known people."""


@dataclass(frozen=True)
class Owner:
    """A contact that already has some of the event's identities.

    Attributes:
        kinds: Every kind of identity the contact has.
        order: The older of two contacts has the smaller one, and is kept in a merge.
    """

    contact_id: str
    kinds: frozenset[str]
    order: int

    @property
    def known(self) -> bool:
        """More than a device."""
        return bool(self.kinds - WEAK)


@dataclass(frozen=True)
class Resolution:
    """The event's contact.

    Attributes:
        contact_id: Who it is, or None for somebody new.
        absorb: Contacts that turn out to be the same person.
        attach: Identities that now point to the contact.
    """

    contact_id: str | None
    absorb: tuple[str, ...]
    attach: tuple[Identity, ...]


def resolve(given: Sequence[Identity], owners: Mapping[Identity, Owner], *, merging: bool) -> Resolution:
    """Decides whose event it is.

    Identities that name a person and belong to different contacts make them one: the sender says they are the same.
    A device (``anonymous``) brings what it did along while nobody known owns it; once it is somebody's, it neither
    joins that person with another nor hands over an address that is not theirs: browsers are shared.

    Args:
        given: The event's identities.
        owners: Who has them so far.
        merging: The event itself says that all its identities are one person (``contact.merged``).
    """
    strong = [i for i in given if merging or i.kind not in WEAK]
    weak = [i for i in given if not merging and i.kind in WEAK]
    people = _distinct(owners[i] for i in strong if i in owners)
    devices = _distinct(owners[i] for i in weak if i in owners)
    strangers = [d for d in devices if not d.known]
    if people:
        kept = min(people, key=lambda o: o.order)
        absorb = [o for o in (*people, *strangers) if o.contact_id != kept.contact_id]
    elif strangers:
        kept, absorb = strangers[0], strangers[1:]
    elif devices and not any(i.kind in devices[0].kinds for i in strong):
        kept, absorb = devices[0], []
    else:
        free = tuple(i for i in given if i not in owners)
        return Resolution(None, (), free)
    attach = tuple(i for i in given if i not in owners)
    return Resolution(kept.contact_id, tuple(o.contact_id for o in absorb), attach)


def _distinct(owners: Iterable[Owner]) -> list[Owner]:
    return list({o.contact_id: o for o in owners}.values())
