"""Other systems are told what the policy says, once for each event, and again when somebody asks for it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import policy as policies
from contacts import tables, tellings
from contacts.intake import Intake
from contacts.policy import Endpoint, Outgoing, PolicyError
from contacts.relay import NotYet, Relay
from tests.contacts.support import START, changed, rows, told


class Heard:
    """Temporal as the relay sees it."""

    def __init__(self) -> None:
        self.tellings: list[Mapping[str, Any]] = []
        self.away = False

    async def tell(self, telling: Mapping[str, Any]) -> None:
        if self.away:
            raise NotYet("away")
        self.tellings.append(telling)


@pytest.fixture
def intake(intake: Intake) -> Intake:
    rules = (
        Outgoing(to="klaviyo", types=("page.viewed", "consent.*")),
        Outgoing(to="webhook/erp", types=("*",)),
        Outgoing(to="klaviyo", types=("*",)),
    )
    endpoints = (Endpoint(name="erp", url="https://erp.example.com/hook"),)
    return replace(intake, policy=changed(intake.policy, outgoing=rules, endpoints=endpoints))


async def sinks(engine: AsyncEngine) -> Sequence[str]:
    return sorted(row.sink for row in await rows(engine, tables.tellings))


@pytest.mark.parametrize(
    ("type", "source", "to"),
    [
        ("handoff.acknowledged", "slack", ["slack", "hubspot"]),
        ("approval.answered", "slack", ["slack", "hubspot"]),
        ("approval.answered", "cli", ["slack", "hubspot"]),
        ("approval.answered", "hubspot", ["slack"]),
        ("page.viewed", "slack", ["hubspot"]),
    ],
)
def test_who_alerts_people_is_told_of_what_they_answer_there(
    intake: Intake, type: str, source: str, to: list[str]
) -> None:
    rules = (Outgoing(to="slack", types=("*",)), Outgoing(to="hubspot", types=("*",)))
    assert changed(intake.policy, outgoing=rules).told(type, source) == to


@pytest.mark.parametrize(
    ("types", "type", "covered"),
    [
        (("page.viewed",), "page.viewed", True),
        (("page.viewed",), "page.viewed2", False),
        (("consent.*",), "consent.granted", True),
        (("consent.*",), "consented.x", False),
        (("*",), "custom.anything", True),
    ],
)
def test_which_types_a_rule_covers(types: tuple[str, ...], type: str, covered: bool) -> None:
    assert Outgoing(to="x", types=types).covers(type) is covered


async def test_each_system_is_told_once_of_an_event(engine: AsyncEngine, intake: Intake) -> None:
    event = told("page.viewed", page="blog")
    for _ in range(2):
        await intake.record(event, START)
    assert await sinks(engine) == ["klaviyo", "webhook/erp"]


async def test_nobody_is_told_what_they_said(engine: AsyncEngine, intake: Intake) -> None:
    await intake.record(told("page.viewed", page="blog").model_copy(update={"source": "klaviyo"}), START)
    assert await sinks(engine) == ["webhook/erp"]


async def test_the_relay_carries_them_once_temporal_is_there(engine: AsyncEngine, intake: Intake) -> None:
    await intake.record(told("page.viewed", page="blog"), START)
    temporal = Heard()
    temporal.away = True
    relay = Relay(engine, temporal)  # type: ignore[arg-type]
    await relay.drain()
    assert temporal.tellings == []
    temporal.away = False
    async with engine.begin() as conn:
        await conn.execute(sa.update(tables.dispatches).values(next_try_at=sa.func.now()))
    assert await relay.drain() == 2
    assert [(t["sink"], t["type"], t["round"]) for t in temporal.tellings] == [
        ("klaviyo", "page.viewed", 1),
        ("webhook/erp", "page.viewed", 1),
    ]


async def test_what_ended_is_told_again_and_what_is_under_way_is_not(engine: AsyncEngine, intake: Intake) -> None:
    await intake.record(told("page.viewed", page="blog"), START)
    temporal = Heard()
    relay = Relay(engine, temporal)  # type: ignore[arg-type]
    await relay.drain()
    [first, _] = await rows(engine, tables.tellings)
    async with engine.begin() as conn:
        await tellings.settle(conn, first.id, "failed", START, error="410", provider_id=None)
    async with engine.begin() as conn:
        assert await tellings.again(conn, [], START) == 1
    await relay.drain()
    assert [(t["telling"], t["round"]) for t in temporal.tellings][-1] == (first.id, 2)
    [again] = [row for row in await rows(engine, tables.tellings) if row.id == first.id]
    assert (again.status, again.error) == ("waiting", None)


def test_an_endpoint_that_is_not_there_is_refused(shipped_policy: Any) -> None:
    text = shipped_policy.read_text() + '\n[[outgoing]]\nto = "webhook/erp"\ntypes = ["*"]\n'
    with pytest.raises(PolicyError, match="there is no endpoint 'erp'"):
        policies.parse(text)
    policies.parse(text + '[[endpoint]]\nname = "erp"\nurl = "https://erp.example.com/hook"\n')
