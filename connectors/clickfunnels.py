"""ClickFunnels 2.0: contacts, tags, orders, appointments and forms come in; contacts and tags go out.

A webhook endpoint has one of two versions for life, and forms are told by the first only. Both bodies are read.
"""

from binascii import hexlify
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

import httpx
from pydantic import BeforeValidator, Field, HttpUrl, RootModel, SecretStr, StringConstraints, model_validator
from pydantic_settings import SettingsConfigDict

from connectors import http
from connectors.base import Refused, Request, Told
from connectors.credentials import Credentials
from connectors.errors import NeverAgain, NobodyThere
from connectors.fields import checked
from connectors.limits import LINE, Limits
from connectors.webhook import Body, Moment, check_age, check_signature, one_line_errors, secrets_in
from contacts.events import Event, Identity, InvalidEvent, event, identities, minor_digits

OLDEST = timedelta(minutes=10)
"""How old a signed request may be, as in ClickFunnels' own samples."""

_LIMITS = Limits("clickfunnels", each=LINE)
"""ClickFunnels' pages say nothing of lengths."""


class ClickFunnelsSettings(Credentials):
    """``CLICKFUNNELS_*``.

    Attributes:
        signing_secret: The endpoint's ``webhook_secret``, shown once when it is made; several with commas.
        access_token: For calls.
        base_url: The workspace's own address, ``https://<subdomain>.myclickfunnels.com/api/v2``.
        workspace_id: The number of the workspace that contacts are kept in.
        tags: Which tag a contact gets on which event, by the tag's number: ``{"purchase.completed": 314}``.
    """

    model_config = SettingsConfigDict(env_prefix="CLICKFUNNELS_")

    signing_secret: SecretStr | None = None
    access_token: SecretStr | None = None
    base_url: HttpUrl | None = None
    workspace_id: int | None = None
    tags: dict[str, int] = Field(default_factory=dict)


@checked
class ClickFunnels:
    """The ``Source`` of what happens in funnels, and a ``Sink`` that keeps contacts and their tags there."""

    name: ClassVar[str] = "clickfunnels"

    def __init__(self, settings: ClickFunnelsSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``."""
        secrets = secrets_in(self._settings.signing_secret)
        signature = request.headers.get("x-webhook-clickfunnels-signature", "")
        sent = request.headers.get("x-webhook-clickfunnels-timestamp", "")
        if not signature:
            raise Refused(401, "there is no X-Webhook-ClickFunnels-Signature header")
        if not (sent.isascii() and sent.isdigit() and len(sent) <= 11):
            raise Refused(400, "X-Webhook-ClickFunnels-Timestamp is not a number of seconds")
        check_signature(secrets, sent.encode() + b"." + request.body, [signature], hexlify)
        check_age(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(sent)), now, OLDEST)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. A body of version 1 may have no time; then it happened when it arrived."""
        with one_line_errors():
            notice = _Notice.model_validate_json(request.body)
            read = _READERS.get(notice.kind)
            return read(notice, received_at) if read else []

    async def tell(self, told: Told) -> str | None:
        """See ``Sink.tell``. Keeps the contact, and gives it the tag that the settings name for this event.

        Taken is what says who somebody is, and what has a tag. A no tags a contact that is there and makes none: nobody
        could take it off the mail it would get. A contact is one by its address, and a tag it has already is not
        applied again, so the same twice does no more.
        """
        tag = self._settings.tags.get(told.type)
        if told.type == "contact.erased":
            # To keep the contact would make it anew.
            raise NeverAgain(self.name, "a contact is erased in ClickFunnels itself")
        if tag is None and told.type not in _WHO:
            raise NeverAgain(self.name, f"no tag is set for {told.type} (CLICKFUNNELS_TAGS)")
        email = told.known_as("email")
        if email is None:
            raise NeverAgain(self.name, "the contact has no e-mail address, and ClickFunnels knows people by it")
        contact = await (self._known(email) if told.type in _NOES else self._keep(email, told))
        if tag is not None and str(tag) not in {t.id for t in contact.tags}:
            applied = {"contacts_applied_tag": {"tag_id": tag}}
            await self._ask("POST", f"/contacts/{quote(contact.id, safe='')}/applied_tags", _Kept, json=applied)
        return contact.id

    async def _keep(self, email: str, told: Told) -> "_Kept":
        traits = {
            "email_address": email,
            "first_name": told.data.get("first_name"),
            "last_name": told.data.get("last_name"),
            "phone_number": told.known_as("phone"),
        }
        body = {"contact": _LIMITS.check({name: value for name, value in traits.items() if value})}
        return await self._ask("POST", f"{self._contacts}/upsert", _Kept, json=body)

    async def _known(self, email: str) -> "_Kept":
        query = {"filter[email_address]": email}
        for contact in (await self._ask("GET", self._contacts, _Found, params=query)).root:
            if (contact.email_address or "").lower() == email.lower():
                return contact
        raise NobodyThere(self.name, "no contact has this address")

    @property
    def _contacts(self) -> str:
        return f"/workspaces/{self._settings.workspace_id}/contacts"

    async def _ask(
        self,
        method: str,
        path: str,
        answer: type[http.Answer],
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> http.Answer:
        settings = self._settings
        if not (settings.access_token and settings.base_url and settings.workspace_id):
            needed = "CLICKFUNNELS_ACCESS_TOKEN, CLICKFUNNELS_BASE_URL and CLICKFUNNELS_WORKSPACE_ID"
            raise NeverAgain(self.name, f"{needed} are needed for calls")
        headers = {
            "Authorization": f"Bearer {settings.access_token.get_secret_value().strip()}",
            # Without one of its own, a client is turned away.
            "User-Agent": "Perennial",
        }
        url = str(settings.base_url).rstrip("/") + path
        request = self._client.build_request(method, url, params=params, json=json, headers=headers)
        return await http.call(self._client, _PROVIDER, request, answer, idempotent=True)


_WHO = ("contact.identified", "contact.updated")

_NOES = ("consent.withdrawn", "message.unsubscribed", "message.complained")


def _refusal(response: httpx.Response) -> http.Refusal:
    errors = http.body_of(response).get("errors")
    fields = sorted(str(name) for name in errors) if isinstance(errors, dict) else []
    # The field's names; what is said of them quotes the contact.
    return http.Refusal(http.codes(*fields[:5]), response.headers.get("x-request-id"))


_PROVIDER = http.Provider("clickfunnels", busy=frozenset({429, 503}), read=_refusal)


def _listed(value: Any) -> Any:
    return [] if value is None else value


def _or_none(value: Any) -> Any:
    return None if value == "" else value


At = Annotated[Moment | None, BeforeValidator(_or_none)]


class _Tag(Body):
    id: str | None = None
    name: str | None = None


class _Kept(Body):
    id: str
    email_address: str | None = None
    tags: Annotated[list[_Tag], BeforeValidator(_listed)] = Field(default_factory=list)


class _Found(RootModel[list[_Kept]]):
    """A list of contacts."""


class _Notice(Body):
    """A body of either version. ``id`` is the same at every attempt."""

    kind: str
    id: Annotated[str, Field(min_length=1, max_length=120)]
    data: dict[str, Any] = Field(default_factory=dict)
    created_at: At = None

    @model_validator(mode="before")
    @classmethod
    def _either(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        data = body.get("data")
        if isinstance(data, dict) and isinstance(data.get("attributes"), dict):
            data = {"id": data.get("id"), **data["attributes"]}
        return {
            "kind": body.get("event_type_id") or body.get("event_type"),
            "id": body.get("uuid") or body.get("event_id"),
            "data": data if data is not None else {},
            "created_at": body.get("created_at"),
        }

    def say(
        self,
        type: str,
        at: datetime,
        who: tuple[Identity, ...],
        data: Mapping[str, Any],
        *,
        source_id: str | None = None,
    ) -> Event:
        known = {name: value for name, value in data.items() if value not in (None, "", {})}
        named = source_id or f"{self.kind}/{self.id}"
        return event(type, source=ClickFunnels.name, source_id=named, occurred_at=at, identities=who, data=known)


class _Contact(Body):
    id: str | None = None
    email_address: str | None = None
    phone_number: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    unsubscribed_at: At = None

    def who(self) -> tuple[Identity, ...]:
        return identities(("email", self.email_address), (ClickFunnels.name, self.id), ("phone", self.phone_number))

    def traits(self) -> dict[str, Any]:
        return {"email": self.email_address, "first_name": self.first_name, "last_name": self.last_name}


def _contact(type: str) -> Callable[[_Notice, datetime], list[Event]]:
    def read(notice: _Notice, received_at: datetime) -> list[Event]:
        contact = _Contact.model_validate(notice.data)
        at = notice.created_at or received_at
        # A visitor without an address is nobody yet: they are told of again when they have one.
        events = [notice.say(type, at, contact.who(), contact.traits())] if contact.email_address else []
        return events + _unsubscribed(notice, received_at)

    return read


def _unsubscribed(notice: _Notice, received_at: datetime) -> list[Event]:
    """Every body of a contact says since when they are unsubscribed: whichever comes first is believed."""
    contact = _Contact.model_validate(notice.data)
    at = contact.unsubscribed_at
    if at is None and notice.kind == "contact.unsubscribed":
        at = notice.created_at or received_at
    if at is None:
        return []
    said = {"channel": "email", "purpose": "all", "evidence": "unsubscribed in ClickFunnels"}
    named = f"unsubscribed/{contact.id}/{at.isoformat()}" if contact.id and contact.unsubscribed_at else None
    return [notice.say("consent.withdrawn", at, contact.who(), said, source_id=named)]


class _Applied(Body):
    contact_id: str | None = None
    contact: _Contact = _Contact()
    tag: _Tag = _Tag()
    tag_id: str | None = None


def _tagged(type: str) -> Callable[[_Notice, datetime], list[Event]]:
    def read(notice: _Notice, received_at: datetime) -> list[Event]:
        applied = _Applied.model_validate(notice.data)
        who = (*applied.contact.who(), *identities((ClickFunnels.name, applied.contact_id)))
        facts = {"tag": applied.tag.name, "tag_id": applied.tag_id}
        return [notice.say(type, notice.created_at or received_at, tuple(dict.fromkeys(who)), facts)]

    return read


class _Line(Body):
    description: str | None = None
    name: str | None = None
    quantity: int | None = None


class _Order(Body):
    id: Annotated[str, Field(min_length=1, max_length=100)]
    contact_id: str | None = None
    contact: _Contact = _Contact()
    billing_status: str | None = None
    total_amount: str | None = None
    currency: Annotated[str, StringConstraints(to_upper=True)] | None = None
    order_type: str | None = None
    live_mode: bool | None = None
    activated_at: At = None
    line_items: Annotated[list[_Line], BeforeValidator(_listed)] = Field(default_factory=list)

    def value(self) -> int | None:
        """The total in minor units."""
        if self.total_amount is None or self.currency is None:
            return None
        try:
            minor = Decimal(self.total_amount).scaleb(minor_digits(self.currency))
            whole = minor == minor.to_integral_value()
        except ArithmeticError:
            raise InvalidEvent("data.total_amount", "is not an amount of money") from None
        if not whole or not minor.is_finite() or abs(minor) > 10**15:
            raise InvalidEvent("data.total_amount", "is not an amount of its currency")
        return int(minor)


_PAID = {"paid": "purchase.completed", "refunded": "purchase.refunded"}


def _order(notice: _Notice, received_at: datetime) -> list[Event]:
    """Any body of an order says how it stands with the money. Each standing is one event, whichever body tells first.

    What was given back in part is not said in numbers, so it is not told.
    """
    order = _Order.model_validate(notice.data)
    status = order.billing_status or ""
    if status not in _PAID:
        return []
    told_at = notice.created_at or received_at
    at = (order.activated_at or told_at) if status == "paid" else told_at
    facts = {
        "order_id": order.id,
        "value": order.value(),
        "currency": order.currency,
        "items": [{"name": n.name or n.description, "quantity": n.quantity} for n in order.line_items],
        "order_type": order.order_type,
        "livemode": order.live_mode,
        "full": True if status == "refunded" else None,
    }
    who = (*order.contact.who(), *identities((ClickFunnels.name, order.contact_id)))
    named = f"order/{order.id}/{status}"
    return [notice.say(_PAID[status], at, tuple(dict.fromkeys(who)), facts, source_id=named)]


class _EventType(Body):
    name: str | None = None


class _Appointment(Body):
    id: Annotated[str, Field(min_length=1, max_length=100)]
    start_on: At = None
    end_on: At = None
    tzid: str | None = None
    event_type: _EventType | None = None
    primary_contact: _Contact = _Contact()

    def meeting(self) -> dict[str, Any]:
        # A plain number could be another calendar's meeting too.
        return {"meeting_id": f"clickfunnels-{self.id}"}


def _booked(notice: _Notice, received_at: datetime) -> list[Event]:
    """A move is the same meeting at another time."""
    held = _Appointment.model_validate(notice.data)
    facts = {
        **held.meeting(),
        "starts_at": held.start_on.isoformat() if held.start_on else None,
        "ends_at": held.end_on.isoformat() if held.end_on else None,
        "name": held.event_type.name if held.event_type else None,
        "timezone": held.tzid,
    }
    return [notice.say("meeting.booked", notice.created_at or received_at, held.primary_contact.who(), facts)]


def _canceled(notice: _Notice, received_at: datetime) -> list[Event]:
    held = _Appointment.model_validate(notice.data)
    at = notice.created_at or received_at
    return [notice.say("meeting.canceled", at, held.primary_contact.who(), held.meeting())]


class _Answered(Body):
    """``data`` of a submission holds what was typed, the contact's own fields among it."""

    form_id: str | None = None
    contact_id: str | None = None
    created_at: At = None
    contact: _Contact | None = None
    data: dict[str, Any] = Field(default_factory=dict)


def _form(notice: _Notice, received_at: datetime) -> list[Event]:
    given = _Answered.model_validate(notice.data)
    typed = given.data.get("contact")
    contact = given.contact or _Contact.model_validate(typed if isinstance(typed, dict) else {})
    found = (*contact.who(), *identities((ClickFunnels.name, given.contact_id)))
    if not found:
        return []
    answers = {name: value for name, value in given.data.items() if isinstance(value, str | int | float | list)}
    facts = {"form": given.form_id or "clickfunnels", "answers": answers}
    at = given.created_at or notice.created_at or received_at
    return [notice.say("form.submitted", at, tuple(dict.fromkeys(found)), facts)]


_READERS: dict[str, Callable[[_Notice, datetime], list[Event]]] = {
    # Whoever is put in by an import or by a colleague has not come by themselves: that starts no welcome.
    "contact.created": _contact("contact.updated"),
    "contact.updated": _contact("contact.updated"),
    "contact.identified": _contact("contact.identified"),
    "contact.unsubscribed": _unsubscribed,
    "contact/applied_tag.created": _tagged("custom.tag_added"),
    "contact/applied_tag.deleted": _tagged("custom.tag_removed"),
    "contacts/applied_tag.created": _tagged("custom.tag_added"),
    "contacts/applied_tag.deleted": _tagged("custom.tag_removed"),
    "order.created": _order,
    "order.updated": _order,
    "order.completed": _order,
    "one-time-order.completed": _order,
    "one-time-order.refunded": _order,
    "appointments/scheduled_event.created": _booked,
    "appointments/scheduled_event.rescheduled": _booked,
    "appointments/scheduled_event.canceled": _canceled,
    "form/submission.created": _form,
    "form_submission.created": _form,
}
