"""Stripe: checkouts, purchases, subscriptions, invoices and disputes in; customer look-up out.

Endpoints keep the API version they were made with, so both shapes of an object are read where Stripe moved a field.
"""

from binascii import hexlify
from calendar import monthrange
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

import httpx
from pydantic import AwareDatetime, BeforeValidator, Field, SecretStr, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

from connectors import http
from connectors.base import Refused, Request
from connectors.errors import NeverAgain
from connectors.webhook import Body, Moment, check_age, check_signature, one_line_errors, secrets_in
from contacts.events import Event, Identity, event, identities

API = "https://api.stripe.com/v1"
API_VERSION = "2026-10-28.endive"


class StripeSettings(BaseSettings):
    """``STRIPE_*``. Several signing secrets may stand side by side, with commas, while one is rolled."""

    model_config = SettingsConfigDict(
        env_prefix="STRIPE_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    signing_secret: SecretStr | None = None
    api_key: SecretStr | None = None


class Customer(Body):
    """A Stripe customer, as far as we use one."""

    id: str
    email: str | None = None
    name: str | None = None
    phone: str | None = None
    metadata: Annotated[Mapping[str, str], BeforeValidator(lambda value: value or {})] = Field(default_factory=dict)
    deleted: bool = False


class Stripe:
    """The ``Source`` of billing events, and the place to look a customer up."""

    name: ClassVar[str] = "stripe"

    def __init__(self, settings: StripeSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``."""
        secrets = secrets_in(self._settings.signing_secret)
        sent, signatures = _signature_header(request.headers.get("stripe-signature", ""))
        check_signature(secrets, sent.encode() + b"." + request.body, signatures, hexlify)
        check_age(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(sent)), now)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. The source id is Stripe's event id, which its retries repeat."""
        with one_line_errors():
            notice = _Notice.model_validate_json(request.body)
            read = _READERS.get(notice.type)
            return read(notice) if read else []

    async def customer(self, id: str) -> Customer | None:
        """The customer with this id; None if there is none, or no longer.

        Raises:
            TryAgain, NeverAgain: see ``connectors.errors``.
        """
        try:
            found = await self._get(f"/customers/{quote(id, safe='')}", Customer)
        except http.Rejected as error:
            if error.status != 404:
                raise
            return None
        return None if found.deleted else found

    async def email(self, id: str) -> str | None:
        """See ``Directory.email``."""
        found = await self.customer(id)
        return found.email if found else None

    async def customer_by_email(self, email: str) -> Customer | None:
        """The newest customer with exactly this address (Stripe tells cases apart, and allows several); None if none.

        Raises:
            TryAgain, NeverAgain: see ``connectors.errors``.
        """
        page = await self._get("/customers", _Customers, email=email, limit="1")
        return page.data[0] if page.data else None

    async def _get(self, path: str, answer: type[http.Answer], **params: str) -> http.Answer:
        if not self._settings.api_key:
            raise NeverAgain(self.name, "no API key is set (STRIPE_API_KEY)")
        headers = {
            "Authorization": f"Bearer {self._settings.api_key.get_secret_value().strip()}",
            "Stripe-Version": API_VERSION,
        }
        request = self._client.build_request("GET", API + path, params=params, headers=headers)
        return await http.call(self._client, _PROVIDER, request, answer, idempotent=True)


def _refusal(response: httpx.Response) -> http.Refusal:
    error = http.body_of(response).get("error")
    error = error if isinstance(error, dict) else {}
    reason = http.codes(error.get("type"), error.get("code"), error.get("param"))
    return http.Refusal(reason, response.headers.get("request-id"))


_PROVIDER = http.Provider("stripe", busy=frozenset({409, 429}), read=_refusal)


def _signature_header(header: str) -> tuple[str, list[str]]:
    """The timestamp as it was signed, and every ``v1`` signature of ``t=...,v1=...[,v1=...]``."""
    fields = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in fields if name == "t"]
    if not header:
        raise Refused(401, "there is no Stripe-Signature header")
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 11):
        raise Refused(400, "the Stripe-Signature header has no readable timestamp")
    return times[0], [value for name, _, value in fields if name == "v1"]


def _id_of(value: Any) -> Any:
    return value.get("id") if isinstance(value, dict) else value


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


Ref = Annotated[str | None, BeforeValidator(_id_of)]
"""A reference to an object: its id, or the object itself where the endpoint expands it."""


class _Customers(Body):
    data: list[Customer]


class _Change(Body):
    object: dict[str, Any] = Field(default_factory=dict)
    previous_attributes: dict[str, Any] | None = None


class _Notice(Body):
    id: str
    type: str
    created: Moment
    livemode: bool = False
    data: _Change = _Change()

    def event(self, type: str, who: tuple[Identity, ...], data: Mapping[str, Any], suffix: str = "") -> Event:
        known = {name: value for name, value in data.items() if value is not None}
        return event(
            type,
            source=Stripe.name,
            source_id=self.id + suffix,
            occurred_at=self.created,
            identities=who,
            data={**known, "livemode": self.livemode},
        )


class _Object(Body):
    id: str
    customer: Ref = None
    currency: Annotated[str, StringConstraints(to_upper=True)] | None = None
    metadata: dict[str, str] | None = None

    def who(self, *more: tuple[str, object]) -> tuple[Identity, ...]:
        meta = self.metadata or {}
        return identities(
            ("contact", meta.get("contact_id")),
            ("user", meta.get("user_id")),
            ("anonymous", meta.get("anonymous_id")),
            ("stripe", self.customer),
            *more,
        )


class _Reachable(Body):
    email: str | None = None
    phone: str | None = None


class _Line(Body):
    description: str | None = None
    quantity: int | None = None
    amount_total: int | None = None


class _Lines(Body):
    data: list[_Line] = Field(default_factory=list)


class _Recovery(Body):
    url: str | None = None


class _AfterExpiration(Body):
    recovery: _Recovery | None = None


class _Session(_Object):
    mode: str | None = None
    payment_status: str | None = None
    client_reference_id: str | None = None
    recovered_from: Ref = None
    customer_details: _Reachable | None = None
    customer_email: str | None = None
    amount_total: int | None = None
    payment_intent: Ref = None
    subscription: Ref = None
    line_items: _Lines | None = None
    after_expiration: _AfterExpiration | None = None

    @property
    def checkout_id(self) -> str:
        named = (self.metadata or {}).get("checkout_id") or self.client_reference_id
        return named or self.recovered_from or self.id

    def buyer(self) -> tuple[Identity, ...]:
        details = self.customer_details or _Reachable()
        return self.who(("email", details.email), ("email", self.customer_email), ("phone", details.phone))

    def money(self) -> dict[str, Any]:
        lines = self.line_items.data if self.line_items else []
        return {
            "value": self.amount_total,
            "currency": self.currency,
            "items": [{"name": n.description, "quantity": n.quantity, "value": n.amount_total} for n in lines],
        }


class _Price(Body):
    unit_amount: int | None = None
    nickname: str | None = None


class _Item(Body):
    price: _Price | None = None
    quantity: int | None = None
    current_period_start: AwareDatetime | None = None
    current_period_end: AwareDatetime | None = None


class _Items(Body):
    data: list[_Item] = Field(default_factory=list)


_LONG_PERIOD = timedelta(days=80)


def _renews_on(start: datetime | None, end: datetime | None) -> str | None:
    """The day a period ends, if it is a long one: what renews every month is announced to nobody."""
    return end.date().isoformat() if start and end and end - start >= _LONG_PERIOD else None


_FEEDBACK = {
    "too_expensive": "too_expensive",
    "missing_features": "missing_feature",
    "unused": "no_time",
    "customer_service": "bad_experience",
    "low_quality": "bad_experience",
}
"""What Stripe's customer portal lets people say as they cancel, in our words; anything else is ``other``."""


class _Cancellation(Body):
    reason: str | None = None
    feedback: str | None = None
    comment: str | None = None


class _Subscription(_Object):
    status: str | None = None
    items: _Items = _Items()
    current_period_start: AwareDatetime | None = None
    current_period_end: AwareDatetime | None = None
    trial_end: AwareDatetime | None = None
    cancel_at: AwareDatetime | None = None
    cancel_at_period_end: bool = False
    cancellation_details: _Cancellation | None = None

    def facts(self) -> dict[str, Any]:
        prices = [item.price.unit_amount if item.price else None for item in self.items.data]
        value = None
        if prices and None not in prices:
            value = sum(
                (price or 0) * (item.quantity or 1) for price, item in zip(prices, self.items.data, strict=True)
            )
        start, end = self._period()
        return {
            "subscription_id": self.id,
            "status": self.status,
            "plan": next((i.price.nickname for i in self.items.data if i.price and i.price.nickname), None),
            "value": value,
            "currency": self.currency,
            "period_end": _text(end),
            "renews_on": _renews_on(start, end),
        }

    def end(self) -> dict[str, Any]:
        details = self.cancellation_details or _Cancellation()
        voluntary = {"cancellation_requested": True, "payment_failed": False, "payment_disputed": False}
        return {
            "reason": details.reason,
            "voluntary": voluntary.get(details.reason or ""),
            "feedback": _FEEDBACK.get(details.feedback, "other") if details.feedback else None,
            "comment": details.comment,
        }

    @property
    def ending(self) -> bool:
        """Whether its end is decided."""
        return self.cancel_at_period_end or self.cancel_at is not None

    @property
    def ends_at(self) -> datetime | None:
        return self.cancel_at or self._period()[1]

    def _period(self) -> tuple[datetime | None, datetime | None]:
        first = next(iter(self.items.data), _Item())
        return (
            self.current_period_start or first.current_period_start,
            self.current_period_end or first.current_period_end,
        )


class _SubscriptionDetails(Body):
    subscription: Ref = None


class _Parent(Body):
    type: str | None = None
    subscription_details: _SubscriptionDetails | None = None


class _Span(Body):
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None


class _Billed(Body):
    period: _Span = _Span()
    price: _Price | None = None


class _BilledLines(Body):
    data: list[_Billed] = Field(default_factory=list)


class _Invoice(_Object):
    subscription: Ref = None
    parent: _Parent | None = None
    customer_email: str | None = None
    customer_phone: str | None = None
    amount_paid: int | None = None
    amount_due: int | None = None
    attempt_count: int | None = None
    next_payment_attempt: AwareDatetime | None = None
    billing_reason: str | None = None
    hosted_invoice_url: str | None = None
    lines: _BilledLines = _BilledLines()

    @property
    def subscription_id(self) -> str | None:
        if self.parent and self.parent.type == "subscription_details" and self.parent.subscription_details:
            return self.parent.subscription_details.subscription
        return self.subscription

    def payer(self) -> tuple[Identity, ...]:
        return self.who(("email", self.customer_email), ("phone", self.customer_phone))

    def facts(self) -> dict[str, Any]:
        return {
            "invoice_id": self.id,
            "subscription_id": self.subscription_id,
            "currency": self.currency,
            "attempt": self.attempt_count,
            "billing_reason": self.billing_reason,
            "plan": next((n.price.nickname for n in self.lines.data if n.price and n.price.nickname), None),
        }

    @property
    def renews_on(self) -> str | None:
        # The invoice's own period is the one that is over; its lines say what is paid for.
        days = [day for n in self.lines.data if (day := _renews_on(n.period.start, n.period.end))]
        return max(days, default=None)


class _Charge(_Object):
    amount_refunded: int
    refunded: bool = False
    payment_intent: Ref = None
    receipt_email: str | None = None
    billing_details: _Reachable | None = None


class _Evidence(Body):
    customer_email_address: str | None = None


class _Dispute(_Object):
    charge: Ref = None
    payment_intent: Ref = None
    amount: int | None = None
    reason: str | None = None
    status: str | None = None
    evidence: _Evidence | None = None


class _InvoiceSettings(Body):
    default_payment_method: Ref = None


class _ChangedCustomer(Customer):
    preferred_locales: list[str] = Field(default_factory=list)
    invoice_settings: _InvoiceSettings | None = None
    default_source: Ref = None

    def new_card(self, before: Mapping[str, Any]) -> bool:
        """Whether another card than before now pays by default."""
        settings = self.invoice_settings or _InvoiceSettings()
        was = before.get("invoice_settings")
        by_method = isinstance(was, dict) and "default_payment_method" in was and settings.default_payment_method
        return bool(by_method or ("default_source" in before and self.default_source))


class _Card(_Object):
    """A card: that of a payment method, or a source of its own as older integrations keep them."""

    exp_month: Annotated[int, Field(ge=1, le=12)] | None = None
    exp_year: Annotated[int, Field(ge=1, le=9998)] | None = None

    def last_day(self) -> str | None:
        """The last day of its last month."""
        if self.exp_month is None or self.exp_year is None:
            return None
        return date(self.exp_year, self.exp_month, monthrange(self.exp_year, self.exp_month)[1]).isoformat()


class _Method(_Object):
    card: dict[str, Any] | None = None
    billing_details: _Reachable | None = None


def _completed(notice: _Notice) -> list[Event]:
    session = _Session.model_validate(notice.data.object)
    # A delayed payment method is ``unpaid`` now and succeeds or fails days later; a setup session buys nothing.
    if session.payment_status not in ("paid", "no_payment_required") or session.mode == "setup":
        return []
    bought = {
        "order_id": session.id,
        "checkout_id": session.checkout_id,
        "payment_intent": session.payment_intent,
        "subscription_id": session.subscription,
    }
    return [notice.event("purchase.completed", session.buyer(), {**bought, **session.money()})]


def _expired(notice: _Notice) -> list[Event]:
    session = _Session.model_validate(notice.data.object)
    if session.mode == "setup":
        return []
    recovery = session.after_expiration.recovery if session.after_expiration else None
    left = {"checkout_id": session.checkout_id, "recovery_url": recovery.url if recovery else None}
    return [notice.event("checkout.expired", session.buyer(), {**left, **session.money()})]


def _subscription_created(notice: _Notice) -> list[Event]:
    subscription = _Subscription.model_validate(notice.data.object)
    if subscription.status in ("incomplete", "incomplete_expired"):
        return []
    return [notice.event("subscription.started", subscription.who(), subscription.facts())]


def _subscription_updated(notice: _Notice) -> list[Event]:
    subscription = _Subscription.model_validate(notice.data.object)
    before = notice.data.previous_attributes or {}
    if before.get("status") == "incomplete" and subscription.status in ("active", "trialing"):
        return [notice.event("subscription.started", subscription.who(), subscription.facts())]
    facts = {**subscription.facts(), **subscription.end()}
    was_ending = bool(before.get("cancel_at_period_end", subscription.cancel_at_period_end)) or (
        before.get("cancel_at", subscription.cancel_at) is not None
    )
    if subscription.ending and not was_ending:
        ending = {**facts, "ends_at": _text(subscription.ends_at)}
        return [notice.event("subscription.cancel_scheduled", subscription.who(), ending)]
    if was_ending and not subscription.ending:
        return [notice.event("subscription.reactivated", subscription.who(), subscription.facts())]
    if facts["feedback"] and "cancellation_details" in before:
        # The portal asks for the reason on a page after the one that cancels.
        told = {"reason": facts["feedback"], "comment": facts["comment"]}
        said = {"form": "cancel_reason", "subscription_id": subscription.id, "answers": told}
        return [notice.event("form.submitted", subscription.who(), said)]
    return []


def _subscription_deleted(notice: _Notice) -> list[Event]:
    subscription = _Subscription.model_validate(notice.data.object)
    # An end that was announced has been confirmed to them then.
    ended = {**subscription.facts(), **subscription.end(), "scheduled": subscription.ending}
    return [notice.event("subscription.canceled", subscription.who(), ended)]


def _trial_ending(notice: _Notice) -> list[Event]:
    subscription = _Subscription.model_validate(notice.data.object)
    trial = {**subscription.facts(), "trial_end": _text(subscription.trial_end)}
    return [notice.event("subscription.trial_ending", subscription.who(), trial)]


def _invoice_paid(notice: _Notice) -> list[Event]:
    invoice = _Invoice.model_validate(notice.data.object)
    facts = {**invoice.facts(), "value": invoice.amount_paid}
    events = [notice.event("invoice.paid", invoice.payer(), facts)]
    # A new period begins before it is paid for, so the renewal is the paid invoice of the cycle.
    if invoice.billing_reason == "subscription_cycle" and invoice.subscription_id:
        renewed = {**facts, "renews_on": invoice.renews_on}
        events.append(notice.event("subscription.renewed", invoice.payer(), renewed, suffix=":renewed"))
    return events


def _payment_failed(notice: _Notice) -> list[Event]:
    invoice = _Invoice.model_validate(notice.data.object)
    failed = {
        "value": invoice.amount_due,
        "final": invoice.next_payment_attempt is None,
        "retry_at": _text(invoice.next_payment_attempt),
        "hosted_invoice_url": invoice.hosted_invoice_url,
    }
    return [notice.event("invoice.payment_failed", invoice.payer(), {**invoice.facts(), **failed})]


def _voided(notice: _Notice) -> list[Event]:
    # Void: it was a mistake. Uncollectible: it was given up. Either way nobody is to be asked for it any more.
    invoice = _Invoice.model_validate(notice.data.object)
    return [notice.event("invoice.voided", invoice.payer(), {**invoice.facts(), "value": invoice.amount_due})]


def _refunded(notice: _Notice) -> list[Event]:
    charge = _Charge.model_validate(notice.data.object)
    billing = charge.billing_details or _Reachable()
    before = (notice.data.previous_attributes or {}).get("amount_refunded")
    refund = {
        "order_id": (charge.metadata or {}).get("order_id") or charge.payment_intent or charge.id,
        "payment_intent": charge.payment_intent,
        # Stripe gives the running total; an event is about one refund.
        "value": charge.amount_refunded - (before if isinstance(before, int) else 0),
        "currency": charge.currency,
        "full": charge.refunded,
    }
    who = charge.who(("email", billing.email), ("email", charge.receipt_email), ("phone", billing.phone))
    return [notice.event("purchase.refunded", who, refund)]


def _customer_changed(notice: _Notice) -> list[Event]:
    customer = _ChangedCustomer.model_validate(notice.data.object)
    who = identities(
        ("contact", customer.metadata.get("contact_id")),
        ("user", customer.metadata.get("user_id")),
        ("stripe", customer.id),
        ("email", customer.email),
        ("phone", customer.phone),
    )
    traits = {
        "email": customer.email,
        "phone": customer.phone,
        "name": customer.name,
        "locale": next(iter(customer.preferred_locales), None),
    }
    events = [notice.event("contact.updated", who, traits)]
    if customer.new_card(notice.data.previous_attributes or {}):
        events.append(notice.event("card.updated", who, {}, suffix=":card"))
    return events


def _method_changed(notice: _Notice) -> list[Event]:
    method = _Method.model_validate(notice.data.object)
    if method.card is None or method.customer is None:
        return []
    card = _Card.model_validate({**method.card, "id": method.id})
    billing = method.billing_details or _Reachable()
    return [notice.event("card.updated", method.who(("email", billing.email)), {"date": card.last_day()})]


def _source_changed(notice: _Notice) -> list[Event]:
    if notice.data.object.get("object") != "card":
        return []
    card = _Card.model_validate(notice.data.object)
    type = "card.expiring" if notice.type.endswith(".expiring") else "card.updated"
    return [notice.event(type, card.who(), {"date": card.last_day()})]


def _disputed(notice: _Notice) -> list[Event]:
    dispute = _Dispute.model_validate(notice.data.object)
    facts = {
        "dispute_id": dispute.id,
        "charge": dispute.charge,
        "payment_intent": dispute.payment_intent,
        "value": dispute.amount,
        "currency": dispute.currency,
        "reason": dispute.reason,
        "status": dispute.status,
    }
    email = dispute.evidence.customer_email_address if dispute.evidence else None
    return [notice.event("custom.stripe_dispute", dispute.who(("email", email)), facts)]


_READERS: dict[str, Callable[[_Notice], list[Event]]] = {
    "checkout.session.completed": _completed,
    "checkout.session.async_payment_succeeded": _completed,
    "checkout.session.expired": _expired,
    "customer.subscription.created": _subscription_created,
    "customer.subscription.updated": _subscription_updated,
    "customer.subscription.deleted": _subscription_deleted,
    "customer.subscription.trial_will_end": _trial_ending,
    "invoice.paid": _invoice_paid,
    "invoice.payment_failed": _payment_failed,
    "invoice.voided": _voided,
    "invoice.marked_uncollectible": _voided,
    "charge.refunded": _refunded,
    "charge.dispute.created": _disputed,
    "charge.dispute.closed": _disputed,
    "customer.created": _customer_changed,
    "customer.updated": _customer_changed,
    "customer.source.created": _source_changed,
    "customer.source.updated": _source_changed,
    "customer.source.expiring": _source_changed,
    "payment_method.attached": _method_changed,
    "payment_method.updated": _method_changed,
    "payment_method.automatically_updated": _method_changed,
}
