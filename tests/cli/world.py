"""A contact's life in a real database, and the command line to look at it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from typer.testing import CliRunner, Result

import cli
from activities.record import open_review, write_lines
from activities.signatures import Line, RunRef
from contacts import approvals, policy, tables
from contacts.approvals import Question
from contacts.claims import Claim, Gate
from contacts.database import connect
from contacts.events import event, identities
from contacts.gate import Ask
from contacts.intake import Intake, Receipt
from contacts.policy import Policy
from workflows.registry import CARDS

ROOT = Path(__file__).parents[2]

FEW = tuple(
    card for card in CARDS if card.name in ("welcome", "nurture", "abandoned-checkout", "post-purchase-education")
)
"""Lives are told with these journeys, so that what is shown does not change with every further one."""

NOW = datetime.now(UTC).replace(microsecond=0)
"""Commands ask the machine what time it is, so lives are told relative to now."""


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


@dataclass
class World:
    """Facts in one database, written the way the worker and the gateway write them."""

    url: str
    policy: Policy = field(default_factory=lambda: policy.load(ROOT / "policy.toml"))

    def do(self, work: Callable[[AsyncEngine], Awaitable[Any]]) -> Any:
        async def connected() -> Any:
            engine = connect(self.url, pool_size=2)
            try:
                return await work(engine)
            finally:
                await engine.dispose()

        return asyncio.run(connected())

    def happens(
        self, type: str, *, at: datetime, whose: str = "ada@example.com", id: str | None = None, **data: Any
    ) -> Receipt:
        told = event(
            type,
            source="test",
            source_id=id or str(uuid4()),
            occurred_at=at,
            identities=identities(("email", whose)),
            data=data,
        )
        return self.do(lambda engine: Intake(engine, FEW, self.policy).record(told, at))

    def run(self, journey: str) -> RunRef:
        """The newest run of a journey."""

        async def find(engine: AsyncEngine) -> RunRef:
            async with engine.connect() as conn:
                query = sa.select(tables.runs).where(tables.runs.c.journey == journey)
                row = (await conn.execute(query.order_by(tables.runs.c.started_at.desc()))).first()
                assert row is not None
                return RunRef(row.id, row.contact_id, journey, row.stage or "", row.started_at)

        return self.do(find)

    def enters(self, journey: str, stage: str, *, at: datetime, waits_for: str, until: datetime) -> None:
        run = self.run(journey)
        lines = [
            Line(1, at, "stage", stage),
            Line(2, at, "wait", stage, until, {"reason": waits_for}),
        ]
        ref = RunRef(run.run_id, run.contact_id, journey, stage, at)

        async def note(conn: AsyncConnection) -> None:
            await write_lines(conn, ref, lines, until)

        self.within(note)

    def within(self, work: Callable[[AsyncConnection], Awaitable[Any]]) -> Any:
        async def transaction(engine: AsyncEngine) -> Any:
            async with engine.begin() as conn:
                return await work(conn)

        return self.do(transaction)

    def asks(self, journey: str, template: str, *, at: datetime, until: datetime | None = None) -> Claim:
        """A run asks the gate for a touch."""
        run = self.run(journey)
        ask = Ask(
            key=f"{run.run_id}/greet/{template}",
            template=template,
            channel="email",
            purpose="promotional",
            journey=journey,
            now=at,
            valid_until=until or at + timedelta(days=7),
        )
        gate = Gate(self.policy, "0.1.0")
        return self.within(
            lambda conn: gate.claim(conn, ask, run_id=run.run_id, contact_id=run.contact_id, stage="greet")
        )

    def sent(self, claim: Claim, *, at: datetime, **values: Any) -> None:
        gate = Gate(self.policy, "0.1.0")
        given = {
            "provider": "smtp",
            "provider_id": "<1@example.com>",
            "subject": "A guide [for you]",
            "template_hash": "abc123abc123",
            **values,
        }
        self.within(lambda conn: gate.settle(conn, claim.touch_id, "sent", at, **given))

    def hands_over(self, journey: str, *, at: datetime, id: str | None = None) -> str:
        """A run's hand-off, told to its owner."""
        run = self.run(journey)
        handoff_id = id or str(uuid4())
        values = {
            "id": handoff_id,
            "run_id": run.run_id,
            "contact_id": run.contact_id,
            "journey": journey,
            "owner": "sales",
            "reason": "Looked at the pricing page.",
            "because_at": at,
            "opened_at": at,
            "tell_by": at + timedelta(minutes=30),
            "contact_by": at + timedelta(minutes=60),
            "told_at": at,
        }
        self.within(lambda conn: conn.execute(sa.insert(tables.handoffs).values(values)))
        return handoff_id

    def asks_approval(self, journey: str, *, at: datetime, until: datetime, id: str | None = None) -> str:
        """A run asks a person for a yes."""
        run = self.run(journey)
        question = Question(id or str(uuid4()), run.run_id, run.contact_id, journey, "a small present", until)
        line = Line(9, at, "approval", "greet", until, {"reason": question.what, "name": f"greet/{question.what}"})
        ref = RunRef(run.run_id, run.contact_id, journey, "greet", at)

        async def ask(conn: AsyncConnection) -> None:
            await approvals.ask(conn, question, at)
            await write_lines(conn, ref, [line], until)

        self.within(ask)
        return question.approval_id

    def needs_review(self, journey: str, reason: str, *, at: datetime) -> None:
        run = self.run(journey)
        ref = RunRef(run.run_id, run.contact_id, journey, "greet", at)
        self.within(lambda conn: open_review(conn, ref, run.contact_id, reason, [{"text": "entered greet"}]))

    def stores(self, connector: str, body: bytes, *, status: str = "failed", error: str | None = "no") -> int:
        values = {
            "connector": connector,
            "received_at": ago(hours=1),
            "method": "POST",
            "url": f"https://hub.example.com/webhooks/{connector}",
            "headers": {},
            "body": body,
            "status": status,
            "error": error,
        }
        query = sa.insert(tables.inbox).values(values).returning(tables.inbox.c.id)
        return self.within(lambda conn: conn.execute(query)).scalar_one()

    def rows(self, query: sa.Select[Any]) -> list[Any]:
        async def fetch(conn: AsyncConnection) -> list[Any]:
            return list(await conn.execute(query))

        return self.within(fetch)


def perennial(*args: str, columns: int = 120, input: str | bytes | None = None) -> Result:
    """Runs a command line."""
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(cli.app, args, input=input, prog_name="perennial")


def said(*args: str) -> list[Any]:
    """What a command line that succeeds answers with ``--json``, line by line."""
    result = perennial(*args, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def failed(*args: str, status: int, input: str | bytes | None = None) -> str:
    """The one line of a command line that fails."""
    result = perennial(*args, input=input)
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("perennial: ")
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    return result.stderr.removeprefix("perennial: ").rstrip("\n")
