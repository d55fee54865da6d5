"""The outside systems of a drill: they tell the front door what happened until it says 2xx, signed as vendors sign."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from time import monotonic
from typing import Any

import httpx

from chaos.lives import Act
from contacts.clock import Clock

WRITE_KEY = "drill-write-key"
SECRETS = {
    "STRIPE_SIGNING_SECRET": "whsec_of_the_drill",
    "ZENDESK_SIGNING_SECRET": "secret-of-the-drill",
    "PERENNIAL_EVENTS_SECRET": "whsec_" + base64.b64encode(b"a secret for thirty-two letters!!").decode(),
    "PERENNIAL_WRITE_KEYS": WRITE_KEY,
}
"""What the gateway of a drill must be started with."""

_AT_ONCE = 24
_PAUSE = 0.5


@dataclass(frozen=True)
class Acknowledged:
    """An act that was answered 2xx.

    Attributes:
        at: When that was so for the first time, on this process's monotonic clock.
        begun: When it was first sent: from then on it may have had its effect.
    """

    act: Act
    at: float
    begun: float = -inf


@dataclass
class Teller:
    """Tells acts.

    Attributes:
        begins: The journeys' time at which the drill began.
        acknowledged: What was answered 2xx, by the act's id.
        tellings: How often anything was told to the end, and ``attempts`` what it took.
        refused: Answers that no repeat will change; there should be none.
    """

    gateway: str
    clock: Clock
    begins: datetime
    acknowledged: dict[str, Acknowledged] = field(default_factory=dict)
    tellings: int = 0
    attempts: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    _begun: dict[str, float] = field(default_factory=dict)
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    _client: httpx.AsyncClient = field(
        default_factory=lambda: httpx.AsyncClient(
            timeout=10, trust_env=False, limits=httpx.Limits(max_connections=_AT_ONCE)
        )
    )

    def when(self, days: float) -> datetime:
        """The journeys' time so many days after the beginning."""
        return self.begins + timedelta(days=days)

    async def until(self, days: float) -> None:
        """Waits until then."""
        await asyncio.sleep(max(0.0, self.clock.machine_seconds(self.when(days) - self.clock.now())))

    async def tell(self, act: Act) -> None:
        """Tells it until it is answered 2xx."""
        async with self._room:
            begun = self._begun.setdefault(act.id, monotonic())
            while True:
                self.attempts += 1
                try:
                    response = await self._client.send(self._request(act))
                except httpx.TransportError as error:
                    self.failures[type(error).__name__] += 1
                else:
                    if response.is_success:
                        break
                    self.failures[str(response.status_code)] += 1
                    if response.status_code < 500:
                        self.refused.append(f"{act.type} {response.status_code} {response.text[:200]}")
                        return
                await asyncio.sleep(_PAUSE)
        self.tellings += 1
        self.acknowledged.setdefault(act.id, Acknowledged(act, monotonic(), begun))

    async def close(self) -> None:
        """Ends the connections."""
        await self._client.aclose()

    def source_of(self, act: Act) -> tuple[str, str]:
        """(source, source id) of the event that it must become."""
        match act.door:
            case "track":
                return "track", act.id
            case "cloudevents":
                return f"cloudevents:{_SENDER}", act.id
            case "stripe":
                return "stripe", f"evt_{act.id}"
            case "zendesk":
                return "zendesk", f"{act.type}:{act.data['ticket_id']}:{self._second(act).isoformat()}"

    def _request(self, act: Act) -> httpx.Request:
        makers: dict[str, Callable[[Act], tuple[str, bytes, dict[str, str]]]] = {
            "track": self._track,
            "cloudevents": self._cloudevent,
            "stripe": self._stripe,
            "zendesk": self._zendesk,
        }
        path, body, headers = makers[act.door](act)
        given = {"content-type": "application/json", **headers}
        return self._client.build_request("POST", self.gateway + path, content=body, headers=given)

    def _track(self, act: Act) -> tuple[str, bytes, dict[str, str]]:
        anonymous = act.under is not None and not act.joins
        call: dict[str, Any] = {
            **({} if anonymous else {"userId": f"user-{act.email}"}),
            **({"anonymousId": act.under} if act.under is not None else {}),
            "messageId": act.id,
            "timestamp": self.when(act.happens).isoformat(),
            "sentAt": self.clock.now().isoformat(),
        }
        if act.type == "identify":
            call["traits"] = {"email": act.email, **act.data}
        else:
            context = {} if anonymous else {"traits": {"email": act.email}}
            call |= {"event": act.type, "properties": act.data, "context": context}
        path = "/v1/identify" if act.type == "identify" else "/v1/track"
        token = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
        return path, json.dumps(call).encode(), {"authorization": f"Basic {token}"}

    def _cloudevent(self, act: Act) -> tuple[str, bytes, dict[str, str]]:
        names = {"email": act.email, **({"stripe": _customer(act.under)} if act.under is not None else {})}
        body = json.dumps(
            {
                "specversion": "1.0",
                "id": act.id,
                "source": _SENDER,
                "type": act.type,
                "time": self.when(act.happens).isoformat(),
                "data": {"identities": names, **act.data},
            }
        ).encode()
        sent = str(int(datetime.now(UTC).timestamp()))
        key = base64.b64decode(SECRETS["PERENNIAL_EVENTS_SECRET"].removeprefix("whsec_"))
        mac = hmac.new(key, f"msg-{act.id}.{sent}.".encode() + body, hashlib.sha256).digest()
        headers = {
            "content-type": "application/cloudevents+json",
            "webhook-id": f"msg-{act.id}",
            "webhook-timestamp": sent,
            "webhook-signature": "v1," + base64.b64encode(mac).decode(),
        }
        return "/events", body, headers

    def _stripe(self, act: Act) -> tuple[str, bytes, dict[str, str]]:
        email = act.under or act.email
        name = email.partition("@")[0]
        thing: dict[str, Any]
        if act.type == "checkout.session.completed":
            checkout = act.data["checkout_id"]
            thing = {
                "id": f"cs_{act.id}",
                "object": "checkout.session",
                "mode": "payment",
                "payment_status": "paid",
                "status": "complete",
                "amount_total": 4900,
                "currency": "eur",
                "customer": _customer(email),
                "customer_details": {"email": email},
                "metadata": {"checkout_id": checkout} if checkout else {},
            }
        else:
            paid = act.type == "invoice.paid"
            thing = {
                "id": act.data["invoice_id"],
                "object": "invoice",
                "customer": _customer(email),
                "customer_email": email,
                "amount_due": 1900,
                "amount_paid": 1900 if paid else 0,
                "attempt_count": 1,
                "currency": "eur",
                "next_payment_attempt": None if paid else int(self.when(act.happens + 3).timestamp()),
                "parent": {"type": "subscription_details", "subscription_details": {"subscription": f"sub_{name}"}},
            }
        body = json.dumps(
            {
                "id": f"evt_{act.id}",
                "object": "event",
                "created": int(self.when(act.happens).timestamp()),
                "livemode": False,
                "type": act.type,
                "data": {"object": thing},
            }
        ).encode()
        sent = str(int(datetime.now(UTC).timestamp()))
        mac = hmac.new(SECRETS["STRIPE_SIGNING_SECRET"].encode(), sent.encode() + b"." + body, hashlib.sha256)
        return "/webhooks/stripe", body, {"stripe-signature": f"t={sent},v1={mac.hexdigest()}"}

    def _zendesk(self, act: Act) -> tuple[str, bytes, dict[str, str]]:
        given = {
            "type": act.type,
            "requester_email": act.email,
            "priority": "normal",
            "updated_at": self._second(act).isoformat(),
            **act.data,
        }
        body = json.dumps(given).encode()
        sent = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        mac = hmac.new(SECRETS["ZENDESK_SIGNING_SECRET"].encode(), sent.encode() + body, hashlib.sha256).digest()
        headers = {
            "x-zendesk-webhook-signature": base64.b64encode(mac).decode(),
            "x-zendesk-webhook-signature-timestamp": sent,
        }
        return "/webhooks/zendesk", body, headers

    def _second(self, act: Act) -> datetime:
        return self.when(act.happens).replace(microsecond=0)


def _customer(email: str) -> str:
    """Stripe's id of whoever has this address."""
    return f"cus_{email.partition('@')[0]}"


_SENDER = "urn:example:drill"

Telling = Callable[[Act], Awaitable[None]]
