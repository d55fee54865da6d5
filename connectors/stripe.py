"""Stripe: billing events in, by webhook and by asking; customers, open invoices and card pages out."""

from binascii import hexlify
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

import httpx
from pydantic import AwareDatetime, Field, HttpUrl, SecretStr, StringConstraints
from pydantic_core import from_json, to_json
from pydantic_settings import SettingsConfigDict

from connectors import http, stripe_events
from connectors.base import Polled, Refused, Request
from connectors.credentials import Credentials
from connectors.errors import NeverAgain
from connectors.fields import check_header, checked
from connectors.limits import Limits
from connectors.stripe_events import Customer
from connectors.webhook import Body, check_age, check_signature, secrets_in
from contacts.events import Event, Identity

API_VERSION = "2026-10-28.endive"

_PAGE = 100
"""Events in an answer; Stripe gives no more."""

_LIMITS = Limits("stripe", named={"key": 255, "email": 512, "invoice_id": 5_000})


class StripeSettings(Credentials):
    """``STRIPE_*``. Several signing secrets may stand side by side, with commas, while one is rolled.

    Attributes:
        livemode: Whose events are taken: true for real ones only, false for tests only, None for both.
        portal_return_url: Where a customer goes from the card page; None: no link back.
    """

    model_config = SettingsConfigDict(env_prefix="STRIPE_")

    signing_secret: SecretStr | None = None
    api_key: SecretStr | None = None
    livemode: bool | None = None
    base_url: HttpUrl = HttpUrl("https://api.stripe.com")
    portal_return_url: HttpUrl | None = None
    # Stripe takes 25 a second on most endpoints, and as many of a whole sandbox.
    calls_per_second: Annotated[float, Field(gt=0)] | None = 20.0


@checked
class Stripe:
    """``Source`` and ``Poller`` of billing events, ``Directory`` of customers, ``LiveFacts`` of open invoices."""

    name: ClassVar[str] = stripe_events.SOURCE
    every: ClassVar[timedelta] = timedelta(minutes=5)

    def __init__(self, settings: StripeSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. An event of the wrong mode is refused, so that Stripe's console shows the mistake."""
        secrets = secrets_in(self._settings.signing_secret)
        sent, signatures = _signature_header(request.headers.get("stripe-signature", ""))
        check_signature(secrets, sent.encode() + b"." + request.body, signatures, hexlify)
        check_age(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(sent)), now)
        if self._wrong_mode(_livemode(request.body)):
            wanted = "live" if self._settings.livemode else "test"
            raise Refused(400, f"only {wanted} events are taken here (STRIPE_LIVEMODE)")

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. The source id is Stripe's event id, which its retries repeat."""
        return stripe_events.read(request.body)

    async def poll(self, cursor: str | None, now: datetime) -> Polled:
        """See ``Poller.poll``. The cursor is the newest event's id.

        The events are those of the webhook, with the same source ids. Stripe keeps them for thirty days: whoever was
        away longer begins anew at the newest.
        """
        if cursor is None:
            return await self._newest()
        params = {"limit": str(_PAGE), **({"ending_before": cursor} if cursor else {})}
        try:
            page = await self._get("/events", _Events, **params)
        except http.Rejected as error:
            if error.status not in (400, 404) or "resource_missing" not in error.reason:
                raise
            return await self._newest()
        told: list[Event] = []
        for item in reversed(page.data):
            if self._wrong_mode(item.get("livemode")):
                continue
            try:
                told += stripe_events.read(to_json(item))
            except ValueError:
                # It must not stand in the way of what comes after it; the webhook's inbox keeps it with its error.
                continue
        # Without a cursor "more" means older events, and the account had none when we last looked.
        return Polled(told, page.newest or cursor, more=page.has_more and bool(cursor))

    async def _newest(self) -> Polled:
        return Polled([], (await self._get("/events", _Events, limit="1")).newest or "")

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
        _LIMITS.check({"email": email})
        page = await self._get("/customers", _Customers, email=email, limit="1")
        return page.data[0] if page.data else None

    def knows(self, name: str) -> bool:
        """See ``LiveFacts.knows``."""
        return name == "invoice"

    async def fetch(self, name: str, person: Sequence[Identity], about: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """See ``LiveFacts.fetch``. ``invoice`` is an open invoice, with the page where any card can pay it.

        That page works for weeks, as a mail needs it. It is the invoice that the message is about, if that one is open
        and this person's. Where the message names none it is their only open one: of several none is given, for which
        one is meant cannot be told.
        """
        if not self.knows(name):
            return None
        named = about.get("invoice_id")
        invoice = await self._their_invoice(person, named) if isinstance(named, str) else await self._only_one(person)
        if invoice is None or invoice.hosted_invoice_url is None:
            return None
        return {
            "value": stripe_events.minor(invoice.amount_remaining, invoice.currency),
            "currency": invoice.currency,
            "number": invoice.number,
            "card_url": invoice.hosted_invoice_url,
            "retry_at": invoice.next_payment_attempt.isoformat() if invoice.next_payment_attempt else None,
        }

    async def card_page(self, customer_id: str, key: str) -> str:
        """A page on which this customer puts in another card, made now and worth a visit at once.

        It lets whoever has it act for the customer, and Stripe closes it if nobody comes soon: make it when the
        customer clicks, and send them on. It is of no use in a mail.

        Args:
            customer_id: Stripe's.
            key: Names the click: the same twice within a day is the same page.

        Raises:
            TryAgain, NeverAgain: see ``connectors.errors``.
        """
        if not key:
            raise NeverAgain(self.name, "key: is empty")
        _LIMITS.check({"key": key})
        check_header(self.name, "key", key)
        wanted = {"customer": customer_id, "flow_data[type]": "payment_method_update"}
        if self._settings.portal_return_url:
            wanted["return_url"] = str(self._settings.portal_return_url)
            wanted["flow_data[after_completion][type]"] = "redirect"
            wanted["flow_data[after_completion][redirect][return_url]"] = wanted["return_url"]
        headers = {**self._headers(), "Idempotency-Key": key}
        url = self._url("/billing_portal/sessions")
        request = self._client.build_request("POST", url, data=wanted, headers=headers)
        return (await http.call(self._client, _PROVIDER, request, _Page, idempotent=True)).url

    async def _their_invoice(self, person: Sequence[Identity], id: str) -> "_OpenInvoice | None":
        _LIMITS.check({"invoice_id": id})
        try:
            invoice = await self._get(f"/invoices/{quote(id, safe='')}", _OpenInvoice)
        except http.Rejected as error:
            if error.status != 404:
                raise
            return None
        if invoice.status != "open" or invoice.customer is None:
            return None
        theirs = Identity("stripe", invoice.customer) in person or invoice.customer == await self._customer_id(person)
        return invoice if theirs else None

    async def _only_one(self, person: Sequence[Identity]) -> "_OpenInvoice | None":
        customer = await self._customer_id(person)
        if customer is None:
            return None
        page = await self._get("/invoices", _Invoices, customer=customer, status="open", limit="2")
        return page.data[0] if len(page.data) == 1 else None

    async def _customer_id(self, person: Sequence[Identity]) -> str | None:
        known_as = {identity.kind: identity.value for identity in person}
        if "stripe" in known_as:
            return known_as["stripe"]
        found = await self.customer_by_email(known_as["email"]) if "email" in known_as else None
        return found.id if found else None

    def _wrong_mode(self, livemode: object) -> bool:
        return isinstance(livemode, bool) and self._settings.livemode not in (None, livemode)

    def _headers(self) -> dict[str, str]:
        if not self._settings.api_key:
            raise NeverAgain(self.name, "no API key is set (STRIPE_API_KEY)")
        return {
            "Authorization": f"Bearer {self._settings.api_key.get_secret_value().strip()}",
            "Stripe-Version": API_VERSION,
        }

    def _url(self, path: str) -> str:
        return f"{str(self._settings.base_url).rstrip('/')}/v1{path}"

    async def _get(self, path: str, answer: type[http.Answer], **params: str) -> http.Answer:
        request = self._client.build_request("GET", self._url(path), params=params, headers=self._headers())
        return await http.call(self._client, _PROVIDER, request, answer, idempotent=True)


class _Customers(Body):
    data: list[Customer]


class _OpenInvoice(Body):
    status: str | None = None
    customer: str | None = None
    number: str | None = None
    amount_remaining: int | None = None
    currency: Annotated[str, StringConstraints(to_upper=True)] | None = None
    next_payment_attempt: AwareDatetime | None = None
    hosted_invoice_url: str | None = None


class _Invoices(Body):
    data: list[_OpenInvoice]


class _Page(Body):
    url: str


class _Events(Body):
    data: list[dict[str, Any]]
    has_more: bool = False

    @property
    def newest(self) -> str | None:
        newest = self.data[0].get("id") if self.data else None
        return newest if isinstance(newest, str) else None


def _refusal(response: httpx.Response) -> http.Refusal:
    error = http.body_of(response).get("error")
    error = error if isinstance(error, dict) else {}
    reason = http.codes(error.get("type"), error.get("code"), error.get("param"))
    return http.Refusal(reason, response.headers.get("request-id"))


_PROVIDER = http.Provider("stripe", busy=frozenset({409, 429}), read=_refusal)


def _livemode(body: bytes) -> object:
    """Of a body that has one; what is no notice at all is for ``parse`` to say."""
    try:
        notice = from_json(body)
    except ValueError:
        return None
    return notice.get("livemode") if isinstance(notice, dict) else None


def _signature_header(header: str) -> tuple[str, list[str]]:
    """The timestamp as it was signed, and every ``v1`` signature of ``t=...,v1=...[,v1=...]``."""
    fields = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in fields if name == "t"]
    if not header:
        raise Refused(401, "there is no Stripe-Signature header")
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 11):
        raise Refused(400, "the Stripe-Signature header has no readable timestamp")
    return times[0], [value for name, _, value in fields if name == "v1"]
