"""Where a contact is reached: by what names them on a channel, and by post."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import tables
from contacts.events import InvalidEvent, event, identities
from contacts.intake import Intake
from contacts.runs import envelope
from tests.contacts.support import START, at, facts_of, happening, rows, someone, told

PLACE = {"line1": "Hauptstr. 1", "city": "Berlin", "postal_code": "10115", "country": "DE"}


@pytest.mark.parametrize(("kind", "channel"), [("manychat", "social"), ("intercom", "chat")])
async def test_whoever_is_known_by_a_channels_own_id_is_reached_there(
    engine: AsyncEngine, intake: Intake, kind: str, channel: str
) -> None:
    await someone(intake)
    await intake.record(told("page.viewed", page="blog", who={"email": "alice@example.com", kind: "77"}), at(1))
    assert (await facts_of(engine)).address(channel) == "77"


async def test_of_two_ids_in_one_event_the_first_counts(engine: AsyncEngine, intake: Intake) -> None:
    merged = event(
        "contact.merged",
        source="tests",
        source_id="m",
        occurred_at=START,
        identities=identities(("email", "alice@example.com"), ("intercom", "now"), ("intercom", "gone")),
    )
    await intake.record(merged, START)
    assert (await facts_of(engine)).address("chat") == "now"


def said(place: Any) -> dict[str, Any]:
    return event(
        "contact.updated", source="tests", source_id="1", occurred_at=START, data={"postal_address": place}
    ).data


def test_a_postal_address_is_tidied_at_the_edge() -> None:
    given = {**PLACE, "line1": " Hauptstr. 1 ", "line2": "", "region": None, "country": "de", "floor": 3}
    assert said(given) == {"postal_address": PLACE}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"line1": ""}, "line1"),
        ({"line1": "x" * 201}, "line1"),
        ({"city": None}, "city"),
        ({"country": "Germany"}, "country"),
        ({"country": "UK"}, "country"),
        ({"postal_code": ["1"]}, "postal_code"),
    ],
)
def test_one_that_no_letter_finds_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        said({**PLACE, **change})
    assert refused.value.field == f"data.postal_address.{field}"
    assert "Germany" not in str(refused.value)


async def test_the_newest_is_where_they_live(engine: AsyncEngine, intake: Intake) -> None:
    newer = {**PLACE, "line1": "Am Park 2"}
    for place, when in ((newer, at(2)), (PLACE, at(1))):
        await intake.record(told("contact.updated", when, postal_address=place), at(3))
    assert (await facts_of(engine)).get("postal_address") == newer
    assert "Am Park" not in str(await rows(engine, tables.journal))


@pytest.mark.parametrize("type", ["contact.updated", "purchase.completed"])
def test_no_history_holds_it(type: str) -> None:
    assert envelope(happening(type, postal_address=PLACE, order_id="1"))["data"] == {"order_id": "1"}
