"""Who gets too much, who nobody thinks of, and how much of it sells."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from contacts import tables
from contacts.policy import Pressure as Rules
from contacts.policy import load
from ops.pressure import Pressure, pressure
from tests.cli.world import NOW, ROOT, World, ago, perennial, said
from tests.contacts.support import a_run

GROUPS = {"keen": 30, "quiet": 30, "other": 60}


def contact_id(group: str, n: int) -> str:
    return f"{list(GROUPS).index(group):08d}-0000-4000-8000-{n:012d}"


@pytest.fixture
def crowd(world: World) -> World:
    """Two segments of thirty and sixty others; nothing has gone to anybody."""
    [segment] = world.policy.segments
    two = tuple(segment.model_copy(update={"name": name}) for name in ("keen", "quiet"))
    world.policy = world.policy.model_copy(update={"segments": two})
    everyone = [(group, n) for group, size in GROUPS.items() for n in range(size)]
    people = [
        {"id": contact_id(group, n), "created_at": ago(days=90), "facts": {"segments": {group: NOW.isoformat()}}}
        for group, n in everyone
    ]
    world.within(lambda conn: conn.execute(sa.insert(tables.contacts), people))
    return world


def goes_out(world: World, group: str, times: int, *, purpose: str = "promotional", at: datetime | None = None) -> None:
    """So many messages to each of a group."""
    when, run_id = at or ago(days=3), world.do(lambda engine: a_run(engine, contact_id(group, 0), journey=uuid4().hex))
    rows = [
        {
            "id": str(uuid4()),
            "key": f"{group}/{n}/{k}/{purpose}/{when}",
            "run_id": run_id,
            "contact_id": contact_id(group, n),
            "journey": "nurture",
            "stage": "s",
            "template": "t",
            "channel": "email",
            "purpose": purpose,
            "status": "sent" if k % 2 else "unknown",
            "asked_at": when,
            "claimed_at": when,
            "valid_until": when,
        }
        for n in range(GROUPS[group])
        for k in range(times)
    ]
    world.within(lambda conn: conn.execute(sa.insert(tables.touches), rows))


def judged(world: World, days: float = 30) -> dict[str | None, Pressure]:
    found = world.within(lambda conn: pressure(conn, world.policy, NOW, timedelta(days=days)))
    return {one.segment: one for one in found}


def test_who_gets_too_much_and_who_too_little_is_said(crowd: World) -> None:
    goes_out(crowd, "keen", 4)
    goes_out(crowd, "other", 1)
    goes_out(crowd, "other", 2, purpose="lifecycle")
    found = judged(crowd)
    assert (found[None].members, found[None].touches, found[None].promotional) == (120, 300, 180)
    assert found[None].left_alone == 30
    assert (found["keen"].sold_a_member, found["keen"].signs) == (4, ["over-contacted", "mostly promotion"])
    assert (found["quiet"].left_alone, found["quiet"].signs) == (30, ["under-served"])
    assert found[None].signs == []


def test_what_went_out_before_or_did_not_go_out_does_not_count(crowd: World) -> None:
    goes_out(crowd, "keen", 4, at=ago(days=31))
    goes_out(crowd, "quiet", 1)
    crowd.within(
        lambda conn: conn.execute(
            sa.update(tables.touches).where(tables.touches.c.claimed_at > ago(days=5)).values(status="dropped")
        )
    )
    found = judged(crowd)
    assert {one.touches for one in found.values()} == {0}
    assert {tuple(one.signs) for one in found.values()} == {()}
    assert judged(crowd, days=60)["keen"].touches == 120


def test_promotion_is_watched_over_everybody(crowd: World) -> None:
    for group in GROUPS:
        goes_out(crowd, group, 2)
        goes_out(crowd, group, 1, purpose="lifecycle")
    assert judged(crowd)[None].signs == ["mostly promotion"]
    crowd.policy = crowd.policy.model_copy(update={"pressure": Rules(promotional_share=0.7)})
    assert judged(crowd)[None].signs == []


def test_of_a_few_nothing_is_said(crowd: World) -> None:
    goes_out(crowd, "keen", 4)
    crowd.policy = crowd.policy.model_copy(update={"pressure": Rules(at_least=121)})
    found = judged(crowd)
    assert found["keen"].signs == []
    assert found["quiet"].signs == []


def test_who_had_enough_and_who_said_no_is_counted(world: World) -> None:
    world.happens("consent.granted", at=ago(days=9), channel="email", purpose="promotional")
    world.happens("contact.identified", at=ago(days=8), email="ada@example.com", timezone="UTC")
    noon = ago(days=2).replace(hour=12)
    for n in range(4):
        claim = world.asks("welcome", f"welcome_{n}", at=noon + timedelta(minutes=n))
        if claim.status == "claimed":
            world.sent(claim, at=noon)
    [everybody] = [one for one in said("segments", "pressure") if one["segment"] is None]
    assert (everybody["members"], everybody["had_enough"], everybody["said_no"]) == (1, 1, 0)
    world.happens("consent.withdrawn", at=ago(days=1), channel="email", purpose="promotional")
    [everybody] = [one for one in said("segments", "pressure") if one["segment"] is None]
    assert everybody["said_no"] == 1
    text = perennial("segments", "pressure", "--days", "7").stdout
    assert "everybody" in text and "100%" in text


def test_the_policy_says_from_where_on(world: World) -> None:
    assert load(ROOT / "policy.toml").pressure == Rules()
