"""What Stripe's events mean: a notice of its v1 API becomes what happened to a contact.

Webhook endpoints keep the API version they were made with, and the list of events has that of the account, so both
shapes of an object are read where Stripe moved a field.
"""

from calendar import monthrange
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field, StringConstraints

from connectors.webhook import Body, Moment, one_line_errors
from contacts.events import Event, Identity, event, identities

SOURCE = "stripe"


def read(notice: bytes) -> Sequence[Event]:
    """The events in the body of one notice; none where its kind means nothing to us.

    Raises:
        ValueError: The body is of another shape; one line that names the field.
    """
    with one_line_errors():
        said = _Notice.model_validate_json(notice)
        # The thin notices of the v2 API carry no object, and their types do not mean what those of v1 mean.
        meaning = _READERS.get(said.type) if said.object == "event" else None
        return meaning(said) if meaning else []


class Customer(Body):
    """A Stripe customer, as far as we use one."""

    id: str
    email: str | None = None
    name: str | None = None
    phone: str | None = None
    metadata: Annotated[Mapping[str, str], BeforeValidator(lambda value: value or {})] = Field(default_factory=dict)
    deleted: bool = False


def minor(amount: int | None, currency: str | None) -> int | None:
    """An amount of Stripe's in the currency's minor units by ISO 4217.

    >>> minor(4900, "EUR"), minor(50000, "ISK"), minor(500, "MGA")
    (4900, 500, 50000)
    """
    match currency:
        case "ISK" | "UGX" if amount is not None:
            # They have no smaller unit any more, and amounts still come with two zeros.
            return amount // 100
        case "MGA" if amount is not None:
            return amount * 100
    return amount


def _id_of(value: Any) -> Any:
    return value.get("id") if isinstance(value, dict) else value


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


Ref = Annotated[str | None, BeforeValidator(_id_of)]
"""A reference to an object: its id, or the object itself where the endpoint expands it."""


class _Change(Body):
    object: dict[str, Any] = Field(default_factory=dict)
    previous_attributes: dict[str, Any] | None = None


class _Notice(Body):
    id: str
    type: str
    created: Moment
    object: str = "event"
    livemode: bool = False
    data: _Change = _Change()

    @property
    def before(self) -> Mapping[str, Any]:
        """What a change replaced, by field; empty where the notice is about no change."""
        return self.data.previous_attributes or {}

    def event(
        self,
        type: str,
        who: tuple[Identity, ...],
        data: Mapping[str, Any],
        suffix: str = "",
        source_id: str | None = None,
    ) -> Event:
        """``suffix`` tells the events of one notice apart; ``source_id`` is for what several notices tell of."""
        known = {name: value for name, value in data.items() if value is not None}
        return event(
            type,
            source=SOURCE,
            source_id=source_id or self.id + suffix,
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

    def minor(self, amount: int | None) -> int | None:
        """An amount of the object's, in minor units of its currency."""
        return minor(amount, self.currency)


class _Reachable(Body):
    email: str | None = None
    phone: str | None = None


_Billing = Annotated[_Reachable, BeforeValidator(lambda value: value or {})]


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

    def order(self) -> dict[str, Any]:
        return {
            "order_id": self.id,
            "checkout_id": self.checkout_id,
            "payment_intent": self.payment_intent,
            "subscription_id": self.subscription,
            **self.money(),
        }

    def money(self) -> dict[str, Any]:
        lines = self.line_items.data if self.line_items else []
        return {
            "value": self.minor(self.amount_total),
            "currency": self.currency,
            "items": [
                {"name": n.description, "quantity": n.quantity, "value": self.minor(n.amount_total)} for n in lines
            ],
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
    pause_collection: dict[str, Any] | None = None
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
            "value": self.minor(value),
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
    number: str | None = None
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
            "number": self.number,
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
    amount: int | None = None
    payment_intent: Ref = None
    receipt_email: str | None = None
    billing_details: _Billing = _Reachable()

    def payer(self) -> tuple[Identity, ...]:
        named, billing = self.who(), self.billing_details
        if any(i.kind != "anonymous" for i in named):
            # The bill may go to an accountant and the receipt to an assistant: that makes them nobody else.
            return named
        return self.who(("email", billing.email), ("email", self.receipt_email), ("phone", billing.phone))

    def facts(self) -> dict[str, Any]:
        return {
            "charge": self.id,
            "payment_intent": self.payment_intent,
            "currency": self.currency,
            "email": self.billing_details.email or self.receipt_email,
            "phone": self.billing_details.phone,
        }


class _RefundedCharge(_Charge):
    amount_refunded: int
    refunded: bool = False


class _Refund(_Object):
    charge: Ref = None
    payment_intent: Ref = None
    amount: int | None = None
    reason: str | None = None
    failure_reason: str | None = None
    status: str | None = None


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
    billing_details: _Billing = _Reachable()


def _completed(notice: _Notice) -> list[Event]:
    session = _Session.model_validate(notice.data.object)
    # A setup session saves a card and buys nothing.
    if session.mode == "setup":
        return []
    # A delayed payment method is ``unpaid`` now and succeeds or fails days later.
    if session.payment_status not in ("paid", "no_payment_required"):
        return [notice.event("custom.stripe_checkout", session.buyer(), {"change": "pending", **session.order()})]
    return [notice.event("purchase.completed", session.buyer(), session.order())]


def _payment_came_to_nothing(notice: _Notice) -> list[Event]:
    session = _Session.model_validate(notice.data.object)
    return [notice.event("custom.stripe_checkout", session.buyer(), {"change": "payment_failed", **session.order()})]


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
    first = _intention(notice, subscription)
    return [*([first] if first else []), *_turns(notice, subscription)]


def _intention(notice: _Notice, subscription: _Subscription) -> Event | None:
    """What an update says of whether the subscription begins, is to end, or is to go on after all."""
    before = notice.before
    if before.get("status") == "incomplete" and subscription.status in ("active", "trialing"):
        return notice.event("subscription.started", subscription.who(), subscription.facts())
    facts = {**subscription.facts(), **subscription.end()}
    was_ending = bool(before.get("cancel_at_period_end", subscription.cancel_at_period_end)) or (
        before.get("cancel_at", subscription.cancel_at) is not None
    )
    if subscription.ending and not was_ending:
        ending = {**facts, "ends_at": _text(subscription.ends_at)}
        return notice.event("subscription.cancel_scheduled", subscription.who(), ending)
    if was_ending and not subscription.ending:
        return notice.event("subscription.reactivated", subscription.who(), subscription.facts())
    if facts["feedback"] and "cancellation_details" in before:
        # The portal asks for the reason on a page after the one that cancels.
        told = {"reason": facts["feedback"], "comment": facts["comment"]}
        said = {"form": "cancel_reason", "subscription_id": subscription.id, "answers": told}
        return notice.event("form.submitted", subscription.who(), said)
    return None


_TURNS = ("past_due", "unpaid", "incomplete_expired")
"""States that somebody may have to do something about. The end, a pause and its end have notices of their own."""


def _turns(notice: _Notice, subscription: _Subscription) -> list[Event]:
    """What else an update changed: its state, whether money is collected, what is subscribed to."""
    before, changes = notice.before, list[str]()
    was, status = before.get("status"), subscription.status
    if was is not None and was != status:
        if status in _TURNS:
            changes.append(status)
        elif status == "active" and was in ("past_due", "unpaid"):
            changes.append("recovered")
        elif status == "active" and was == "trialing":
            changes.append("trial_ended")
    if "pause_collection" in before:
        paused, was_paused = subscription.pause_collection is not None, before["pause_collection"] is not None
        if paused != was_paused:
            changes.append("collection_paused" if paused else "collection_resumed")
    # A new period is in the items as well; only another price or quantity is another plan.
    if _bought(before.get("items")) not in (None, _bought(notice.data.object.get("items"))):
        changes.append("plan_changed")
    return [_turn(notice, subscription, change, suffix=f":{change}") for change in changes]


def _turn(notice: _Notice, subscription: _Subscription, change: str, suffix: str = "") -> Event:
    return notice.event(
        "custom.stripe_subscription", subscription.who(), {"change": change, **subscription.facts()}, suffix
    )


def _bought(items: Any) -> list[tuple[Any, Any]] | None:
    """Price and quantity of every item, where there are items."""
    data = items.get("data") if isinstance(items, dict) else None
    if not isinstance(data, list):
        return None
    return [(_id_of(i.get("price")), i.get("quantity")) for i in data if isinstance(i, dict)]


def _paused_or_resumed(notice: _Notice) -> list[Event]:
    subscription = _Subscription.model_validate(notice.data.object)
    return [_turn(notice, subscription, notice.type.rpartition(".")[2])]


def _subscription_deleted(notice: _Notice) -> list[Event]:
    subscription = _Subscription.model_validate(notice.data.object)
    # An end that was announced has been confirmed to them then.
    ended = {**subscription.facts(), **subscription.end(), "scheduled": subscription.ending}
    return [notice.event("subscription.canceled", subscription.who(), ended)]


def _trial_ending(notice: _Notice) -> list[Event]:
    subscription = _Subscription.model_validate(notice.data.object)
    end = subscription.trial_end
    trial = {**subscription.facts(), "trial_end": _text(end), "date": end.date().isoformat() if end else None}
    return [notice.event("subscription.trial_ending", subscription.who(), trial)]


def _invoice_paid(notice: _Notice) -> list[Event]:
    invoice = _Invoice.model_validate(notice.data.object)
    facts = {**invoice.facts(), "value": invoice.minor(invoice.amount_paid)}
    events = [notice.event("invoice.paid", invoice.payer(), facts)]
    # A new period begins before it is paid for, so the renewal is the paid invoice of the cycle.
    if invoice.billing_reason == "subscription_cycle" and invoice.subscription_id:
        renewed = {**facts, "renews_on": invoice.renews_on}
        events.append(notice.event("subscription.renewed", invoice.payer(), renewed, suffix=":renewed"))
    return events


def _payment_failed(notice: _Notice) -> list[Event]:
    invoice = _Invoice.model_validate(notice.data.object)
    failed = {
        "value": invoice.minor(invoice.amount_due),
        "final": invoice.next_payment_attempt is None,
        "retry_at": _text(invoice.next_payment_attempt),
        "hosted_invoice_url": invoice.hosted_invoice_url,
    }
    return [notice.event("invoice.payment_failed", invoice.payer(), {**invoice.facts(), **failed})]


def _voided(notice: _Notice) -> list[Event]:
    # Void: it was a mistake. Uncollectible: it was given up. Either way nobody is to be asked for it any more.
    invoice = _Invoice.model_validate(notice.data.object)
    return [
        notice.event("invoice.voided", invoice.payer(), {**invoice.facts(), "value": invoice.minor(invoice.amount_due)})
    ]


def _stuck(notice: _Notice) -> list[Event]:
    """The bank wants to hear from the payer, or Stripe could not finish the invoice."""
    invoice = _Invoice.model_validate(notice.data.object)
    stuck = {
        "change": notice.type.removeprefix("invoice."),
        "value": invoice.minor(invoice.amount_due),
        "hosted_invoice_url": invoice.hosted_invoice_url,
    }
    return [notice.event("custom.stripe_invoice", invoice.payer(), {**invoice.facts(), **stuck})]


def _refunded(notice: _Notice) -> list[Event]:
    charge = _RefundedCharge.model_validate(notice.data.object)
    before = notice.before.get("amount_refunded")
    refund = {
        **charge.facts(),
        "order_id": (charge.metadata or {}).get("order_id") or charge.payment_intent or charge.id,
        # Stripe gives the running total; an event is about one refund.
        "value": charge.minor(charge.amount_refunded - (before if isinstance(before, int) else 0)),
        "full": charge.refunded,
    }
    return [notice.event("purchase.refunded", charge.payer(), refund)]


def _charged(notice: _Notice) -> list[Event]:
    # Nothing follows from it. But a dispute and a failed refund name a charge and nobody: this says whose it is.
    charge = _Charge.model_validate(notice.data.object)
    paid = {**charge.facts(), "value": charge.minor(charge.amount)}
    return [notice.event("payment.succeeded", charge.payer(), paid)]


def _refund_changed(notice: _Notice) -> list[Event]:
    refund = _Refund.model_validate(notice.data.object)
    given_back = {
        "order_id": (refund.metadata or {}).get("order_id") or refund.payment_intent or refund.charge or refund.id,
        "payment_intent": refund.payment_intent,
        "refund_id": refund.id,
        "charge": refund.charge,
        "value": refund.minor(refund.amount),
        "currency": refund.currency,
    }
    if refund.status in ("failed", "canceled"):
        # Several notices tell of the one failure, and the money is back with the business.
        came_to_nothing = {**given_back, "status": refund.status, "reason": refund.failure_reason or refund.reason}
        return [
            notice.event(
                "custom.stripe_refund", refund.who(), came_to_nothing, source_id=f"{refund.id}:{refund.status}"
            )
        ]
    if notice.type == "refund.created" and refund.charge is None:
        return [notice.event("purchase.refunded", refund.who(), given_back)]
    # Of a charge's refund ``charge.refunded`` tells, and that one says whose it is.
    return []


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
    if customer.new_card(notice.before):
        events.append(notice.event("card.updated", who, {}, suffix=":card"))
    return events


def _method_changed(notice: _Notice) -> list[Event]:
    method = _Method.model_validate(notice.data.object)
    if method.card is None or method.customer is None:
        return []
    card = _Card.model_validate({**method.card, "id": method.id})
    billing = method.billing_details
    facts = {"date": card.last_day(), "email": billing.email, "phone": billing.phone}
    return [notice.event("card.updated", method.who(), facts)]


def _source_changed(notice: _Notice) -> list[Event]:
    if notice.data.object.get("object") != "card":
        return []
    card = _Card.model_validate(notice.data.object)
    type = "card.expiring" if notice.type.endswith(".expiring") else "card.updated"
    return [notice.event(type, card.who(), {"date": card.last_day()})]


def _disputed(notice: _Notice) -> list[Event]:
    dispute = _Dispute.model_validate(notice.data.object)
    facts = {
        "change": notice.type.rpartition(".")[2],
        "dispute_id": dispute.id,
        "charge": dispute.charge,
        "payment_intent": dispute.payment_intent,
        "value": dispute.minor(dispute.amount),
        "currency": dispute.currency,
        "reason": dispute.reason,
        "status": dispute.status,
    }
    email = dispute.evidence.customer_email_address if dispute.evidence else None
    return [notice.event("custom.stripe_dispute", dispute.who(("email", email)), facts)]


_READERS: dict[str, Callable[[_Notice], list[Event]]] = {
    "checkout.session.completed": _completed,
    "checkout.session.async_payment_succeeded": _completed,
    "checkout.session.async_payment_failed": _payment_came_to_nothing,
    "checkout.session.expired": _expired,
    "customer.subscription.created": _subscription_created,
    "customer.subscription.updated": _subscription_updated,
    "customer.subscription.deleted": _subscription_deleted,
    "customer.subscription.paused": _paused_or_resumed,
    "customer.subscription.resumed": _paused_or_resumed,
    "customer.subscription.trial_will_end": _trial_ending,
    "invoice.paid": _invoice_paid,
    "invoice.payment_failed": _payment_failed,
    "invoice.voided": _voided,
    "invoice.marked_uncollectible": _voided,
    "invoice.payment_action_required": _stuck,
    "invoice.finalization_failed": _stuck,
    "charge.succeeded": _charged,
    "charge.refunded": _refunded,
    "charge.refund.updated": _refund_changed,
    "refund.created": _refund_changed,
    "refund.updated": _refund_changed,
    "refund.failed": _refund_changed,
    "charge.dispute.created": _disputed,
    "charge.dispute.updated": _disputed,
    "charge.dispute.closed": _disputed,
    "charge.dispute.funds_withdrawn": _disputed,
    "charge.dispute.funds_reinstated": _disputed,
    "customer.created": _customer_changed,
    "customer.updated": _customer_changed,
    "customer.source.created": _source_changed,
    "customer.source.updated": _source_changed,
    "customer.source.expiring": _source_changed,
    "payment_method.attached": _method_changed,
    "payment_method.updated": _method_changed,
    "payment_method.automatically_updated": _method_changed,
}
