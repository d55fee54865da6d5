"""What the tests of the front door share: a sender of their own, the clock, and a look into the tables."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import uuid4

import httpx
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.base import Refused, Request
from contacts.clock import Clock
from contacts.events import Event, event, identities
from contacts.tables import contacts, events, inbox
from contacts.tables import identities as identity_table
from door.app import create_app
from door.door import Door

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
KEY = "write-key-of-the-tests"
EVENTS_SECRET = "whsec_" + "bXkgc2VjcmV0IG9mIHR3ZW50eS1mb3VyIGJ5dGVzIQ=="
PUBLIC_URL = "https://hub.example.com"


class Stopped(Clock):
    """A clock that stands at ``start``."""

    def now(self) -> datetime:
        return self.start


class Garden:
    """A system of our own making: ``{"events": [{"id", "email", "type", "data"}]}``, signed by a shared secret."""

    name: ClassVar[str] = "garden"
    secret = b"garden-secret"

    def verify(self, request: Request, now: datetime) -> None:
        given = request.headers.get("x-garden", "")
        if not hmac.compare_digest(given.encode(), self.sign(request.url, request.body).encode()):
            raise Refused(401, "the signature does not match")

    def parse(self, request: Request, received_at: datetime) -> list[Event]:
        document = json.loads(request.body)
        if not isinstance(document, dict):
            raise ValueError("the body is not an object")
        return [
            event(
                e["type"],
                source=self.name,
                source_id=e["id"],
                occurred_at=received_at,
                identities=identities(("email", e.get("email"))),
                data=e.get("data"),
            )
            for e in document.get("events", ())
        ]

    def sign(self, url: str, body: bytes) -> str:
        return hmac.new(self.secret, url.encode() + body, hashlib.sha256).hexdigest()


def client_of(door: Door) -> httpx.AsyncClient:
    """A client of the app in this process; an exception that escapes the app fails the test."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(door)), base_url="http://inside:8080")


def unique(prefix: str = "t") -> str:
    """An id no other test has: tests share a database."""
    return f"{prefix}-{uuid4().hex[:12]}"


class Stored:
    """What is in the database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def events(self, kind: str, value: str) -> list[Any]:
        """The events of the contact with this identity, in the order they came."""
        whose = sa.select(identity_table.c.contact_id).where(
            identity_table.c.kind == kind, identity_table.c.value == value
        )
        async with self._engine.connect() as conn:
            query = sa.select(events).where(events.c.contact_id.in_(whose)).order_by(events.c.received_at, events.c.id)
            return list(await conn.execute(query))

    async def facts(self, kind: str, value: str) -> dict[str, Any]:
        query = sa.select(contacts.c.facts).join(identity_table, identity_table.c.contact_id == contacts.c.id)
        query = query.where(identity_table.c.kind == kind, identity_table.c.value == value)
        async with self._engine.connect() as conn:
            return (await conn.execute(query)).scalar_one()  # type: ignore[no-any-return]

    async def consent(self, kind: str, value: str) -> dict[str, bool]:
        """``email/promotional`` -> granted."""
        consents = (await self.facts(kind, value))["consents"]
        return {name: consent["granted"] for name, consent in consents.items()}

    async def inbox(self, marker: str) -> list[Any]:
        """Kept requests whose body contains a text."""
        has = sa.text("position(cast(:marker as bytea) in body) > 0").bindparams(marker=marker.encode())
        async with self._engine.connect() as conn:
            return list(await conn.execute(sa.select(inbox).where(has)))
