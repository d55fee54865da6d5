"""HubSpot is told where a contact stands and what happened: stages, consent, lists, erasure, custom events."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from pydantic import ValidationError

from connectors import http
from connectors.base import Sink, Told
from connectors.errors import NeverAgain, TryAgain
from connectors.hubspot import HubSpot, HubSpotSettings
from contacts.events import identities

API = "https://api.hubapi.com"
CONTACTS = f"{API}/crm/v3/objects/contacts"
STATUSES = f"{API}/communication-preferences/v4/statuses"
ZOE = f"{STATUSES}/zoe%40example.com"
AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LATER, BEFORE = (AT + timedelta(hours=1)).isoformat(), (AT - timedelta(hours=1)).isoformat()
KNOWN = (("email", "old@example.com"), ("hubspot", "501"), ("email", "zoe@example.com"))


@pytest.fixture
async def pool() -> AsyncIterator[httpx.AsyncClient]:
    async with http.new_client() as client:
        yield client


def made(client: httpx.AsyncClient, **settings: Any) -> HubSpot:
    given = {"access_token": "pat-1", "subscriptions": {"promotional": [11], "lifecycle": [12, 13]}, **settings}
    return HubSpot(HubSpotSettings(_env_file=None, **given), client)


def told(type: str, *who: tuple[str, str], **data: Any) -> Told:
    return Told("e-1", type, AT, "c-1", identities(*(who or KNOWN)), data)


def bodies(route: respx.Route) -> list[Any]:
    return [json.loads(call.request.content) for call in route.calls]


def test_it_is_a_sink() -> None:
    assert isinstance(HubSpot(HubSpotSettings(_env_file=None)), Sink)


@pytest.mark.parametrize(
    ("stands", "stage", "written"),
    [
        (None, "visitor", "subscriber"),
        ("", "lead", "lead"),
        ("lead", "interested", "marketingqualifiedlead"),
        ("marketingqualifiedlead", "in_talks", "salesqualifiedlead"),
        ("opportunity", "new_customer", "customer"),
        ("98765", "customer", "customer"),
        ("customer", "at_risk", None),
        ("lead", "lead", None),
        ("opportunity", "interested", None),
        ("customer", "lead", None),
        ("other", "lead", None),
    ],
)
@respx.mock
async def test_the_funnel_goes_one_way(
    pool: httpx.AsyncClient, stands: str | None, stage: str, written: str | None
) -> None:
    answer = {"id": "501", "properties": {"lifecyclestage": stands}}
    respx.get(f"{CONTACTS}/501", params={"properties": "lifecyclestage"}).respond(json=answer)
    route = respx.patch(f"{CONTACTS}/501").respond(json=answer)
    await made(pool).stage("501", stage)
    assert bodies(route) == ([{"properties": {"lifecyclestage": written}}] if written else [])


@pytest.mark.parametrize("stage", ["lapsed", "former"])
@respx.mock
async def test_hubspot_has_no_word_for_those_who_went(pool: httpx.AsyncClient, stage: str) -> None:
    await made(pool).stage("501", stage)
    assert not respx.calls


@respx.mock
async def test_a_property_of_ones_own_goes_both_ways(pool: httpx.AsyncClient) -> None:
    where = {"properties": "relationship"}
    respx.get(f"{CONTACTS}/501", params=where).respond(json={"id": "501", "properties": {"relationship": "customer"}})
    route = respx.patch(f"{CONTACTS}/501").respond(json={"id": "501"})
    hubspot = made(pool, stage_property="relationship", stage_values={"lead": "New"})
    for stage in ("customer", "lapsed", "lead"):
        await hubspot.stage("501", stage)
    assert bodies(route) == [{"properties": {"relationship": "lapsed"}}, {"properties": {"relationship": "New"}}]


async def test_a_stage_nobody_knows(pool: httpx.AsyncClient) -> None:
    with pytest.raises(NeverAgain, match="no such stage"):
        await made(pool).stage("501", "amazed")


@pytest.mark.parametrize("type", ["consent.withdrawn", "message.unsubscribed"])
@respx.mock
async def test_a_no_to_one_purpose_is_told_for_every_address(pool: httpx.AsyncClient, type: str) -> None:
    routes = [respx.post(f"{STATUSES}/{name}%40example.com").respond(json={"results": []}) for name in ("old", "zoe")]
    await made(pool).tell(told(type, channel="email", purpose="lifecycle"))
    for route in routes:
        assert bodies(route) == [
            {
                "channel": "EMAIL",
                "statusState": "UNSUBSCRIBED",
                "subscriptionId": id,
                "legalBasis": "CONSENT_WITH_NOTICE",
                "legalBasisExplanation": "Perennial event e-1",
            }
            for id in (12, 13)
        ]


@pytest.mark.parametrize(
    ("type", "data"),
    [
        ("consent.withdrawn", {"channel": "all", "purpose": "all"}),
        ("consent.withdrawn", {"channel": "email"}),
        ("message.unsubscribed", {}),
        ("message.complained", {"channel": "sms", "purpose": "promotional"}),
    ],
)
@respx.mock
async def test_a_no_to_everything(pool: httpx.AsyncClient, type: str, data: dict[str, str]) -> None:
    routes = [
        respx.post(f"{STATUSES}/{name}%40example.com/unsubscribe-all", params={"channel": "EMAIL"}).respond(json={})
        for name in ("old", "zoe")
    ]
    await made(pool).tell(told(type, **data))
    assert [route.call_count for route in routes] == [1, 1]
    assert len(respx.calls) == 2


@respx.mock
async def test_a_no_to_what_no_type_is_set_for_is_a_no_to_everything(pool: httpx.AsyncClient) -> None:
    route = respx.post(f"{ZOE}/unsubscribe-all").respond(json={})
    hubspot = made(pool, subscriptions={})
    await hubspot.tell(told("consent.withdrawn", ("email", "zoe@example.com"), channel="email", purpose="promotional"))
    assert route.call_count == 1


@pytest.mark.parametrize("type", ["consent.withdrawn", "consent.granted"])
@pytest.mark.parametrize("data", [{"channel": "sms"}, {"channel": "email", "purpose": "transactional"}])
@respx.mock
async def test_consent_hubspot_does_not_keep(pool: httpx.AsyncClient, type: str, data: dict[str, str]) -> None:
    await made(pool).tell(told(type, **data))
    assert not respx.calls


class Kept:
    """What HubSpot has on record of one address."""

    def __init__(self, *statuses: dict[str, Any], wide: list[dict[str, Any]] | None = None) -> None:
        respx.get(f"{ZOE}/unsubscribe-all", params={"channel": "EMAIL"}).respond(json={"results": wide or []})
        respx.get(ZOE, params={"channel": "EMAIL"}).respond(json={"results": list(statuses)})
        self.written = respx.post(ZOE).respond(json={"results": []})

    def subscribed(self) -> list[int]:
        return [body["subscriptionId"] for body in bodies(self.written) if body["statusState"] == "SUBSCRIBED"]


def status(id: int, status: str, at: str, **more: str) -> dict[str, Any]:
    return {"subscriptionId": id, "status": status, "timestamp": at, "channel": "EMAIL", "source": "x", **more}


@respx.mock
async def test_a_yes_is_told_for_the_newest_address_with_what_it_rests_on(pool: httpx.AsyncClient) -> None:
    kept = Kept(status(12, "SUBSCRIBED", BEFORE), status(13, "NOT_SPECIFIED", BEFORE))
    await made(pool, legal_basis="PROCESS_AND_STORE").tell(told("consent.granted", channel="email", purpose="all"))
    assert kept.subscribed() == [11, 13]
    assert bodies(kept.written)[0]["legalBasis"] == "PROCESS_AND_STORE"


@pytest.mark.parametrize(
    ("theirs", "subscribed"),
    [
        (status(11, "UNSUBSCRIBED", BEFORE), [11]),
        (status(11, "UNSUBSCRIBED", LATER), []),
        (status(11, "UNSUBSCRIBED", LATER, legalBasisExplanation="Perennial event e-0"), [11]),
        (status(12, "UNSUBSCRIBED", LATER), [11]),
    ],
)
@respx.mock
async def test_nobody_is_subscribed_over_their_later_no(
    pool: httpx.AsyncClient, theirs: dict[str, Any], subscribed: list[int]
) -> None:
    kept = Kept(theirs)
    await made(pool).tell(told("consent.granted", channel="email", purpose="promotional"))
    assert kept.subscribed() == subscribed


@pytest.mark.parametrize(("at", "subscribed"), [(BEFORE, [11]), (LATER, [])])
@respx.mock
async def test_nor_over_a_later_no_to_everything(pool: httpx.AsyncClient, at: str, subscribed: list[int]) -> None:
    kept = Kept(wide=[{"status": "UNSUBSCRIBED", "wideStatusType": "PORTAL_WIDE", "timestamp": at}])
    await made(pool).tell(told("consent.granted", channel="email", purpose="promotional"))
    assert kept.subscribed() == subscribed


async def test_a_yes_to_what_no_type_is_set_for_is_not_guessed(pool: httpx.AsyncClient) -> None:
    with pytest.raises(NeverAgain, match="no subscription type is set for lifecycle"):
        await made(pool, subscriptions={"promotional": [11]}).tell(
            told("consent.granted", channel="email", purpose="lifecycle")
        )


@respx.mock
async def test_a_segment_is_a_list(pool: httpx.AsyncClient) -> None:
    done = {"recordsIdsAdded": ["501"], "recordIdsRemoved": [], "recordIdsMissing": []}
    added = respx.put(f"{API}/crm/v3/lists/77/memberships/add").respond(json=done)
    removed = respx.put(f"{API}/crm/v3/lists/77/memberships/remove").respond(json=done)
    hubspot = made(pool, segment_lists={"vip": "77"})
    await hubspot.tell(told("segment.joined", segment="vip"))
    await hubspot.tell(told("segment.left", segment="vip"))
    await hubspot.tell(told("segment.joined", segment="another"))
    assert (bodies(added), bodies(removed)) == ([["501"]], [["501"]])


@respx.mock
async def test_whoever_joins_is_made_known_to_hubspot_and_whoever_leaves_is_not(pool: httpx.AsyncClient) -> None:
    respx.post(CONTACTS).respond(201, json={"id": "9"})
    respx.get(f"{CONTACTS}/zoe%40example.com", params={"idProperty": "email"}).respond(404)
    added = respx.put(f"{API}/crm/v3/lists/77/memberships/add").respond(json={})
    hubspot = made(pool, segment_lists={"vip": "77"})
    for who in (("email", "zoe@example.com"), ("anonymous", "a-1")):
        await hubspot.tell(told("segment.joined", who, segment="vip"))
        await hubspot.tell(told("segment.left", who, segment="vip"))
    assert bodies(added) == [["9"]]


@respx.mock
async def test_a_contact_a_list_does_not_find_is_said_to_be_gone(pool: httpx.AsyncClient) -> None:
    respx.put(f"{API}/crm/v3/lists/77/memberships/add").respond(json={"recordIdsMissing": ["501"]})
    with pytest.raises(NeverAgain, match="no longer there"):
        await made(pool, segment_lists={"vip": "77"}).tell(told("segment.joined", segment="vip"))


@respx.mock
async def test_erasure_by_id_else_by_address(pool: httpx.AsyncClient) -> None:
    route = respx.post(f"{CONTACTS}/gdpr-delete").respond(204)
    hubspot = made(pool, erase=True)
    await hubspot.tell(told("contact.erased"))
    await hubspot.tell(told("contact.erased", ("email", "zoe@example.com")))
    assert bodies(route) == [{"objectId": "501"}, {"objectId": "zoe@example.com", "idProperty": "email"}]
    route.respond(404)
    await hubspot.tell(told("contact.erased"))


@respx.mock
async def test_nothing_is_erased_without_leave(pool: httpx.AsyncClient) -> None:
    with pytest.raises(NeverAgain, match="HUBSPOT_ERASE"):
        await made(pool).tell(told("contact.erased"))
    assert not respx.calls


@respx.mock
async def test_anything_else_is_a_custom_event(pool: httpx.AsyncClient) -> None:
    route = respx.post(f"{API}/events/v3/send").respond(204)
    hubspot = made(pool, event_prefix="pe5_perennial_", event_properties=["order_id", "value", "coupon"])
    await hubspot.tell(told("purchase.completed", order_id="o-1", value=1999, email="zoe@example.com"))
    await hubspot.tell(told("custom.tour-taken", ("email", "zoe@example.com")))
    await hubspot.tell(told("page.viewed", ("anonymous", "a-1")))
    assert bodies(route) == [
        {
            "eventName": "pe5_perennial_purchase_completed",
            "uuid": "e-1",
            "occurredAt": "2026-03-02T09:00:00+00:00",
            "properties": {"order_id": "o-1", "value": "1999"},
            "objectId": "501",
        },
        {
            "eventName": "pe5_perennial_custom_tour_taken",
            "uuid": "e-1",
            "occurredAt": "2026-03-02T09:00:00+00:00",
            "properties": {},
            "email": "zoe@example.com",
        },
    ]


async def test_events_need_a_name(pool: httpx.AsyncClient) -> None:
    for settings in ({}, {"timeline_events": {"page.viewed": "77"}}):
        with pytest.raises(NeverAgain, match="HUBSPOT_EVENT_PREFIX, HUBSPOT_TIMELINE_EVENTS"):
            await made(pool, **settings).tell(told("purchase.completed"))


TIMELINE = f"{API}/integrators/timeline/v3/events"


@respx.mock
async def test_what_has_a_template_goes_to_the_timeline_and_nowhere_else(pool: httpx.AsyncClient) -> None:
    written = respx.post(TIMELINE).respond(201, json={"id": "e-1"})
    sent = respx.post(f"{API}/events/v3/send").respond(204)
    hubspot = made(
        pool,
        timeline_events={"purchase.completed": "1001298"},
        event_prefix="pe5_perennial_",
        event_properties=["order_id", "value", "coupon"],
    )
    await hubspot.tell(told("purchase.completed", order_id="o-1", value=1999, email="zoe@example.com"))
    await hubspot.tell(told("purchase.completed", ("email", "zoe@example.com")))
    await hubspot.tell(told("purchase.completed", ("anonymous", "a-1")))
    assert sent.call_count == 0
    await hubspot.tell(told("page.viewed"))
    assert [body["eventName"] for body in bodies(sent)] == ["pe5_perennial_page_viewed"]
    assert bodies(written) == [
        {
            "eventTemplateId": "1001298",
            "id": "e-1",
            "timestamp": "2026-03-02T09:00:00+00:00",
            "tokens": {"order_id": "o-1", "value": "1999"},
            "objectId": "501",
        },
        {
            "eventTemplateId": "1001298",
            "id": "e-1",
            "timestamp": "2026-03-02T09:00:00+00:00",
            "tokens": {},
            "email": "zoe@example.com",
        },
    ]


@respx.mock
async def test_an_app_event_goes_to_the_timeline_of_newer_apps(pool: httpx.AsyncClient) -> None:
    route = respx.post(f"{API}/integrators/timeline/2026-03/events").respond(204)
    hubspot = made(pool, timeline_events={"purchase.completed": "ae41_bought-1"}, event_properties=["order_id"])
    await hubspot.tell(told("purchase.completed", order_id="o-1"))
    route.respond(409, json={"category": "CONFLICT"})
    await hubspot.tell(told("purchase.completed", order_id="o-1"))
    assert bodies(route)[0] == {
        "eventTypeName": "ae41_bought-1",
        "id": "e-1",
        "timestamp": "2026-03-02T09:00:00+00:00",
        "properties": {"order_id": "o-1"},
        "objectId": "501",
    }


@respx.mock
async def test_what_stands_on_the_timeline_already_is_told(pool: httpx.AsyncClient) -> None:
    route = respx.post(TIMELINE).respond(409, json={"category": "CONFLICT"})
    hubspot = made(pool, timeline_events={"purchase.completed": "1001298"})
    await hubspot.tell(told("purchase.completed"))
    route.respond(400, json={"category": "VALIDATION_ERROR"})
    with pytest.raises(NeverAgain, match="VALIDATION_ERROR"):
        await hubspot.tell(told("purchase.completed"))
    route.mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(TryAgain):
        await hubspot.tell(told("purchase.completed"))


@respx.mock
async def test_a_token_too_long_is_named_before_the_call(pool: httpx.AsyncClient) -> None:
    hubspot = made(pool, timeline_events={"purchase.completed": "7"}, event_properties=["note"])
    with pytest.raises(NeverAgain, match="note"):
        await hubspot.tell(told("purchase.completed", note="n" * 510_001))
    assert not respx.calls


@respx.mock
async def test_a_lost_answer_may_be_told_again(pool: httpx.AsyncClient) -> None:
    respx.post(f"{API}/events/v3/send").mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(TryAgain):
        await made(pool, event_prefix="pe5_").tell(told("purchase.completed"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"subscriptions": {"transactional": [1]}},
        {"segment_lists": {"vip": "77/memberships"}},
        {"event_prefix": "perennial_"},
        {"timeline_events": {"purchase.completed": "Purchase"}},
        {"timeline_events": {"purchase.completed": "ae41_bought/batch"}},
        {"timeline_events": {"purchase.completed": ""}},
        {"timeline_events": {"Purchase": "1001298"}},
        {"timeline_events": {"purchase.*": "1001298"}},
        {"stage_property": "lifecyclestage&x=1"},
        {"legal_basis": "BECAUSE"},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HubSpotSettings(_env_file=None, **wrong)


@pytest.mark.parametrize(
    "type",
    [
        "consent.granted", "consent.withdrawn", "message.unsubscribed", "message.complained", "segment.joined",
        "segment.left", "contact.erased",
    ],
)  # fmt: skip
def test_what_has_a_place_in_hubspot_is_not_for_the_timeline(type: str) -> None:
    with pytest.raises(ValidationError, match=f"{type} is told in another way"):
        HubSpotSettings(_env_file=None, timeline_events={type: "1001298"})
