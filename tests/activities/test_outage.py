"""A provider that is out: who carries its messages, and that a touch never has two carriers."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

import pytest
import sqlalchemy as sa
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.deliver import KEYS_LAST, Deliver
from connectors.errors import ConnectorError, TryAgain, Unknown
from connectors.recording import Recording
from contacts import outages, tables
from contacts.claims import Gate
from contacts.policy import Provider
from tests.activities.conftest import MORNING, House
from tests.contacts.support import changed

AWAY = TryAgain("first", "503")


class First(Recording):
    name: ClassVar[str] = "first"


class Second(Recording):
    name: ClassVar[str] = "second"


class Keyed(Recording):
    name: ClassVar[str] = "first"
    idempotent: ClassVar[bool] = True
    listed_within: ClassVar[timedelta | None] = None


@pytest.fixture
def first() -> Recording:
    return First()


@pytest.fixture
def second() -> Recording:
    return Second()


@pytest.fixture
def deliver(house: House, first: Recording, second: Recording) -> Iterator[Deliver]:
    yield carried(house, first, second)


def carried(house: House, first: Recording, second: Recording, outage: str = "fall_back") -> Deliver:
    stands_in = {"fallback": "second"} if outage == "fall_back" else {}
    mail = Provider(primary="first", outage=outage, after_minutes=5, **stands_in)  # type: ignore[arg-type]
    policy = changed(house.policy, providers={"email": mail})
    fallbacks = {"email": second} if stands_in else {}
    return replace(house.deliver, gate=Gate(policy, "test"), senders={"email": first}, fallbacks=fallbacks)


async def later(house: House, minutes: float) -> None:
    """The outage has lasted so much longer."""
    span = timedelta(minutes=minutes)
    older = sa.update(tables.outages).values(
        since=tables.outages.c.since - span, tried_at=tables.outages.c.tried_at - span
    )
    async with house.engine.begin() as conn:
        await conn.execute(older)


async def fails(
    attempt: ActivityEnvironment, deliver: Deliver, house: House, key: str, *errors: ConnectorError
) -> None:
    deliver.senders["email"].fail(*errors)  # type: ignore[attr-defined]
    with pytest.raises(ApplicationError):
        await attempt.run(deliver.deliver, house.touch(key=key))


async def test_a_blip_is_no_outage(
    house: House, attempt: ActivityEnvironment, deliver: Deliver, first: Recording, second: Recording
) -> None:
    await fails(attempt, deliver, house, "a", AWAY)
    assert (await attempt.run(deliver.deliver, house.touch(key="a"))).status == "sent"
    assert (len(first.delivered), len(second.delivered)) == (1, 0)
    async with house.engine.connect() as conn:
        assert (await conn.execute(sa.select(tables.outages))).all() == []


async def test_in_an_outage_another_carries_it_and_the_first_is_tried_once_a_minute(
    house: House, attempt: ActivityEnvironment, deliver: Deliver, first: Recording, second: Recording
) -> None:
    await fails(attempt, deliver, house, "a", AWAY)
    await later(house, 6)
    await fails(attempt, deliver, house, "a", AWAY)  # the one that finds out
    assert (await attempt.run(deliver.deliver, house.touch(key="a"))).status == "sent"
    assert [m.key for m in second.delivered] == ["a"]
    assert (await house.the_touch()).provider == "second"
    await later(house, 1)
    lifecycle = house.touch(key="b", purpose="transactional")
    assert (await attempt.run(deliver.deliver, lifecycle)).status == "sent"
    assert [m.key for m in first.delivered] == ["b"], "it answers again, and takes over"
    another = house.touch(key="c", purpose="transactional")
    await attempt.run(deliver.deliver, another)
    assert [m.key for m in first.delivered] == ["b", "c"]


async def test_not_so_fast_is_no_outage(
    house: House, attempt: ActivityEnvironment, deliver: Deliver, second: Recording
) -> None:
    await fails(attempt, deliver, house, "a", TryAgain("first", "429", delay=timedelta(seconds=5)))
    await later(house, 60)
    await attempt.run(deliver.deliver, house.touch(key="a"))
    assert second.delivered == []


async def test_a_call_that_may_have_arrived_stays_with_its_provider(
    house: House, attempt: ActivityEnvironment, deliver: Deliver, first: Recording, second: Recording
) -> None:
    first.lose_answer()
    with pytest.raises(ApplicationError):
        await attempt.run(deliver.deliver, house.touch(key="a"))
    await later(house, 6)
    async with house.engine.begin() as conn:
        assert await outages.stands(conn, "first", timedelta(minutes=5)), "taken: nobody else may try it now"
    await house.wait(30)
    assert (await attempt.run(deliver.deliver, house.touch(key="a"))).status == "sent"
    assert (len(first.delivered), len(second.delivered)) == (1, 0)
    assert (await house.the_touch()).provider == "first"


async def test_no_second_carrier_after_a_refusal_that_followed_a_lost_answer(
    house: House, attempt: ActivityEnvironment, second: Recording
) -> None:
    keyed = Keyed()
    deliver = carried(house, keyed, second)
    keyed.lose_answer()
    with pytest.raises(ApplicationError):
        await attempt.run(deliver.deliver, house.touch(key="a"))
    await fails(attempt, deliver, house, "a", AWAY)
    assert (await house.the_touch()).status == "claimed", "the first call may have arrived"
    await later(house, 60)
    assert (await attempt.run(deliver.deliver, house.touch(key="a"))).status == "sent"
    assert (len(keyed.delivered), len(second.delivered)) == (1, 0)


async def test_a_key_that_may_be_forgotten_is_no_key(
    house: House, attempt: ActivityEnvironment, second: Recording
) -> None:
    keyed = Keyed()
    deliver = carried(house, keyed, second)
    keyed.lose_answer()
    with pytest.raises(ApplicationError):
        await attempt.run(deliver.deliver, house.touch(key="a"))
    await house.wait(KEYS_LAST.total_seconds())
    delivery = await attempt.run(deliver.deliver, house.touch(key="a"))
    assert (delivery.status, len(keyed.delivered)) == ("unknown", 1)


@pytest.mark.parametrize(("outage", "status"), [("wait", "sent"), ("drop", "dropped")])
async def test_a_message_that_was_let_out_in_time(
    house: House, attempt: ActivityEnvironment, first: Recording, second: Recording, outage: str, status: str
) -> None:
    deliver = carried(house, first, second, outage)
    soon = MORNING + timedelta(hours=1)
    first.fail(AWAY)
    with pytest.raises(ApplicationError):
        await attempt.run(deliver.deliver, house.touch(key="a", valid_until=soon))
    late = MORNING + timedelta(hours=3)
    assert (await attempt.run(deliver.deliver, house.touch(key="a", at=late, valid_until=soon))).status == status
    never = house.touch(key="b", at=late, valid_until=soon, purpose="transactional")
    assert (await attempt.run(deliver.deliver, never)).status == "dropped", "this one was never let out"


async def test_a_lost_answer_in_an_outage_counts_too(
    house: House, attempt: ActivityEnvironment, deliver: Deliver
) -> None:
    await fails(attempt, deliver, house, "a", Unknown("first", "no answer"))
    async with house.engine.connect() as conn:
        [row] = (await conn.execute(sa.select(tables.outages))).all()
    assert row.provider == "first"
