"""What Intercom's notifications mean: of contacts, conversations, ratings and tickets."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from connectors.webhook import Body, Moment, one_line_errors
from contacts.events import Event, event, identities

SOURCE = "intercom"


def read(body: bytes) -> Sequence[Event]:
    """The events in one notification; none where its topic means nothing to us.

    Raises:
        ValueError: The body is of another shape; one line that names the field.
    """
    with one_line_errors():
        meaning = _READERS.get(_Topic.model_validate_json(body).topic)
        return meaning(_Notice.model_validate_json(body)) if meaning else []


class _Topic(Body):
    topic: str


class _Data(Body):
    item: dict[str, Any]


class _Notice(Body):
    topic: str
    id: str
    created_at: Moment
    data: _Data

    def say(
        self, type: str, who: Sequence[tuple[str, object]], data: Mapping[str, Any], suffix: str = "", at: Any = None
    ) -> Event:
        """``suffix`` tells the events of one notification apart; ``at`` is when it happened, where that is known."""
        return event(
            type,
            source=SOURCE,
            source_id=self.id + suffix,
            occurred_at=at or self.created_at,
            identities=identities(*who),
            data={name: value for name, value in data.items() if value is not None},
        )


def _or_none(value: Any) -> Any:
    return value or None


Text = Annotated[str | None, BeforeValidator(_or_none)]
"""Intercom writes an unknown text as null or as an empty one."""


class _Merged(Body):
    source_contact_id: str


class _Contact(Body):
    id: str
    external_id: Text = None
    user_id: Text = None
    email: Text = None
    phone: Text = None
    name: Text = None
    merge_history: Annotated[list[_Merged], BeforeValidator(lambda value: value or [])] = Field(default_factory=list)

    def who(self) -> list[tuple[str, object]]:
        # Before version 2.0 of the API the external id was called the user's.
        user = self.external_id or self.user_id
        return [("user", user), ("intercom", self.id), ("email", self.email), ("phone", self.phone)]

    def traits(self) -> dict[str, Any]:
        return {"email": self.email, "phone": self.phone, "name": self.name}


class _Tag(Body):
    name: str


class _Tagged(Body):
    contact: _Contact
    tag: _Tag


class _Author(Body):
    type: Text = None
    id: Text = None
    name: Text = None
    email: Text = None

    @property
    def a_person_of_ours(self) -> bool:
        return self.type == "admin"

    @property
    def a_contact(self) -> bool:
        return self.type in ("user", "lead", "contact", "visitor")


class _Part(Body):
    id: str
    created_at: Moment | None = None
    author: _Author = _Author()


class _Parts(Body):
    conversation_parts: list[_Part] = Field(default_factory=list)


class _Contacts(Body):
    contacts: list[_Contact] = Field(default_factory=list)


class _Teammates(Body):
    admins: list[_Author] = Field(default_factory=list)
    teammates: list[_Author] = Field(default_factory=list)


class _MessageSource(Body):
    id: Text = None
    delivered_as: Text = None
    author: _Author = _Author()


class _Rating(Body):
    rating: int | None = None
    remark: Text = None
    contact: _Author | None = None


class _Conversation(Body):
    id: str
    source: Annotated[_MessageSource, BeforeValidator(lambda value: value or {})] = _MessageSource()
    contacts: _Contacts = _Contacts()
    conversation_parts: _Parts = _Parts()
    teammates: Annotated[_Teammates, BeforeValidator(lambda value: value or {})] = _Teammates()
    conversation_rating: _Rating | None = None

    @property
    def last(self) -> _Part | None:
        parts = self.conversation_parts.conversation_parts
        return parts[-1] if parts else None

    @property
    def at(self) -> datetime | None:
        """When what the notification is about happened; None where only the notification's own time is known."""
        return self.last.created_at if self.last else None

    @property
    def answered_by_us(self) -> bool:
        """Whether a person of ours, and not only a bot, has written in it."""
        return any((self.teammates.admins, self.teammates.teammates))

    def writer(self) -> list[tuple[str, object]]:
        """The contact who wrote last. Several people may be in one conversation, and they are not one person.

        A bot may have answered since.
        """
        authors = [self.source.author, *(part.author for part in self.conversation_parts.conversation_parts)]
        return self._who(next((author for author in reversed(authors) if author.a_contact), _Author()))

    def rater(self) -> list[tuple[str, object]]:
        """The contact who rated it, or who wrote last where that is not said."""
        rated_by = self.conversation_rating.contact if self.conversation_rating else None
        return self._who(_Author(id=rated_by.id)) if rated_by and rated_by.id else self.writer()

    def _who(self, author: _Author) -> list[tuple[str, object]]:
        known = self.contacts.contacts
        found = next((c for c in known if c.id == author.id), known[0] if len(known) == 1 else None)
        if found is None:
            return [("intercom", author.id), ("email", author.email)]
        return [*found.who(), ("email", author.email if author.id == found.id else None)]


class _TicketType(Body):
    category: str | None = None


class _State(Body):
    category: str | None = None


class _TicketPart(Body):
    previous_ticket_state: str | None = None


class _TicketParts(Body):
    ticket_parts: list[_TicketPart] = Field(default_factory=list)


class _Ticket(Body):
    id: str
    category: str | None = None
    ticket_type: _TicketType | None = None
    # A word in older versions of the API, an object in newer ones.
    ticket_state: Annotated[
        _State, BeforeValidator(lambda value: {"category": value} if isinstance(value, str) else value or {})
    ] = _State()
    ticket_parts: _TicketParts | None = None
    contacts: _Contacts = _Contacts()
    created_at: Moment | None = None
    updated_at: Moment | None = None

    @property
    def of_a_customer(self) -> bool:
        """Whether somebody asked for help; the other kinds are for people who work here, ours among them."""
        category = self.category or (self.ticket_type.category if self.ticket_type else None)
        return category in (None, "Customer", "request")

    @property
    def solved(self) -> bool:
        return self.ticket_state.category == "resolved"

    @property
    def was_solved(self) -> bool:
        parts = self.ticket_parts.ticket_parts if self.ticket_parts else []
        return bool(parts) and parts[-1].previous_ticket_state == "resolved"


def _known(notice: _Notice) -> list[Event]:
    # Whoever is written into Intercom, by us too, is no new lead: it starts no welcome.
    contact = _Contact.model_validate(notice.data.item)
    return [notice.say("contact.updated", contact.who(), contact.traits())]


def _left_an_address(notice: _Notice) -> list[Event]:
    # A visitor told the messenger how to reach them.
    contact = _Contact.model_validate(notice.data.item)
    return [notice.say("contact.identified", contact.who(), contact.traits())]


def _one_person(notice: _Notice) -> list[Event]:
    """A lead became a user, or two contacts one: all that is told of them is of one person."""
    contact = _Contact.model_validate(notice.data.item)
    gone = [m.source_contact_id for m in contact.merge_history if m.source_contact_id != contact.id]
    who = [*contact.who(), *(("intercom", id) for id in gone)]
    return [
        notice.say("contact.merged", who, {"into": contact.id, "merged": gone}),
        notice.say("contact.updated", contact.who(), contact.traits(), ":traits"),
    ]


def _unsubscribed(notice: _Notice) -> list[Event]:
    contact = _Contact.model_validate(notice.data.item)
    return [notice.say("consent.withdrawn", contact.who(), {"channel": "email", "evidence": notice.topic})]


def _subscribed(notice: _Notice) -> list[Event]:
    # A colleague can tick it as well: it is nobody's own word, and no consent.
    contact = _Contact.model_validate(notice.data.item)
    return [notice.say("custom.intercom_subscribed", contact.who(), {})]


def _tagged(notice: _Notice) -> list[Event]:
    item = notice.data.item
    tagged = _Tagged.model_validate({**item, "contact": item.get("contact") or item.get("user")})
    change = {"tag": tagged.tag.name, "change": notice.topic.rpartition(".")[2]}
    return [notice.say("custom.intercom_tag", tagged.contact.who(), change)]


def _they_wrote(notice: _Notice) -> list[Event]:
    """A contact wrote. Promotion rests until somebody has seen to it, though nobody is talking to them yet."""
    said = _Conversation.model_validate(notice.data.item)
    in_answer_to = said.source.id if said.source.author.a_person_of_ours else None
    told = {"channel": "chat", "conversation_id": said.id, "message_id": in_answer_to}
    return [
        notice.say("message.replied", said.writer(), told, at=said.at),
        notice.say("hold.opened", said.writer(), {"hold_id": _hold(said)}, ":hold", at=said.at),
    ]


def _we_answered(notice: _Notice) -> list[Event]:
    """A person of ours wrote: now they talk. What a bot says is no conversation."""
    said = _Conversation.model_validate(notice.data.item)
    author = said.last.author if said.last else said.source.author
    if not author.a_person_of_ours:
        return []
    told = {"conversation_id": said.id, "rep": author.name or author.id}
    return _for_everybody(notice, "conversation.started", said, told)


def _closed(notice: _Notice) -> list[Event]:
    said = _Conversation.model_validate(notice.data.item)
    released = _for_everybody(notice, "hold.released", said, {"hold_id": _hold(said)}, ":hold")
    if not said.answered_by_us:
        # Nobody of ours was in it, so no talk and no hand-off is over.
        return released
    return [*_for_everybody(notice, "conversation.ended", said, {"conversation_id": said.id}), *released]


def _for_everybody(
    notice: _Notice, type: str, said: _Conversation, told: Mapping[str, Any], suffix: str = ""
) -> list[Event]:
    """The event for each contact in the conversation: they are several people, and it is all of theirs."""
    people = [contact.who() for contact in said.contacts.contacts] or [said.writer()]
    return [notice.say(type, who, told, f"{suffix}:{n}" if n else suffix, at=said.at) for n, who in enumerate(people)]


def _hold(said: _Conversation) -> str:
    return f"{SOURCE}-{said.id}"


def _rated(notice: _Notice) -> list[Event]:
    said = _Conversation.model_validate(notice.data.item)
    rating = said.conversation_rating or _Rating()
    if rating.rating is None:
        return []
    answer = {"score": rating.rating, "comment": rating.remark, "conversation_id": said.id}
    return [notice.say("csat.answered", said.rater(), answer)]


def _ticket_opened(notice: _Notice) -> list[Event]:
    ticket = _Ticket.model_validate(notice.data.item)
    if not ticket.of_a_customer or ticket.solved:
        return []
    return _of_ticket(notice, "ticket.opened", ticket, ticket.created_at)


def _ticket_changed(notice: _Notice) -> list[Event]:
    ticket = _Ticket.model_validate(notice.data.item)
    if not ticket.of_a_customer or ticket.solved == ticket.was_solved:
        return []
    return _of_ticket(notice, "ticket.solved" if ticket.solved else "ticket.opened", ticket, ticket.updated_at)


def _of_ticket(notice: _Notice, type: str, ticket: _Ticket, at: datetime | None) -> list[Event]:
    told = {"ticket_id": ticket.id, **({"reopened": True} if ticket.was_solved else {})}
    return [
        notice.say(type, contact.who(), told, f":{n}" if n else "", at=at)
        for n, contact in enumerate(ticket.contacts.contacts)
    ]


_READERS: Mapping[str, Callable[[_Notice], list[Event]]] = {
    "contact.created": _known,
    "contact.user.created": _known,
    "contact.lead.created": _known,
    "contact.updated": _known,
    "contact.user.updated": _known,
    "contact.lead.updated": _known,
    "contact.email.updated": _known,
    "contact.lead.added_email": _left_an_address,
    "contact.lead.signed_up": _one_person,
    "contact.merged": _one_person,
    "contact.unsubscribed": _unsubscribed,
    "contact.subscribed": _subscribed,
    "contact.user.tag.created": _tagged,
    "contact.user.tag.deleted": _tagged,
    "contact.lead.tag.created": _tagged,
    "contact.lead.tag.deleted": _tagged,
    "conversation.user.created": _they_wrote,
    "conversation.user.replied": _they_wrote,
    "conversation.admin.replied": _we_answered,
    "conversation.admin.closed": _closed,
    "conversation.rating.added": _rated,
    "ticket.created": _ticket_opened,
    "ticket.state.updated": _ticket_changed,
}
