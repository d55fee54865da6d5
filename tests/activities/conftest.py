"""A contact in a welcome, and the activities with connectors that record."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities import running
from activities import signatures as ask
from activities.approval import Approval
from activities.deliver import Deliver
from activities.handoff import HandOff
from activities.record import Record
from connectors.errors import ConnectorError
from connectors.recording import Call, Recording
from contacts import journal, tables
from contacts.claims import Gate
from contacts.clock import Clock
from contacts.events import event, identities
from contacts.gate import Ask
from contacts.intake import Intake
from contacts.policy import Policy

MORNING = datetime(2030, 3, 4, 9, 0, tzinfo=UTC)  # a Monday, outside everybody's quiet hours


class Outside(Recording):
    """A recording connector that can be told which call goes wrong."""

    def after(self, calls: int, error: ConnectorError | None) -> None:
        """So many calls go well, and then one fails; None: its answer is lost."""
        self._well = calls
        self._error = error

    @contextmanager
    def _asked(self, call: Call) -> Iterator[None]:
        if getattr(self, "_well", None) == 0:
            self.lose_answer() if self._error is None else self.fail(self._error)
        self._well = getattr(self, "_well", 0) - 1
        with super()._asked(call):
            yield


@dataclass
class House:
    """Everything an activity needs, and short ways to look at what it did."""

    engine: AsyncEngine
    policy: Policy
    intake: Intake
    outside: Recording = field(default_factory=Outside)
    run: ask.RunRef = field(init=False)
    _told: int = 0

    async def tell(self, type: str, *, at: datetime = MORNING, **data: Any) -> Any:
        """Something happens to the contact."""
        self._told += 1
        happened = event(
            type,
            source="test",
            source_id=f"event-{self._told}",
            occurred_at=at,
            identities=identities(("email", "alice@example.com")),
            data=data,
        )
        return await self.intake.record(happened, at)

    async def tell_stranger(self, type: str, **data: Any) -> str:
        """Something happens to somebody without an address; returns their id."""
        someone = identities(("anonymous", "a-1"))
        happened = event(type, source="test", source_id="stranger", occurred_at=MORNING, identities=someone, data=data)
        return str((await self.intake.record(happened, MORNING)).contact_id)

    @property
    def deliver(self) -> Deliver:
        def links(contact_id: str, channel: str, purpose: str, key: str) -> dict[str, str]:
            return {name: f"https://hub.example.com/{name}" for name in ("unsubscribe_url", "preferences_url")}

        return Deliver(self.engine, Gate(self.policy, "test"), self.intake, {"email": self.outside}, links, Clock())

    async def wait(self, seconds: float) -> None:
        """Calls to the provider were made so much earlier."""
        earlier = sa.update(tables.touches).values(called_at=tables.touches.c.called_at - timedelta(seconds=seconds))
        async with self.engine.begin() as conn:
            await conn.execute(earlier)

    @property
    def hand_off(self) -> HandOff:
        people = {"crm": self.outside, "alert": self.outside, "public_url": "https://hub.example.com"}
        return HandOff(self.engine, self.intake, self.policy, clock=Clock(), **people)  # type: ignore[arg-type]

    @property
    def approval(self) -> Approval:
        return Approval(self.engine, self.intake, self.outside, "https://hub.example.com", Clock())

    @property
    def record(self) -> Record:
        return Record(self.engine, self.policy)

    def touch(self, template: str = "welcome", *, at: datetime = MORNING, **changes: Any) -> ask.DeliverRequest:
        """A request to deliver; by default a promotional mail."""
        request = ask.DeliverRequest(
            run=replace(self.run, now=at),
            key=f"{self.run.run_id}/greet/1",
            template=template,
            channel="email",
            purpose="promotional",
            asked_at=MORNING,
            entry={
                "id": "e",
                "type": "resource.downloaded",
                "occurred_at": MORNING.isoformat(),
                "data": {"resource": "seo-guide", "topic": "seo"},
            },
        )
        if changes.get("purpose") == "transactional":
            # The mails we have are no transactional ones: they want a link to opt out.
            changes["context"] = {
                "unsubscribe_url": "https://hub.example.com/u",
                "preferences_url": "https://hub.example.com/p",
            }
        return replace(request, **changes)

    async def claim(self, request: ask.DeliverRequest) -> None:
        """What a worker does that dies right after: the touch is claimed and nobody knows more."""
        wanted = Ask(
            key=request.key,
            template=request.template,
            channel=request.channel,
            purpose=request.purpose,
            journey=request.run.journey,
            now=request.run.now,
            valid_until=request.run.now + timedelta(days=7),
        )
        async with self.engine.begin() as conn:
            claim = await Gate(self.policy, "test").claim(
                conn, wanted, run_id=request.run.run_id, contact_id=request.run.contact_id, stage="greet"
            )
        assert claim.status == "claimed"

    async def rows(self, table: sa.Table) -> list[Any]:
        async with self.engine.connect() as conn:
            return list(await conn.execute(sa.select(table)))

    async def the_touch(self) -> Any:
        [row] = await self.rows(tables.touches)
        return row

    async def told(self, *kinds: str) -> list[dict[str, Any]]:
        """The data of the journal's entries of these kinds, in order."""
        async with self.engine.connect() as conn:
            return [{"kind": e.kind, **e.data} for _, e in await journal.read(conn) if e.kind in kinds]

    def calls(self, kind: type) -> list[Any]:
        return [call for call in self.outside.calls if isinstance(call, kind)]


@pytest.fixture
async def house(engine: AsyncEngine, policy: Policy, intake: Intake) -> House:
    house = House(engine, policy, intake)
    for purpose in ("promotional", "lifecycle"):
        before = MORNING - timedelta(minutes=1)
        await house.tell("consent.granted", at=before, channel="email", purpose=purpose, evidence="form")
    await house.tell("contact.updated", email="alice@example.com", first_name="Alice", timezone="Europe/Berlin")
    await house.tell("resource.downloaded", resource="seo-guide", topic="seo")
    [run] = await house.rows(tables.runs)
    assert run.journey == "welcome"
    house.run = ask.RunRef(run.id, run.contact_id, "welcome", "greet", MORNING)
    return house


@pytest.fixture
def attempt() -> ActivityEnvironment:
    """Runs an activity as a worker would, once."""
    return ActivityEnvironment()


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes inside an attempt."""
    monkeypatch.setattr(running, "monotonic", lambda: 100.0)
