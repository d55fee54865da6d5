"""An operator's pause of a contact: a hold like any other, with who called it, why, and until when."""

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import holds
from contacts.claims import Gate
from contacts.events import Event, InvalidEvent
from contacts.intake import Intake
from contacts.policy import Policy
from tests.contacts.support import a_run, an_ask, at, changed, claim, facts_of, someone, told


@pytest.fixture
def intake(intake: Intake) -> Intake:
    """Where a hold that names no end lasts ten days."""
    return Intake(intake.engine, (), changed(intake.policy, hold_days={"operator": 10}))


async def listed(engine: AsyncEngine, **given: Any) -> list[holds.Held]:
    async with engine.connect() as conn:
        return list(await holds.listed(conn, **given))


async def held(intake: Intake, *, until: datetime | None = None, day: float = 0) -> str:
    who = await someone(intake)
    await intake.record(holds.opened(who, by="Kim", reason="a lawsuit", until=until, now=at(day)), at(day))
    return who


@pytest.mark.parametrize(("until", "expected"), [(None, 10), (3, 3), (40, 40)])
async def test_it_ends_when_it_was_said_to_and_else_when_the_policy_says(
    engine: AsyncEngine, intake: Intake, policy: Policy, until: int | None, expected: int
) -> None:
    who = await held(intake, until=at(until) if until else None)
    facts = await facts_of(engine)
    assert [len(holds.in_force(facts, at(day))) for day in (0, expected - 0.01, expected)] == [1, 1, 0]
    [line] = await listed(engine)
    assert (line.contact_id, line.opened_by, line.reason, line.until) == (who, "Kim", "a lawsuit", at(expected))
    assert (line.ended_at(at(expected - 1)), line.ended_at(at(expected))) == (None, at(expected))
    run_id = await a_run(engine, who)
    gate = Gate(changed(policy, quiet_hours=(), caps=(), tiers=()), "1")
    async with engine.begin() as conn:
        waiting = await claim(gate, conn, an_ask("k", at(expected - 0.5)), run_id, who)
        assert (waiting.reason, waiting.hold, waiting.until) == ("hold_operator", "operator:pause", at(expected))
        assert (await claim(gate, conn, an_ask("k", at(expected)), run_id, who)).status == "claimed"


async def test_each_time_is_a_line_with_its_end(engine: AsyncEngine, intake: Intake) -> None:
    who = await held(intake, until=at(30))
    [hold] = holds.in_force(await facts_of(engine), at(1))
    await intake.record(holds.released(who, hold, by="Mia", now=at(2)), at(2))
    assert holds.in_force(await facts_of(engine), at(2)) == []
    await intake.record(holds.opened(who, by="Noah", reason="again", until=at(4), now=at(3)), at(3))
    again, first = await listed(engine)
    assert (first.opened_by, first.released_at, first.released_by) == ("Kim", at(2), "Mia")
    assert (again.opened_by, again.until, again.released_at) == ("Noah", at(4), None)
    assert await listed(engine, limit=1) == [again]


async def test_holds_of_other_systems_and_other_contacts_are_kept_apart(engine: AsyncEngine, intake: Intake) -> None:
    who = await held(intake)
    other = await someone(intake, email="bob@example.com")
    whose = {"email": "bob@example.com"}
    await intake.record(told("hold.opened", at(1), who=whose, hold_id="legal"), at(1))
    await intake.record(told("hold.opened", at(1), who=whose), at(1))
    await intake.record(told("hold.released", at(2), who=whose), at(2))
    lines = {(line.contact_id, line.hold): line.released_at for line in await listed(engine)}
    assert lines == {(who, "operator:pause"): None, (other, "operator:legal"): None, (other, "operator:-"): at(2)}
    bobs = await facts_of(engine, "bob@example.com")
    [legal] = holds.in_force(bobs, at(3))
    await intake.record(holds.released(other, legal, by="Mia", now=at(3)), at(3))
    assert holds.in_force(await facts_of(engine, "bob@example.com"), at(3)) == []
    assert {line.opened_by for line in await listed(engine, contact_id=other)} == {"nobody said who"}


def test_an_end_that_is_no_time_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="until"):
        told("hold.opened", at(0), until="soon")
    assert isinstance(told("hold.opened", at(0), hold_id=7), Event), "an id of any kind"
