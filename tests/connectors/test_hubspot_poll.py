"""HubSpot is asked what its webhooks do not say: whose deal moved, and who may be mailed."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx

from connectors import http
from connectors.base import Poller
from connectors.errors import NeverAgain, TryAgain
from connectors.hubspot import HubSpot, HubSpotSettings
from contacts.events import Event

API = "https://api.hubapi.com"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Account:
    """Deals and contacts as HubSpot would keep them; the search index can be behind."""

    def __init__(self) -> None:
        self.deals: dict[str, dict[str, Any]] = {}
        self.contacts: dict[str, dict[str, Any]] = {}
        self.unindexed: set[str] = set()
        self.gone: set[str] = set()
        self.searches = 0
        self.statuses: dict[str, list[dict[str, Any]]] = {}
        self.wide: dict[str, list[dict[str, Any]]] = {}
        self.unreadable: set[str] = set()
        self.forbidden: str | None = None
        respx.route(url__startswith=API).mock(side_effect=self.permission)
        deals, contacts = f"{API}/crm/v3/objects/deals", f"{API}/crm/v3/objects/contacts"
        respx.post(f"{deals}/search").mock(side_effect=self.search(self.deals, "hs_lastmodifieddate"))
        respx.post(f"{contacts}/search").mock(side_effect=self.search(self.contacts, "lastmodifieddate"))
        respx.get(url__regex=rf"{deals}/(?P<id>\d+)\?").mock(side_effect=self.deal)
        respx.post(f"{contacts}/batch/read").mock(side_effect=self.read)
        batch = f"{API}/communication-preferences/v4/statuses/batch"
        respx.post(f"{batch}/read").mock(side_effect=self.preferences(self.statuses, "statuses"))
        respx.post(f"{batch}/unsubscribe-all/read").mock(side_effect=self.preferences(self.wide, "wideStatuses"))

    def permission(self, request: httpx.Request) -> httpx.Response | None:
        """The token has no scope for addresses that have this in them."""
        if self.forbidden is None or self.forbidden not in request.url.path:
            return None
        return httpx.Response(403, json={"category": "MISSING_SCOPES", "message": "zoe@example.com is not for you"})

    def moved(self, id: str, at: datetime, stage: str, *contacts: str) -> None:
        deal = self.deals.setdefault(id, {"history": [], "contacts": []})
        deal["history"].insert(0, {"value": stage, "timestamp": text(at), "sourceType": "CRM_UI"})
        deal["changed"], deal["contacts"] = at, [*deal["contacts"], *contacts]

    def search(self, records: dict[str, dict[str, Any]], changed: str) -> Any:
        def answer(request: httpx.Request) -> httpx.Response:
            self.searches += 1
            wanted = json.loads(request.content)
            ((filter,),) = (group["filters"] for group in wanted["filterGroups"])
            assert (filter["propertyName"], filter["operator"], wanted["sorts"]) == (changed, "GTE", [changed])
            found = [(r["changed"], id) for id, r in records.items() if ms(r["changed"]) >= int(filter["value"])]
            found = sorted((at, id) for at, id in found if id not in self.unindexed)
            start, limit = int(wanted["after"]), wanted["limit"]
            assert start + limit <= 10_000
            page = found[start : start + limit]
            results = [
                {"id": id, "properties": {changed: text(at), "email": records[id].get("email")}} for at, id in page
            ]
            more = {"paging": {"next": {"after": str(start + limit)}}} if len(found) > start + limit else {}
            return httpx.Response(200, json={"total": len(found), "results": results, **more})

        return answer

    def deal(self, request: httpx.Request, id: str) -> httpx.Response:
        if id in self.gone:
            return httpx.Response(404)
        assert request.url.params["associations"] == "contacts"
        deal = self.deals[id]
        links = [{"id": contact, "type": "deal_to_contact"} for contact in deal["contacts"]]
        associations = {"associations": {"contacts": {"results": links}}} if links else {}
        history = {"dealstage": deal["history"]} if "dealstage" in request.url.params["propertiesWithHistory"] else {}
        return httpx.Response(200, json={"id": id, "properties": {}, "propertiesWithHistory": history, **associations})

    def read(self, request: httpx.Request) -> httpx.Response:
        wanted = [i["id"] for i in json.loads(request.content)["inputs"]]
        assert 0 < len(wanted) <= 100
        found = [
            {"id": id, "properties": {"email": self.contacts[id]["email"]}} for id in wanted if id in self.contacts
        ]
        return httpx.Response(200, json={"status": "COMPLETE", "results": found})

    def preferences(self, kept: dict[str, list[dict[str, Any]]], name: str) -> Any:
        def answer(request: httpx.Request) -> httpx.Response:
            assert request.url.params["channel"] == "EMAIL"
            wanted = json.loads(request.content)["inputs"]
            good = [email for email in wanted if email not in self.unreadable]
            results = [{"subscriberIdString": email.lower(), name: kept.get(email, [])} for email in good]
            if len(good) == len(wanted):
                return httpx.Response(200, json={"status": "COMPLETE", "results": results})
            return httpx.Response(207, json={"status": "COMPLETE", "results": results, "errors": [{"category": "X"}]})

        return answer


@pytest.fixture
async def pool() -> AsyncIterator[httpx.AsyncClient]:
    async with http.new_client() as client:
        yield client


def made(client: httpx.AsyncClient, **settings: Any) -> HubSpot:
    return HubSpot(HubSpotSettings(_env_file=None, **{"access_token": "pat-1", **settings}), client)


async def asked(hubspot: HubSpot, cursor: str | None, now: datetime) -> tuple[list[Event], str]:
    """Every page there is."""
    events: list[Event] = []
    for _ in range(100):
        page = await hubspot.poll(cursor, now)
        events, cursor = [*events, *page.events], page.cursor
        if not page.more:
            return events, cursor
    raise AssertionError("it never ends")


def said(events: Sequence[Event]) -> set[tuple[Any, ...]]:
    return {(e.data["deal_id"], e.data["stage"], *(i.value for i in e.identities)) for e in events}


def after(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


def test_it_is_a_poller() -> None:
    assert isinstance(HubSpot(HubSpotSettings(_env_file=None)), Poller)


@respx.mock
async def test_a_deal_that_moved_is_about_each_of_its_people(pool: httpx.AsyncClient) -> None:
    account, hubspot = Account(), made(pool)
    account.contacts = {"501": {"email": "Zoe@example.com", "changed": NOW}}
    _, cursor = await asked(hubspot, None, NOW)
    account.moved("7", after(1), "qualified", "501", "502")
    events, _ = await asked(hubspot, cursor, after(5))
    assert [(e.type, e.source, e.occurred_at) for e in events] == [("deal.stage_changed", "hubspot", after(1))] * 2
    assert said(events) == {("7", "qualified", "501", "zoe@example.com"), ("7", "qualified", "502")}
    assert events[0].data == {"deal_id": "7", "stage": "qualified", "change_source": "CRM_UI"}
    assert len({e.source_id for e in events}) == 2


@respx.mock
async def test_what_was_before_the_first_poll_is_not_told(pool: httpx.AsyncClient) -> None:
    account, hubspot = Account(), made(pool)
    account.moved("7", NOW - timedelta(days=9), "new", "501")
    events, cursor = await asked(hubspot, None, NOW)
    assert events == []
    account.moved("7", after(1), "won")
    events, _ = await asked(hubspot, cursor, after(5))
    assert said(events) == {("7", "won", "501")}


@respx.mock
async def test_a_stage_that_was_passed_between_two_polls_is_told_too_and_in_order(pool: httpx.AsyncClient) -> None:
    account, hubspot = Account(), made(pool)
    _, cursor = await asked(hubspot, None, NOW)
    for minute, stage in enumerate(("new", "qualified", "won"), start=1):
        account.moved("7", after(minute), stage, *(["501"] if minute == 1 else []))
    events, _ = await asked(hubspot, cursor, after(5))
    assert [e.data["stage"] for e in events] == ["new", "qualified", "won"]


@respx.mock
async def test_a_repeat_is_a_repeat_whatever_else_changed(pool: httpx.AsyncClient) -> None:
    account, hubspot = Account(), made(pool)
    _, cursor = await asked(hubspot, None, NOW)
    account.moved("7", after(1), "won", "501")
    first, cursor = await asked(hubspot, cursor, after(5))
    account.deals["7"]["changed"] = after(30)
    second, _ = await asked(hubspot, cursor, after(35))
    assert first == second != []


@respx.mock
async def test_what_the_index_learns_late_is_not_missed(pool: httpx.AsyncClient) -> None:
    account, hubspot = Account(), made(pool)
    _, cursor = await asked(hubspot, None, NOW)
    account.moved("7", after(1), "won", "501")
    account.moved("8", after(2), "won", "502")
    account.unindexed = {"7"}
    first, cursor = await asked(hubspot, cursor, after(5))
    account.unindexed = set()
    second, cursor = await asked(hubspot, cursor, after(10))
    assert said(first) == {("8", "won", "502")}
    assert ("7", "won", "501") in said(second)
    third, cursor = await asked(hubspot, cursor, after(60))
    assert {e.source_id for e in third} <= {e.source_id for e in (*first, *second)}
    fourth, _ = await asked(hubspot, cursor, after(65))
    assert fourth == []


@respx.mock
async def test_many_that_changed_in_one_moment_and_after_it(pool: httpx.AsyncClient) -> None:
    account, hubspot = Account(), made(pool)
    _, cursor = await asked(hubspot, None, NOW)
    for n in range(60):
        account.moved(str(n), after(1), "won", "501")
    for n in range(60, 90):
        account.moved(str(n), after(2), "won", "501")
    events, _ = await asked(hubspot, cursor, after(5))
    assert said(events) == {(str(n), "won", "501") for n in range(90)}


@respx.mock
async def test_a_deal_that_is_gone_costs_nothing(pool: httpx.AsyncClient) -> None:
    account, hubspot = Account(), made(pool)
    _, cursor = await asked(hubspot, None, NOW)
    account.moved("7", after(1), "won", "501")
    account.moved("8", after(1), "won", "502")
    account.gone = {"7"}
    events, _ = await asked(hubspot, cursor, after(5))
    assert said(events) == {("8", "won", "502")}


@pytest.mark.parametrize("cursor", ["", "{}", "junk", '{"begun": "2026-03-02T09:00:00Z", "deals": {"since": -1}}'])
@respx.mock
async def test_a_cursor_of_somebody_elses(pool: httpx.AsyncClient, cursor: str) -> None:
    if cursor:
        with pytest.raises(NeverAgain, match="cursor"):
            await made(pool).poll(cursor, NOW)


@respx.mock
async def test_an_answer_without_sense_moves_nothing_on(pool: httpx.AsyncClient) -> None:
    search = respx.post(f"{API}/crm/v3/objects/deals/search")
    search.respond(200, json={"results": [{"id": "7", "properties": {}}], "paging": {"next": {"after": "25"}}})
    respx.get(url__startswith=f"{API}/crm/v3/objects/deals/7").respond(404)
    with pytest.raises(NeverAgain, match="hs_lastmodifieddate"):
        await made(pool).poll(None, NOW)
    search.respond(429, json={"policyName": "SECONDLY"})
    with pytest.raises(TryAgain) as caught:
        await made(pool).poll(None, NOW)
    assert caught.value.delay == timedelta(seconds=1)


SUBSCRIPTIONS = {"promotional": [11], "lifecycle": [12]}


def status(id: int | None, status: str, at: datetime, **more: str) -> dict[str, Any]:
    named = {} if id is None else {"subscriptionId": id}
    return {**named, "status": status, "timestamp": text(at), "source": "x", "channel": "EMAIL", **more}


async def heard(pool: httpx.AsyncClient, account: Account) -> list[Event]:
    hubspot = made(pool, subscriptions=SUBSCRIPTIONS)
    account.contacts["501"] = {"email": "Zoe@example.com", "changed": after(1)}
    account.contacts["502"] = {"changed": after(1)}
    events, _ = await asked(hubspot, (await hubspot.poll(None, NOW)).cursor, after(5))
    again, _ = await asked(hubspot, (await hubspot.poll(None, NOW)).cursor, after(5))
    assert events == again
    return events


@pytest.mark.parametrize(
    ("theirs", "type", "purpose"),
    [
        (status(11, "UNSUBSCRIBED", after(1)), "consent.withdrawn", "promotional"),
        (status(99, "UNSUBSCRIBED", after(1)), "consent.withdrawn", "all"),
        (status(12, "SUBSCRIBED", after(1), legalBasis="CONSENT_WITH_NOTICE"), "consent.granted", "lifecycle"),
    ],
)
@respx.mock
async def test_a_status_is_a_consent(pool: httpx.AsyncClient, theirs: dict[str, Any], type: str, purpose: str) -> None:
    account = Account()
    account.statuses["Zoe@example.com"] = [theirs]
    (event,) = await heard(pool, account)
    assert (event.type, event.occurred_at) == (type, after(1))
    evidence = f"hubspot subscription {theirs['subscriptionId']}"
    assert event.data == {"channel": "email", "purpose": purpose, "evidence": evidence}
    assert [(i.kind, i.value) for i in event.identities] == [("hubspot", "501"), ("email", "zoe@example.com")]
    assert "zoe" not in event.source_id


@pytest.mark.parametrize(
    "theirs",
    [
        status(11, "NOT_SPECIFIED", after(1)),
        status(11, "SUBSCRIBED", after(1)),
        status(11, "SUBSCRIBED", after(1), legalBasis="LEGITIMATE_INTEREST_PQL"),
        status(99, "SUBSCRIBED", after(1), legalBasis="CONSENT_WITH_NOTICE"),
        status(11, "UNSUBSCRIBED", after(1), legalBasisExplanation="Perennial event e-1"),
    ],
)
@respx.mock
async def test_no_consent_is_guessed_and_our_own_word_is_not_news(
    pool: httpx.AsyncClient, theirs: dict[str, Any]
) -> None:
    account = Account()
    account.statuses["Zoe@example.com"] = [theirs]
    assert await heard(pool, account) == []


@respx.mock
async def test_a_no_to_everything(pool: httpx.AsyncClient) -> None:
    account = Account()
    account.wide["Zoe@example.com"] = [status(None, "UNSUBSCRIBED", after(1), wideStatusType="PORTAL_WIDE")]
    (event,) = await heard(pool, account)
    assert (event.type, event.data["purpose"]) == ("consent.withdrawn", "all")


@respx.mock
async def test_one_that_cannot_be_read_among_others_is_read_alone(pool: httpx.AsyncClient) -> None:
    account, hubspot = Account(), made(pool, subscriptions=SUBSCRIPTIONS)
    account.unreadable = {"zoe@example.com", "bad"}
    account.contacts |= {
        "501": {"email": "zoe@example.com", "changed": after(1)},
        "502": {"email": "bad", "changed": after(1)},
        "503": {"email": "max@example.com", "changed": after(1)},
    }
    account.statuses["max@example.com"] = [status(11, "UNSUBSCRIBED", after(1))]
    alone = f"{API}/communication-preferences/v4/statuses"
    respx.get(f"{alone}/zoe%40example.com").respond(json={"results": [status(12, "UNSUBSCRIBED", after(1))]})
    respx.get(f"{alone}/zoe%40example.com/unsubscribe-all").respond(json={"results": []})
    respx.get(url__startswith=f"{alone}/bad").respond(400, json={"category": "VALIDATION_ERROR"})
    events, _ = await asked(hubspot, (await hubspot.poll(None, NOW)).cursor, after(5))
    assert {(e.identities[0].value, e.data["purpose"]) for e in events} == {
        ("501", "lifecycle"),
        ("503", "promotional"),
    }


@respx.mock
async def test_without_subscriptions_nobodys_preferences_are_asked(pool: httpx.AsyncClient) -> None:
    account = Account()
    account.contacts["501"] = {"email": "zoe@example.com", "changed": after(1)}
    await asked(made(pool), (await made(pool).poll(None, NOW)).cursor, after(5))
    assert account.searches == 2


def walks(cursor: str) -> Any:
    return json.loads(cursor)


@respx.mock
async def test_without_the_deals_scope_consent_is_asked_for_all_the_same(pool: httpx.AsyncClient) -> None:
    account, hubspot = Account(), made(pool, subscriptions=SUBSCRIPTIONS)
    account.forbidden = "/objects/deals"
    first = await hubspot.poll(None, NOW)
    account.moved("7", after(1), "won", "501")
    for n in range(130):
        account.contacts[str(n)] = {"email": f"c{n}@example.com", "changed": after(1) + timedelta(seconds=n)}
        account.statuses[f"c{n}@example.com"] = [status(11, "UNSUBSCRIBED", after(1))]
    page = await hubspot.poll(first.cursor, after(30))
    assert page.more
    last = await hubspot.poll(page.cursor, after(30))
    events = [*page.events, *last.events]
    assert len({e.source_id for e in events}) == 130 and {e.type for e in events} == {"consent.withdrawn"}
    assert (first.fault, last.fault) == ("deals: 403 MISSING_SCOPES", "deals: 403 MISSING_SCOPES")
    assert walks(last.cursor)["deals"] == {"since": ms(NOW), "after": "0"}
    assert walks(last.cursor)["contacts"] != walks(first.cursor)["contacts"]
    account.forbidden = None
    then = await hubspot.poll(last.cursor, after(60))
    assert (said(then.events), then.fault) == ({("7", "won", "501")}, None)


@pytest.mark.parametrize("refused", ["/objects/contacts/search", "/statuses/batch/read"])
@respx.mock
async def test_without_the_scope_of_preferences_deals_are_asked_for_all_the_same(
    pool: httpx.AsyncClient, refused: str
) -> None:
    account, hubspot = Account(), made(pool, subscriptions=SUBSCRIPTIONS)
    cursor = (await hubspot.poll(None, NOW)).cursor
    account.moved("7", after(1), "won", "501")
    account.contacts["501"] = {"email": "zoe@example.com", "changed": after(1)}
    account.statuses["zoe@example.com"] = [status(11, "UNSUBSCRIBED", after(1))]
    account.forbidden = refused
    page = await hubspot.poll(cursor, after(30))
    assert ({e.type for e in page.events}, page.fault) == ({"deal.stage_changed"}, "consent: 403 MISSING_SCOPES")
    assert walks(page.cursor)["contacts"] == walks(cursor)["contacts"]
    assert walks(page.cursor)["deals"] != walks(cursor)["deals"]
    account.forbidden = None
    assert {e.type for e in (await hubspot.poll(page.cursor, after(60))).events} == {"consent.withdrawn"}


@respx.mock
async def test_what_no_scope_allows_is_said_of_each(pool: httpx.AsyncClient) -> None:
    respx.post(url__startswith=API).respond(403, json={"category": "MISSING_SCOPES"})
    page = await made(pool, subscriptions=SUBSCRIPTIONS).poll(None, NOW)
    assert page.fault == "deals: 403 MISSING_SCOPES; consent: 403 MISSING_SCOPES"
    assert not page.events and not page.more


@respx.mock
async def test_a_token_that_is_no_good_is_no_matter_of_scopes(pool: httpx.AsyncClient) -> None:
    respx.post(url__startswith=API).respond(401, json={"category": "INVALID_AUTHENTICATION"})
    with pytest.raises(NeverAgain, match="INVALID_AUTHENTICATION"):
        await made(pool).poll(None, NOW)
