"""A limit is kept by everybody together."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.pace import Paces
from connectors.errors import TryAgain
from contacts import database, pace

LONG = timedelta(hours=1)


async def test_calls_of_several_workers_are_spaced(engine: AsyncEngine) -> None:
    another = database.connect(engine.url.render_as_string(hide_password=False))
    taking = (pace.take(one, "hubspot", 4, LONG) for one in [engine, another] * 10)
    slots = sorted(await asyncio.gather(*taking), key=lambda slot: slot.at)
    await another.dispose()
    apart = [b.at - a.at for a, b in pairwise(slots)]
    assert min(apart) == timedelta(seconds=0.25)
    assert slots[-1].at - slots[0].at >= timedelta(seconds=19 * 0.25)
    assert all(slot.wait >= timedelta(0) for slot in slots)


async def test_what_was_not_used_is_not_saved_up(engine: AsyncEngine) -> None:
    first = await pace.take(engine, "hubspot", 1000, LONG)
    await pace.take(engine, "hubspot", 1 / 60, LONG)
    third = await pace.take(engine, "hubspot", 1 / 60, LONG)
    assert third.at - first.at >= timedelta(seconds=60)


async def test_one_systems_limit_is_not_anothers(engine: AsyncEngine) -> None:
    await pace.take(engine, "hubspot", 1 / 60, LONG)
    assert (await pace.take(engine, "slack", 1 / 60, LONG)).wait == timedelta(0)


async def test_too_far_away_takes_nothing_and_says_how_far(engine: AsyncEngine) -> None:
    await pace.take(engine, "hubspot", 1 / 60, LONG)
    for _ in range(3):
        with pytest.raises(pace.NoRoom) as full:
            await pace.take(engine, "hubspot", 1 / 60, timedelta(seconds=2))
        assert timedelta(seconds=30) < full.value.delay <= timedelta(seconds=60)


async def test_a_client_without_room_calls_later(engine: AsyncEngine) -> None:
    paces = Paces(engine)
    assert paces.of("smtp", None) is None
    keep = paces.of("hubspot", 1 / 60)
    assert keep is not None
    await keep()
    with pytest.raises(TryAgain) as later:
        await keep()
    assert later.value.delay is not None
    assert later.value.delay > timedelta(seconds=2)
