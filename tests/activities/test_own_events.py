"""What a run did becomes an event of the contact, once."""

from dataclasses import replace

import pytest
from temporalio.testing import ActivityEnvironment

from activities import signatures as ask
from activities.own_events import OwnEvents
from contacts import tables
from contacts.events import InvalidEvent
from tests.activities.conftest import MORNING, House

SUNSET = {"channel": "email", "purpose": "promotional", "evidence": "sunset"}


def recorded(house: House, **changes: object) -> ask.RecordEventRequest:
    line = ask.Line(1, MORNING, "stage", "sunset")
    return replace(ask.RecordEventRequest(house.run, "1d7a", "consent.withdrawn", SUNSET, (line,)), **changes)  # type: ignore[arg-type]


async def test_takes_effect_like_any_event(house: House, attempt: ActivityEnvironment) -> None:
    await attempt.run(OwnEvents(house.intake).record_event, recorded(house))
    refused = await attempt.run(house.deliver.deliver, house.touch())
    assert (refused.status, refused.reason) == ("dropped", "consent_withdrawn")
    [told] = [e for e in await house.rows(tables.events) if e.type == "consent.withdrawn"]
    assert (told.contact_id, told.source, told.occurred_at) == (house.run.contact_id, "perennial", MORNING)
    assert told.data == SUNSET


async def test_a_repeat_changes_nothing(house: House, attempt: ActivityEnvironment) -> None:
    for _ in range(2):
        await attempt.run(OwnEvents(house.intake).record_event, recorded(house))
    assert [line["type"] for line in await house.told("event")].count("consent.withdrawn") == 1
    assert len(await house.told("stage")) == 1


async def test_what_a_run_says_twice_counts_twice(house: House, attempt: ActivityEnvironment) -> None:
    for event_id in ("first", "second"):
        await attempt.run(OwnEvents(house.intake).record_event, recorded(house, event_id=event_id))
    assert [line["type"] for line in await house.told("event")].count("consent.withdrawn") == 2


async def test_ends_the_journeys_that_it_is_an_exit_of(house: House, attempt: ActivityEnvironment) -> None:
    booked = recorded(house, type="meeting.booked", data={})
    await attempt.run(OwnEvents(house.intake).record_event, booked)
    [run] = await house.rows(tables.runs)
    assert run.outcome == "converted"


async def test_data_that_does_not_fit_is_not_recorded(house: House, attempt: ActivityEnvironment) -> None:
    with pytest.raises(InvalidEvent, match=r"data\.channel"):
        await attempt.run(OwnEvents(house.intake).record_event, recorded(house, data={}))
    assert "consent.withdrawn" not in [line["type"] for line in await house.told("event")]


async def test_the_topics_come_the_most_visited_first(house: House, attempt: ActivityEnvironment) -> None:
    for topic in ("analytics", "checkout", "analytics", "analytics"):
        await house.tell("page.viewed", page="guide", topic=topic)
    now = await attempt.run(house.record.facts, ask.FactsRequest(house.run))
    assert now.topics == ("analytics", "checkout", "seo")
    await house.tell("contact.updated", topics=["checkout", "mail"])
    now = await attempt.run(house.record.facts, ask.FactsRequest(house.run))
    assert now.topics == ("checkout", "mail")
