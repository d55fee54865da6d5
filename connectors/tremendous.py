"""Tremendous: gift cards go out by e-mail; whether they arrived comes in.

Money leaves here. An order carries the touch's key as its ``external_id``: the same key again is answered with the
first order and makes no other. What a gift may be worth is bounded by a setting, whatever a message asks for.
"""

from binascii import hexlify
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, ClassVar

import httpx
from pydantic import BaseModel, BeforeValidator, Field, HttpUrl, SecretStr, StringConstraints
from pydantic_settings import SettingsConfigDict

from connectors import http
from connectors.base import Accepted, Message, Polled, Refused, Request
from connectors.credentials import Credentials
from connectors.errors import BadAddress, NeverAgain, TryAgain
from connectors.fields import checked
from connectors.limits import LINE, TEXT, Limits
from connectors.webhook import Body, Moment, check_signature, one_line_errors, secrets_in
from contacts.events import Event, Identity, event, identities, identity, minor_digits

PAGE = 100

LONGEST_CARD = 2_000
"""Characters."""

_LIMITS = Limits(
    "tremendous",
    named={"card": LONGEST_CARD, "metadata.name": 100, "metadata.campaign": LINE, "metadata.products": TEXT},
)
"""Tremendous says nothing of lengths: these are ours."""

OUT_OF_FUNDS = timedelta(hours=6)
"""When an order is tried again that the balance did not cover. Somebody has to pay money in, which takes its time."""

WATCHED = timedelta(days=14)
"""How long it is asked what became of a gift."""


class TremendousSettings(Credentials):
    """``TREMENDOUS_*``.

    Attributes:
        base_url: ``https://testflight.tremendous.com/api/v2`` is the sandbox, where nothing costs money.
        signing_secret: The webhook's private key; several with commas.
        funding_source: What pays: a funding source's id, or ``BALANCE``.
        campaign: The campaign that says what a gift looks like and what may be chosen.
        products: What may be chosen instead, by id, with commas.
        amount: What a gift is worth that names no amount, in ``currency``; ``25.00``.
        limit: The most that any gift may be worth; without it, ``amount``.
    """

    model_config = SettingsConfigDict(env_prefix="TREMENDOUS_")

    api_key: SecretStr | None = None
    base_url: HttpUrl = HttpUrl("https://www.tremendous.com/api/v2")
    signing_secret: SecretStr | None = None
    funding_source: str | None = None
    campaign: str | None = None
    products: str | None = None
    amount: Annotated[Decimal, Field(gt=0)] | None = None
    currency: Annotated[str, StringConstraints(to_upper=True, pattern=r"^[A-Za-z]{3}$")] = "USD"
    limit: Annotated[Decimal, Field(gt=0)] | None = None


@checked
class Tremendous:
    """The ``Sender`` of gift cards. Its ``Source`` and its ``Poller`` say whether they arrived."""

    name: ClassVar[str] = "tremendous"
    channel: ClassVar[str] = "gift"
    idempotent: ClassVar[bool] = True
    listed_within: ClassVar[timedelta | None] = None
    every: ClassVar[timedelta] = timedelta(hours=1)

    def __init__(self, settings: TremendousSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    async def send(self, message: Message) -> Accepted:
        """See ``Sender.send``. ``provider_id`` is the reward's id, which webhooks name.

        The e-mail says what the ``card`` says. ``metadata`` may say ``amount``, ``currency``, ``campaign``,
        ``products`` and ``name`` (the recipient's); the settings say the rest. The message's text is written for a
        colleague who chooses a present, and does not go out.
        """
        if identity("email", message.to) is None:
            raise BadAddress(self.name, "the recipient's address is not an e-mail address")
        request = self._request("POST", "/orders", json=self._order(message))
        try:
            answer, request_id = await http.exchange(self._client, _PROVIDER, request, _Ordered, idempotent=False)
        except http.Rejected as refused:
            if refused.status != 402:
                raise
            reason = "402 the funding source does not cover it"
            raise TryAgain(self.name, reason, delay=OUT_OF_FUNDS, request_id=refused.request_id) from None
        order = answer.order
        if order.status in ("FAILED", "CANCELED"):
            # With a key that came before, this is the first order: it will not come to life.
            raise NeverAgain(self.name, f"the order is {order.status.lower()}", request_id=request_id)
        return Accepted(order.rewards[0].id if order.rewards else order.id, request_id)

    async def look_up(self, key: str) -> Accepted | None:
        """Never asked, for the same key twice makes one order.

        Raises:
            NeverAgain: Always.
        """
        raise NeverAgain(self.name, "the same key again is answered with the first order; there is nothing to look up")

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. The signature covers no time, so a repeat can only be known by its id."""
        secrets = secrets_in(self._settings.signing_secret)
        scheme, _, signature = request.headers.get("tremendous-webhook-signature", "").partition("=")
        if scheme != "sha256" or not signature:
            raise Refused(401, "there is no Tremendous-Webhook-Signature header of the form sha256=...")
        check_signature(secrets, request.body, [signature], hexlify)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. Tremendous names the reward and nobody: ``provider_id`` is what ``send`` returned."""
        with one_line_errors():
            notice = _Notice.model_validate_json(request.body)
            if notice.event not in _TOLD:
                return []
            type, facts = _TOLD[notice.event]
            thing = notice.payload.resource
            data = {**facts, "channel": self.channel, "provider_id": thing.id, "resource": thing.type}
            return [_said(type, thing.id, notice.event, notice.created_utc, (), data)]

    async def poll(self, cursor: str | None, now: datetime) -> Polled:
        """See ``Poller.poll``. Orders name the touch and the recipient, which webhooks do not."""
        if cursor is None:
            return Polled([], _Cursor(since=now).model_dump_json())
        at = _Cursor.model_validate_json(cursor)
        since = max(at.since, now - WATCHED)
        params = {"created_at[gte]": since.astimezone(UTC).isoformat(), "limit": str(PAGE), "offset": str(at.offset)}
        request = self._request("GET", "/orders", params=params)
        page = await http.call(self._client, _PROVIDER, request, _Orders, idempotent=True)
        events = [e for order in page.orders for e in _became(order, now)]
        more = len(page.orders) == PAGE
        after = _Cursor(since=since, offset=at.offset + PAGE if more else 0)
        return Polled(events, after.model_dump_json(), more=more)

    def _order(self, message: Message) -> dict[str, Any]:
        settings, asked = self._settings, message.metadata
        if not settings.funding_source:
            raise NeverAgain(self.name, "nothing is set to pay with (TREMENDOUS_FUNDING_SOURCE)")
        campaign = asked.get("campaign") or settings.campaign
        products = [p.strip() for p in (asked.get("products") or settings.products or "").split(",") if p.strip()]
        if not (campaign or products):
            raise NeverAgain(self.name, "nothing is set to give (TREMENDOUS_CAMPAIGN or TREMENDOUS_PRODUCTS)")
        _LIMITS.check({"card": message.card, **{f"metadata.{name}": value for name, value in asked.items()}})
        recipient = {"email": message.to, **({"name": asked["name"]} if asked.get("name") else {})}
        meta = {"message": message.card} if message.card else {}
        return {
            "external_id": message.key,
            "payment": {"funding_source_id": settings.funding_source},
            "reward": {
                "value": {"denomination": float(self._amount(asked)), "currency_code": settings.currency},
                "recipient": recipient,
                "delivery": {"method": "EMAIL", **({"meta": meta} if meta else {})},
                **({"campaign_id": campaign} if campaign else {}),
                **({"products": products} if products else {}),
            },
        }

    def _amount(self, asked: Mapping[str, str]) -> Decimal:
        settings = self._settings
        # The limit is in the settings' currency: in another one it would bound nothing.
        if asked.get("currency", settings.currency).upper() != settings.currency:
            raise NeverAgain(self.name, f"metadata.currency: only {settings.currency} is given")
        try:
            amount = Decimal(asked["amount"]) if asked.get("amount") else settings.amount
        except InvalidOperation:
            raise NeverAgain(self.name, "metadata.amount: is not an amount such as 25.00") from None
        if amount is None:
            raise NeverAgain(self.name, "nothing says what the gift is worth (TREMENDOUS_AMOUNT)")
        most = settings.limit or settings.amount
        if most is None:
            raise NeverAgain(self.name, "nothing says what a gift may be worth at most (TREMENDOUS_LIMIT)")
        if not amount.is_finite() or amount <= 0:
            raise NeverAgain(self.name, "metadata.amount: is not an amount such as 25.00")
        if amount > most:
            raise NeverAgain(self.name, f"the gift is worth more than {most} {settings.currency} (TREMENDOUS_LIMIT)")
        if amount != round(amount, minor_digits(settings.currency)):
            raise NeverAgain(self.name, f"metadata.amount: is no amount that {settings.currency} has")
        return amount

    def _request(self, method: str, path: str, **what: Any) -> httpx.Request:
        if not self._settings.api_key:
            raise NeverAgain(self.name, "no API key is set (TREMENDOUS_API_KEY)")
        url = str(self._settings.base_url).rstrip("/") + path
        headers = {"Authorization": f"Bearer {self._settings.api_key.get_secret_value().strip()}"}
        return self._client.build_request(method, url, headers=headers, **what)


def _refusal(response: httpx.Response) -> http.Refusal:
    errors = http.body_of(response).get("errors")
    payload = errors.get("payload") if isinstance(errors, dict) else None
    # The payload mirrors what was wrong in our request: its names say where, its texts quote it.
    return http.Refusal(http.codes(*_names(payload)[:6]), response.headers.get("x-request-id"))


def _names(payload: object) -> list[str]:
    if not isinstance(payload, dict):
        return []
    return [name for key, inner in payload.items() for name in (str(key), *_names(inner))]


# 409: an order with this key is being made just now.
_PROVIDER = http.Provider("tremendous", busy=frozenset({429}), unclear=frozenset({408, 409}), read=_refusal)

_TOLD: dict[str, tuple[str, dict[str, Any]]] = {
    "REWARDS.DELIVERY.SUCCEEDED": ("message.delivered", {}),
    # It can be sent once more, to the same address or another: no address is given up for it.
    "REWARDS.DELIVERY.FAILED": ("message.bounced", {"permanent": False, "reason": "delivery_failed"}),
    "REWARDS.CANCELED": ("custom.gift_canceled", {}),
    "REWARDS.FLAGGED": ("custom.gift_flagged", {}),
    "ORDERS.CANCELED": ("custom.gift_canceled", {}),
    "ORDERS.FAILED": ("custom.gift_failed", {}),
}
"""What Tremendous says in webhooks, and for a reward's delivery in its orders too."""


def _said(type: str, id: str, what: str, at: datetime, who: tuple[Identity, ...], data: Mapping[str, Any]) -> Event:
    known = {name: value for name, value in data.items() if value is not None}
    # Told by webhook and by order, it is one event.
    source_id = f"{what}/{id}"
    return event(type, source=Tremendous.name, source_id=source_id, occurred_at=at, identities=who, data=known)


def _became(order: "_Order", now: datetime) -> list[Event]:
    found: list[Event] = []
    for reward in order.rewards:
        what = f"REWARDS.DELIVERY.{reward.delivery.status}" if reward.delivery else ""
        email = reward.recipient.email if reward.recipient else None
        who = identities(("email", email))
        if what in _TOLD and who:
            type, facts = _TOLD[what]
            data = {
                **facts,
                "channel": Tremendous.channel,
                "touch": order.external_id,
                "provider_id": reward.id,
                "address": who[0].value,
            }
            # Orders say how it stands, and not since when.
            found.append(_said(type, reward.id, what, now, who, data))
    return found


class _Cursor(BaseModel):
    since: Moment
    offset: Annotated[int, Field(ge=0)] = 0


def _utc(value: Any) -> Any:
    """``created_utc`` says in its name what it leaves out of its value."""
    if not isinstance(value, str):
        return value
    text = value.strip().removesuffix("UTC").strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _listed(value: Any) -> Any:
    return [] if value is None else value


class _Delivery(Body):
    status: str | None = None


class _Recipient(Body):
    email: str | None = None


class _Reward(Body):
    id: str
    delivery: _Delivery | None = None
    recipient: _Recipient | None = None


class _Order(Body):
    id: str
    external_id: str | None = None
    status: str = ""
    rewards: Annotated[list[_Reward], BeforeValidator(_listed)] = Field(default_factory=list)


class _Ordered(Body):
    order: _Order


class _Orders(Body):
    orders: list[_Order]


class _Resource(Body):
    id: Annotated[str, Field(min_length=1, max_length=100)]
    type: str = ""


class _Payload(Body):
    resource: _Resource


class _Notice(Body):
    event: str
    created_utc: Annotated[Moment, BeforeValidator(_utc)]
    payload: _Payload
