"""What happened to a contact: the event, its types, and the check at the edge.

Everything that enters Perennial becomes an ``Event`` here or is refused with one line that names the field.
Connectors know this module and nothing else of the project.

Exceptions::

    ValueError
      InvalidEvent       the event cannot be understood; ``field`` and ``reason`` say why
        NamesNobody      ... because nobody can tell whose it is
      PartlyUnderstood   some of a request's events cannot; ``events`` are the others
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

TYPE_PATTERN = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9][a-z0-9_\-]*)+")

IDENTITY_KINDS = (
    "email", "phone", "user", "anonymous", "contact",
    "stripe", "hubspot", "zendesk", "salesforce", "activecampaign", "klaviyo", "gohighlevel", "manychat",
    "customerio", "intercom", "slack", "calendly", "fillout", "clickfunnels", "chatbase",
)  # fmt: skip
"""Kinds of identity, strongest first where it matters: ``anonymous`` alone never joins two known people."""


class InvalidEvent(ValueError):
    """The input cannot become an event.

    Attributes:
        field: Which part is wrong, dotted (``data.value``).
        reason: What is wrong with it, in a few words.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class NamesNobody(InvalidEvent):
    """The event has no identity, and is about no message of ours either."""


class PartlyUnderstood(ValueError):
    """Some items of a request could not be understood; ``events`` are those of the others.

    Keeping the request and parsing it again is harmless: events are unique by their source id.
    """

    def __init__(self, reason: str, events: "Sequence[Event]") -> None:
        super().__init__(reason)
        self.events = events


@dataclass(frozen=True, order=True)
class Identity:
    """A pair that points to a contact. Build it with ``identity``, which normalises the value."""

    kind: str
    value: str


def identity(kind: str, value: object) -> Identity | None:
    """The normalised identity, or None where the value cannot be one.

    An e-mail address keeps its local part's dots and plus tags (they can be different mailboxes) and is
    lower-cased whole: no mailbox provider in use tells cases apart, and senders do not agree on case. A phone
    number must carry its country (``+49...``) and becomes E.164. Any other value is kept as text, trimmed.

    >>> identity("email", " Alice@Example.com ")
    Identity(kind='email', value='alice@example.com')
    >>> identity("phone", "+49 30 901820")
    Identity(kind='phone', value='+4930901820')
    >>> identity("phone", "030 901820") is None
    True
    """
    text = str(value).strip() if value is not None else ""
    if not text or len(text) > 320 or any(ord(c) < 32 for c in text):
        return None
    if kind == "email":
        try:
            checked = validate_email(text, check_deliverability=False, test_environment=True)
        except EmailNotValidError:
            return None
        return Identity("email", checked.normalized.lower())
    if kind == "phone":
        try:
            number = phonenumbers.parse(text, None)
        except phonenumbers.NumberParseException:
            return None
        if not phonenumbers.is_possible_number(number):
            return None
        return Identity("phone", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    return Identity(kind, text)


def identities(*pairs: tuple[str, object]) -> tuple[Identity, ...]:
    """Every pair that is an identity, without repeats, in the order given."""
    found = (identity(kind, value) for kind, value in pairs)
    return tuple(dict.fromkeys(i for i in found if i is not None))


Day = date


class _Data(BaseModel):
    """Known fields are checked; fields a sender adds are kept as they came."""

    model_config = ConfigDict(extra="allow", frozen=True)


Minor = Annotated[int, Field(strict=True)]
"""Money in minor units (cents). A float is refused: 19.99 is a mistake waiting to happen."""
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


_MINOR_DIGITS = {
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0,
    "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
    "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
    "CLF": 4, "UYW": 4,
}  # fmt: skip


def minor_digits(currency: str) -> int:
    """Decimal places of a currency's minor unit, by ISO 4217.

    Locale libraries carry CLDR's digits, which say how many are customary to show: for some currencies fewer than the
    minor unit has, so that they cannot place the decimal point.

    >>> minor_digits("EUR"), minor_digits("JPY"), minor_digits("KWD")
    (2, 0, 3)
    """
    return _MINOR_DIGITS.get(currency, 2)


class _Money(_Data):
    value: Minor | None = None
    currency: Currency | None = None

    @field_validator("currency", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value


Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+([_-][a-z0-9]+)*$", max_length=100)]


AddressLine = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class PostalData(BaseModel):
    """Where a letter or a parcel finds a contact; other fields are left out.

    Attributes:
        name: As it stands on the envelope, where that is not the contact's own.
        region: State, province or county, where the country's addresses have one.
        country: ISO 3166, two letters.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: AddressLine | None = None
    line1: AddressLine
    line2: AddressLine | None = None
    city: AddressLine
    region: AddressLine | None = None
    postal_code: AddressLine | None = None
    country: Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True)]

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, data: Any) -> Any:
        # Forms send every field they have.
        blank = (None, "")
        return {k: v for k, v in data.items() if v not in blank} if isinstance(data, dict) else data

    @field_validator("country")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError("must be a country's two letters by ISO 3166, such as DE")
        return value


class ContactData(_Data):
    """``contact.identified`` and ``contact.updated``: traits as the sender knows them.

    Attributes:
        email, phone: The same as the identity they are, so that what is written to is what the contact is known by.
        email_as_given, phone_as_given: What a sender has there that nobody can write to, such as a number without its
            country. A profile field of a vendor's is free text, and one that is none costs nothing else.
        topics: What the contact wants to hear about; none at all means that they leave it to us.
        frequency: How often at most; the policy says what it means.
        preferred_channel: Where they would rather hear from us; ``any`` takes back an earlier wish.
    """

    email: str | None = None
    phone: str | None = None
    email_as_given: str | None = None
    phone_as_given: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    name: str | None = None
    company: str | None = None
    timezone: str | None = None
    locale: str | None = None
    postal_address: PostalData | None = None
    topics: Annotated[list[Slug], Field(max_length=50)] | None = None
    frequency: Literal["as_it_comes", "weekly", "monthly"] | None = None
    preferred_channel: (
        Literal["email", "sms", "social", "chat", "call", "note", "gift", "mail", "push", "any"] | None
    ) = None

    @model_validator(mode="before")
    @classmethod
    def _reachable(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = dict(data)
        for kind in ("email", "phone"):
            text = str(given).strip() if (given := known.pop(kind, None)) is not None else ""
            if address := identity(kind, text):
                known[kind] = address.value
            elif text:
                known[f"{kind}_as_given"] = text
        return known


class PauseData(_Data):
    """``contact.paused``: the contact wants to hear nothing for so many days, but what their orders need."""

    days: Annotated[float, Field(gt=0, le=366)]


class HoldData(_Data):
    """``hold.opened``: an operator's word. Without ``until`` it ends as ``[hold_days]`` of the policy says."""

    until: AwareDatetime | None = None


class ConsentData(_Data):
    channel: str
    purpose: Literal["promotional", "lifecycle", "transactional", "all"] = "all"
    evidence: str | None = None


class PageData(_Data):
    page: str
    url: str | None = None
    topic: str | None = None


class ResourceData(_Data):
    resource: str
    topic: str | None = None


class FormData(_Data):
    form: str
    answers: dict[str, Any] = Field(default_factory=dict)


class CheckoutData(_Money):
    checkout_id: str
    items: list[Any] = Field(default_factory=list)


class OrderData(_Money):
    order_id: str
    items: list[Any] = Field(default_factory=list)


class SubscriptionData(_Money):
    subscription_id: str
    reason: str | None = None
    voluntary: bool | None = None
    plan: str | None = None


class InvoiceData(_Money):
    """``attempt`` counts the tries; after the ``final`` one nobody tries again; else ``retry_at`` says when."""

    invoice_id: str
    attempt: int | None = None
    final: bool | None = None
    retry_at: AwareDatetime | None = None


class CardData(_Data):
    """The card on file; ``date`` is the last day it can be used."""

    date: Day | None = None


class TicketData(_Data):
    ticket_id: str
    priority: str | None = None


Mood = Literal["good", "neutral", "bad"]

_GOOD_WORDS = frozenset({"good", "great", "excellent", "happy", "satisfied", "positive", "yes"})
_BAD_WORDS = frozenset({"bad", "poor", "terrible", "unhappy", "unsatisfied", "dissatisfied", "negative", "no"})


class CsatData(_Data):
    """An answer to "how did we do?", as ``score`` or ``rating``: a word, or a number from 1 to 5.

    ``mood`` is what it means, and all that a journey asks: it is read here and nowhere else. A sender whose scale is
    another one says the mood itself; a score nobody can read has none.
    """

    score: int | float | str | None = None
    comment: str | None = None
    mood: Mood | None = None

    @model_validator(mode="before")
    @classmethod
    def _felt(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("mood") is not None:
            return data
        score = data.get("score") if data.get("score") is not None else data.get("rating")
        mood = cls._mood(score)
        return data if mood is None else {**data, "mood": mood}

    @classmethod
    def _mood(cls, score: object) -> Mood | None:
        word = str(score).strip().lower()
        if word in _GOOD_WORDS | _BAD_WORDS:
            return "good" if word in _GOOD_WORDS else "bad"
        return _on_scale(word, lowest=1, good=4, neutral=3, highest=5)


class NpsData(CsatData):
    """An answer to "would you recommend us?", from 0 to 10: promoters (9, 10) are good, detractors (to 6) bad."""

    @classmethod
    def _mood(cls, score: object) -> Mood | None:
        return _on_scale(str(score).strip(), lowest=0, good=9, neutral=7, highest=10)


def _on_scale(text: str, *, lowest: int, neutral: int, good: int, highest: int) -> Mood | None:
    try:
        number = float(text)
    except ValueError:
        return None
    if not lowest <= number <= highest:
        return None
    return "good" if number >= good else "neutral" if number >= neutral else "bad"


class ConversationData(_Data):
    """``rep``: who of ours talks to them; none while only the contact has written."""

    rep: str | None = None


class MessageData(_Data):
    touch: str | None = None
    channel: str = "email"
    machine: bool = False
    permanent: bool | None = None


class OpenedData(_Data):
    """``machine``: None where the source cannot tell. Mail programs open mail by themselves, nothing else opens so."""

    touch: str | None = None
    channel: str = "email"
    machine: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _only_mail_opens_by_itself(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("channel", "email") != "email":
            return {"machine": False, **given}
        return given


class AddressData(_Data):
    """``address.reactivated``: it takes messages again. That ends a bounce; it is no consent."""

    address: Annotated[str, Field(min_length=1)]
    channel: str = "email"


class DateData(_Data):
    name: str
    date: date


class SegmentData(_Data):
    segment: str


class StoppedData(_Data):
    broadcast: str


class BroadcastData(StoppedData):
    """``broadcast.due``: the message of a broadcast, for one contact; worth sending for ``valid_days``."""

    template: str
    channel: Literal["email", "sms"] = "email"
    purpose: Literal["promotional", "lifecycle"] = "promotional"
    valid_days: Annotated[float, Field(gt=0, le=14)] | None = None


class ApprovalData(_Data):
    """``approval.answered``: a person's word on what a run asked. ``void`` is ours: nothing follows from this one."""

    approval_id: Annotated[str, Field(min_length=1, max_length=100)]
    approved: Annotated[bool, Field(strict=True)]
    by: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


DATA: dict[str, type[_Data]] = {
    "contact.identified": ContactData, "contact.updated": ContactData, "contact.merged": _Data,
    "contact.erased": _Data, "contact.paused": PauseData, "contact.resumed": _Data,
    "consent.granted": ConsentData, "consent.withdrawn": ConsentData,
    "page.viewed": PageData, "resource.downloaded": ResourceData, "form.submitted": FormData,
    "webinar.registered": _Data, "webinar.attended": _Data,
    "checkout.started": CheckoutData, "checkout.expired": CheckoutData,
    "purchase.completed": OrderData, "purchase.refunded": OrderData,
    "subscription.started": SubscriptionData, "subscription.renewed": SubscriptionData,
    "subscription.trial_ending": SubscriptionData, "subscription.canceled": SubscriptionData,
    "subscription.cancel_scheduled": SubscriptionData, "subscription.reactivated": SubscriptionData,
    "invoice.paid": InvoiceData, "invoice.payment_failed": InvoiceData, "invoice.voided": InvoiceData,
    "card.expiring": CardData, "card.updated": CardData,
    "ticket.opened": TicketData, "ticket.solved": TicketData,
    "meeting.booked": _Data, "meeting.canceled": _Data, "meeting.no_show": _Data, "meeting.completed": _Data,
    "call.missed": _Data, "deal.stage_changed": _Data, "contract.signed": _Data,
    "conversation.started": ConversationData, "conversation.ended": ConversationData,
    "feature.used": _Data, "usage.reported": _Data, "milestone.reached": _Data, "value.realized": _Data,
    "message.sent": MessageData, "message.delivered": MessageData, "message.opened": OpenedData,
    "message.clicked": MessageData,
    "message.replied": MessageData, "message.bounced": MessageData, "message.complained": MessageData,
    "message.unsubscribed": MessageData, "address.reactivated": AddressData,
    "survey.answered": _Data, "csat.answered": CsatData, "nps.answered": NpsData, "review.left": _Data,
    "referral.made": _Data, "loyalty.acted": _Data,
    "engagement.lapsed": _Data, "customer.drifting": _Data, "onboarding.stuck": _Data, "usage.fell": _Data,
    "support.silent": _Data, "date.approaching": DateData,
    "segment.joined": SegmentData, "segment.left": SegmentData,
    "broadcast.due": BroadcastData, "broadcast.stopped": StoppedData,
    "hold.opened": HoldData, "hold.released": _Data,
    "handoff.opened": _Data, "handoff.acknowledged": _Data, "handoff.closed": _Data,
    "approval.asked": _Data, "approval.answered": ApprovalData,
}  # fmt: skip
"""Every type Perennial acts on, with the shape of its data. Other well-formed types are stored and routed nowhere."""


class Event(BaseModel):
    """Something that happened to a contact.

    Attributes:
        type: Dotted type, ``page.viewed``. ``custom.<name>`` is free for senders.
        source: Who says so: a connector's name, ``track``, ``cli``, ``perennial``.
        source_id: The sender's own id of the occurrence. (source, source_id) is unique: a repeat is a no-op.
        occurred_at: When it happened (UTC), which is not when it arrived.
        identities: Every identity of the contact the sender gave.
        data: What else is known, shaped by ``DATA[type]``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    source: Annotated[str, Field(min_length=1, max_length=100)]
    source_id: Annotated[str, Field(min_length=1, max_length=255)]
    occurred_at: AwareDatetime
    identities: tuple[Identity, ...] = ()
    data: dict[str, Any] = Field(default_factory=dict)

    @field_validator("type")
    @classmethod
    def _dotted(cls, value: str) -> str:
        if len(value) > 100 or not TYPE_PATTERN.fullmatch(value):
            raise ValueError("must be dotted lower case, such as page.viewed")
        return value

    @field_validator("occurred_at")
    @classmethod
    def _utc(cls, value: datetime) -> datetime:
        return value.astimezone(UTC)


def event(
    type: str,
    *,
    source: str,
    source_id: str,
    occurred_at: datetime,
    identities: tuple[Identity, ...] = (),
    data: Mapping[str, Any] | None = None,
) -> Event:
    """Builds a checked event.

    Known fields of the type's data are validated and normalised; others are kept.

    Raises:
        InvalidEvent: A field is missing or malformed.
    """
    try:
        clean = _storable(dict(data or {}))
        model = DATA.get(type)
        if model is not None:
            clean = model.model_validate(clean).model_dump(mode="json", exclude_none=True)
        return Event(
            type=type,
            source=source,
            source_id=_storable(source_id),
            occurred_at=occurred_at,
            identities=identities,
            data=clean,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "event"
        if error.title != "Event":
            where = f"data.{where}"
        raise InvalidEvent(where, first["msg"].removeprefix("Value error, ")) from None
    except OverflowError:
        raise InvalidEvent("occurred_at", "is outside the years a calendar has") from None


def _storable(value: Any) -> Any:
    """PostgreSQL's JSON cannot hold the NUL character; nothing a person means needs it."""
    match value:
        case str():
            return value.replace("\x00", "")
        case dict():
            return {_storable(k): _storable(v) for k, v in value.items()}
        case list() | tuple():
            return [_storable(v) for v in value]
    return value
