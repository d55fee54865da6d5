"""Salesforce: the flow's callout, the poll, the CRM calls, consent, and questions nobody can tamper with."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors import http
from connectors.base import Crm, Person, Poller, Refused, Request, Sink, Source, Task, Told
from connectors.errors import ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.salesforce import Salesforce, SalesforceSettings
from connectors.salesforce_api import text
from contacts.events import Event, identities

ORG = "https://example.my.salesforce.com"
API = f"{ORG}/services/data/v68.0"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/salesforce"
ZOE, MAX, LEAD, DEAL = ("003000000000001AAA", "003000000000002AAB", "00Q000000000001AAA", "006000000000001AAA")
EMAIL = "zoe@example.com"


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> Salesforce:
    given = {
        "signing_secret": "old, new",
        "instance_url": ORG,
        "client_id": "id-1",
        "client_secret": "hush-hush",
        **settings,
    }
    return Salesforce(SalesforceSettings(_env_file=None, **given), client)


SALESFORCE = made()


def test_it_is_all_of_these() -> None:
    for ability in (Source, Crm, Sink, Poller):
        assert isinstance(SALESFORCE, ability)


# The callout of a flow.


def callout(headers: dict[str, str] | None = None, **body: Any) -> Request:
    return Request("POST", URL, {"x-api-key": "new"} if headers is None else headers, json.dumps(body).encode())


@pytest.mark.parametrize("secret", ["old", "new"])
def test_a_flow_that_knows_a_secret(secret: str) -> None:
    SALESFORCE.verify(callout({"x-api-key": secret}), NOW)


@pytest.mark.parametrize("headers", [{}, {"x-api-key": ""}, {"x-api-key": "other"}, {"x-api-key": "old, new"}])
def test_one_that_does_not(headers: dict[str, str]) -> None:
    with pytest.raises(Refused) as caught:
        SALESFORCE.verify(callout(headers), NOW)
    assert caught.value.status == 401
    assert "old" not in caught.value.reason


def test_without_a_secret_nothing_is_believed() -> None:
    for secret in (None, " , "):
        with pytest.raises(Refused):
            made(signing_secret=secret).verify(callout({"x-api-key": ""}), NOW)


@given(st.text(), st.binary())
def test_junk_secrets_are_refused(secret: str, body: bytes) -> None:
    if secret not in ("old", "new"):
        with pytest.raises(Refused):
            SALESFORCE.verify(Request("POST", URL, {"x-api-key": secret}, body), NOW)


def test_what_a_flow_says() -> None:
    (event,) = SALESFORCE.parse(
        callout(
            type="meeting.booked", record_id=ZOE, email="Zoe@Example.com", occurred_at="2026-03-02T10:00:00+01:00",
            data={"subject": "Demo"}, sent_by="flow",
        ),
        NOW,
    )  # fmt: skip
    assert (event.type, event.source, event.occurred_at) == ("meeting.booked", "salesforce", NOW)
    assert [(i.kind, i.value) for i in event.identities] == [("salesforce", ZOE), ("email", EMAIL)]
    assert event.data == {"subject": "Demo"}


def test_a_repeat_is_a_repeat_and_another_is_another() -> None:
    body = {"type": "deal.stage_changed", "record_id": ZOE, "occurred_at": "2026-03-02T09:00:00.000Z"}
    variants = [
        {},
        {"data": {"deal_id": DEAL}},
        {"data": {"deal_id": MAX}},
        {"record_id": MAX},
        {"occurred_at": "2026-03-02T09:00:01Z"},
        {"type": "contract.signed"},
        {"data": {"deal_id": "x" * 400}},
    ]
    ids = [SALESFORCE.parse(callout(**{**body, **more}), NOW)[0].source_id for more in variants]
    assert len(set(ids)) == len(ids)
    assert ids == [SALESFORCE.parse(callout(**{**body, **more}), NOW)[0].source_id for more in variants]
    same = SALESFORCE.parse(callout(**{**body, "occurred_at": "2026-03-02T10:00:00+01:00"}), NOW)[0]
    assert same.source_id == ids[0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"type": "handoff.opened"}, "type"),
        ({"type": None}, "type"),
        ({"record_id": "003000000000001"}, "record_id"),
        ({"record_id": "' OR Id != '123456"}, "record_id"),
        ({"occurred_at": "yesterday"}, "occurred_at"),
        ({"occurred_at": "2026-03-02T09:00:00"}, "occurred_at"),
        ({"type": "consent.granted"}, "data.channel"),
        ({"data": [1]}, "data"),
    ],
)
def test_a_flow_typed_wrong_is_told_where(change: dict[str, Any], field: str) -> None:
    body = {"type": "call.missed", "record_id": ZOE, "occurred_at": "2026-03-02T09:00:00Z", **change}
    with pytest.raises(ValueError, match=rf"^{re.escape(field)}: [^\n]+$"):
        SALESFORCE.parse(callout(**body), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(["deal.stage_changed", "consent.withdrawn", "contact.updated", "ticket.opened"]) | JSON,
    st.just(ZOE) | JSON,
    st.just("2026-03-02T09:00:00Z") | JSON,
    JSON,
    st.dictionaries(st.sampled_from(["deal_id", "channel", "ticket_id", "email"]), JSON),
)
def test_junk_callouts_parse_or_raise_a_value_error(type: Any, record: Any, at: Any, email: Any, data: Any) -> None:
    try:
        SALESFORCE.parse(callout(type=type, record_id=record, occurred_at=at, email=email, data=data), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$"):
        SALESFORCE.parse(Request("POST", URL, {}, body), NOW)


# Questions.


@given(st.text("'\\a") | st.text())
def test_a_text_in_a_question_ends_where_it_ends(value: str) -> None:
    try:
        quoted = text(value)
    except NeverAgain:
        assert any(ord(c) < 32 or 127 <= ord(c) < 160 for c in value)
        return
    # Read as Salesforce reads it: a backslash takes the next character along, a bare quote ends the text.
    read, rest = "", quoted[1:]
    while rest and not rest.startswith("'"):
        taken = 2 if rest.startswith("\\") else 1
        read, rest = read + rest[taken - 1 : taken], rest[taken:]
    assert (read, rest) == (value, "'")


# The org.


class Org:
    """Records as Salesforce would keep them: questions are answered from them, by what each test lays down."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[dict[str, Any]]]] = {}
        self.asked: list[str] = []
        self.tokens = 0
        self.good: set[str] = set()
        self.token = respx.post(f"{ORG}/services/oauth2/token").mock(side_effect=self.give)
        respx.get(f"{API}/query").mock(side_effect=self.guarded(self.answer))
        respx.get(f"{API}/queryAll").mock(side_effect=self.guarded(self.answer))

    def give(self, request: httpx.Request) -> httpx.Response:
        form = parse_qs(request.content.decode())
        assert form == {"grant_type": ["client_credentials"], "client_id": ["id-1"], "client_secret": ["hush-hush"]}
        self.tokens += 1
        self.good = {f"Bearer t{self.tokens}"}
        return httpx.Response(200, json={"access_token": f"t{self.tokens}", "instance_url": ORG})

    def guarded(self, answer: Callable[[httpx.Request], httpx.Response]) -> Callable[[httpx.Request], httpx.Response]:
        def check(request: httpx.Request) -> httpx.Response:
            if request.headers["authorization"] not in self.good:
                return httpx.Response(401, json=[{"errorCode": "INVALID_SESSION_ID", "message": "Session expired"}])
            return answer(request)

        return check

    def answer(self, request: httpx.Request) -> httpx.Response:
        soql = request.url.params["q"]
        self.asked.append(soql)
        kind = re.search(r" FROM (Contact|Lead|Opportunity|Task) WHERE ", soql)
        assert kind
        pages = self.answers.get(kind[1], [])
        records = (pages.pop(0) if len(pages) > 1 else pages[0]) if pages else []
        return httpx.Response(200, json={"totalSize": len(records), "done": True, "records": records})

    def write(self, method: str, path: str, *answers: httpx.Response) -> respx.Route:
        left = list(answers)
        return respx.route(method=method, url=f"{API}{path}").mock(
            side_effect=self.guarded(lambda request: left.pop(0) if len(left) > 1 else left[0])
        )


@pytest.fixture
async def pool() -> AsyncIterator[httpx.AsyncClient]:
    async with http.new_client() as client:
        yield client


def bodies(route: respx.Route) -> list[Any]:
    return [json.loads(call.request.content) for call in route.calls]


@respx.mock
async def test_one_token_serves_many_calls_at_once(pool: httpx.AsyncClient) -> None:
    org, salesforce = Org(), made(pool, stage_field="Stage__c")
    org.write("PATCH", f"/sobjects/Contact/{ZOE}", httpx.Response(204))
    await asyncio.gather(*(salesforce.stage(ZOE, "lead") for _ in range(5)))
    assert org.tokens == 1


@respx.mock
async def test_a_token_that_is_no_longer_good_is_renewed_once_by_whoever_is_first(pool: httpx.AsyncClient) -> None:
    org, salesforce = Org(), made(pool, stage_field="Stage__c")
    together = asyncio.Barrier(5)

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] in org.good:
            return httpx.Response(204)
        await together.wait()
        return httpx.Response(401, json=[{"errorCode": "INVALID_SESSION_ID"}])

    route = respx.patch(f"{API}/sobjects/Contact/{ZOE}").mock(side_effect=answer)
    await salesforce.stage(ZOE, "lead")
    org.good = set()
    await asyncio.gather(*(salesforce.stage(ZOE, "lead") for _ in range(5)))
    assert org.tokens == 2
    assert route.call_count == 1 + 5 + 5


@respx.mock
async def test_a_new_token_that_is_not_good_either_ends_it(pool: httpx.AsyncClient) -> None:
    org = Org()
    org.guarded = lambda answer: answer
    route = respx.patch(f"{API}/sobjects/Contact/{ZOE}").respond(401, json=[{"errorCode": "INVALID_SESSION_ID"}])
    with pytest.raises(NeverAgain, match="401 INVALID_SESSION_ID"):
        await made(pool, stage_field="Stage__c").stage(ZOE, "lead")
    assert (org.tokens, route.call_count) == (2, 2)


@respx.mock
async def test_an_app_salesforce_does_not_know(pool: httpx.AsyncClient) -> None:
    said = {"error": "invalid_client", "error_description": "hush-hush is wrong"}
    respx.post(f"{ORG}/services/oauth2/token").respond(400, json=said)
    with pytest.raises(NeverAgain, match="400 invalid_client") as caught:
        await made(pool).upsert(Person(EMAIL))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("missing", ["instance_url", "client_id", "client_secret"])
async def test_without_an_app_nothing_is_asked(pool: httpx.AsyncClient, missing: str) -> None:
    with pytest.raises(NeverAgain, match="SALESFORCE_CLIENT_ID"):
        await made(pool, **{missing: None}).upsert(Person(EMAIL))


@pytest.mark.parametrize(
    ("status", "code", "kind", "delay"),
    [
        (403, "REQUEST_LIMIT_EXCEEDED", TryAgain, 3600),
        (400, "UNABLE_TO_LOCK_ROW", TryAgain, 2),
        (503, "SERVER_UNAVAILABLE", TryAgain, None),
        (500, "UNKNOWN_EXCEPTION", TryAgain, None),
        (404, "ENTITY_IS_DELETED", NeverAgain, None),
        (400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", NeverAgain, None),
        (400, "DUPLICATES_DETECTED", NeverAgain, None),
        (403, "INSUFFICIENT_ACCESS", NeverAgain, None),
    ],
)
@respx.mock
async def test_errors(
    pool: httpx.AsyncClient, status: int, code: str, kind: type[ConnectorError], delay: int | None
) -> None:
    fault = {"errorCode": code, "message": f"{EMAIL} is wrong", "fields": ["Email"]}
    Org().write("PATCH", f"/sobjects/Contact/{ZOE}", httpx.Response(status, json=[fault]))
    with pytest.raises(kind) as caught:
        await made(pool, stage_field="Stage__c").stage(ZOE, "lead")
    assert caught.value.reason == f"{status} {code} Email"
    assert getattr(caught.value, "delay", None) == (timedelta(seconds=delay) if delay else None)
    assert "zoe" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'[{"fields": 7}]', b'["x"]', b"7"])
@respx.mock
async def test_a_refusal_of_any_shape(pool: httpx.AsyncClient, body: bytes) -> None:
    Org().write("PATCH", f"/sobjects/Contact/{ZOE}", httpx.Response(300, content=body))
    with pytest.raises(NeverAgain, match="300"):
        await made(pool, stage_field="Stage__c").stage(ZOE, "lead")


# People.


@respx.mock
async def test_a_person_who_is_not_there_is_upserted_by_key(pool: httpx.AsyncClient) -> None:
    org = Org()
    made_new = httpx.Response(201, json={"id": ZOE, "success": True, "errors": [], "created": True})
    route = org.write("PATCH", "/sobjects/Contact/Perennial_Key__c/zoe%40example.com", made_new)
    assert await made(pool).upsert(Person(EMAIL, first_name="Zoë", phone="1", properties={"Tier__c": "A"})) == ZOE
    assert bodies(route) == [{"LastName": EMAIL, "Email": EMAIL, "FirstName": "Zoë", "Phone": "1", "Tier__c": "A"}]
    (asked,) = org.asked
    assert "WHERE (Perennial_Key__c = 'zoe@example.com' OR Email = 'zoe@example.com') ORDER BY CreatedDate, Id" in asked


@pytest.mark.parametrize(
    ("records", "id", "written"),
    [
        ([{"Id": MAX, "Perennial_Key__c": None}, {"Id": ZOE, "Perennial_Key__c": EMAIL}], ZOE, {"FirstName": "Zoë"}),
        ([{"Id": ZOE}, {"Id": MAX}], ZOE, {"Perennial_Key__c": EMAIL, "FirstName": "Zoë"}),
        ([{"Id": MAX, "Perennial_Key__c": "m@example.com"}, {"Id": ZOE}], ZOE, None),
        ([{"Id": ZOE, "Perennial_Key__c": "old@example.com"}], ZOE, {"FirstName": "Zoë"}),
    ],
)
@respx.mock
async def test_a_person_who_is_there_is_updated_but_for_the_address(
    pool: httpx.AsyncClient, records: list[dict[str, Any]], id: str, written: dict[str, str] | None
) -> None:
    org = Org()
    org.answers["Contact"] = [records]
    route = org.write("PATCH", f"/sobjects/Contact/{id}", httpx.Response(204))
    assert await made(pool).upsert(Person(EMAIL, first_name="Zoë")) == id
    assert bodies(route) == [written or {"Perennial_Key__c": EMAIL, "FirstName": "Zoë"}]


@respx.mock
async def test_with_nothing_to_say_the_person_is_only_found(pool: httpx.AsyncClient) -> None:
    org = Org()
    org.answers["Contact"] = [[{"Id": ZOE, "Perennial_Key__c": "ZOE@example.com"}]]
    assert await made(pool).upsert(Person(EMAIL)) == ZOE


@respx.mock
async def test_an_upsert_that_says_nothing_is_looked_up(pool: httpx.AsyncClient) -> None:
    org = Org()
    org.answers["Contact"] = [[], [{"Id": ZOE, "Perennial_Key__c": EMAIL}]]
    org.write("PATCH", "/sobjects/Contact/Perennial_Key__c/zoe%40example.com", httpx.Response(204))
    assert await made(pool).upsert(Person(EMAIL)) == ZOE


@respx.mock
async def test_a_lead_needs_a_company_and_a_converted_one_is_left_alone(pool: httpx.AsyncClient) -> None:
    org = Org()
    saved = httpx.Response(201, json={"id": LEAD})
    route = org.write("PATCH", "/sobjects/Lead/Perennial_Key__c/zoe%40example.com", saved)
    salesforce = made(pool, object="Lead")
    await salesforce.upsert(Person(EMAIL, last_name="Ash"))
    await salesforce.upsert(Person(EMAIL, last_name="Ash", company="Ash Ltd"))
    assert [body["Company"] for body in bodies(route)] == ["unknown", "Ash Ltd"]
    assert all("AND IsConverted = false" in soql for soql in org.asked)


@respx.mock
async def test_an_address_cannot_change_the_question(pool: httpx.AsyncClient) -> None:
    org = Org()
    org.answers["Contact"] = [[{"Id": ZOE, "Perennial_Key__c": "o'x@example.com"}]]
    assert await made(pool).upsert(Person("o'x@example.com")) == ZOE
    assert r"Perennial_Key__c = 'o\'x@example.com' OR Email = 'o\'x@example.com'" in org.asked[0]


@pytest.mark.parametrize(
    ("person", "field"),
    [
        (Person(EMAIL, first_name="f" * 41), "FirstName"),
        (Person(EMAIL, last_name="l" * 81), "LastName"),
        (Person(EMAIL, phone="1" * 41), "Phone"),
        (Person("e" * 70 + "@example.com"), "Email"),
    ],
)
@respx.mock
async def test_what_does_not_fit_is_not_sent(pool: httpx.AsyncClient, person: Person, field: str) -> None:
    with pytest.raises(NeverAgain, match=f"{field}: is longer"):
        await made(pool).upsert(person)
    assert not respx.calls


# Tasks, notes, stages.

TASK = Task("run-1/handoff", "Call Zoë", "She saw <pricing>", datetime(2026, 3, 2, 9, 30, tzinfo=UTC))


@respx.mock
async def test_a_key_makes_one_task(pool: httpx.AsyncClient) -> None:
    org, salesforce = Org(), made(pool)
    kept: list[dict[str, Any]] = []
    org.answers["Task"] = [kept]

    def create(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        kept.append({"Id": f"00T00000000000{len(kept)}AAA", "Description": body["Description"]})
        return httpx.Response(201, json={"id": kept[-1]["Id"], "success": True})

    route = respx.post(f"{API}/sobjects/Task").mock(side_effect=org.guarded(create))
    assert await salesforce.task(ZOE, TASK) == await salesforce.task(ZOE, TASK)
    await salesforce.task(ZOE, Task("run-1/hand", "Other", "", TASK.due, owner="Sales"))
    await salesforce.task(ZOE, Task("run-2/hand", "Other", "", TASK.due, owner="005000000000001AAA"))
    for _ in range(2):
        await salesforce.note(ZOE, "run-1/story", "Where it went", TASK.due)
    first, second, third, note = bodies(route)
    assert first == {
        "Subject": "Call Zoë",
        "ActivityDate": "2026-03-02",
        "Status": "Not Started",
        "WhoId": ZOE,
        "Description": "She saw <pricing>\n\n[perennial run-1/handoff]",
    }
    assert second["Description"] == "\n\nFor Sales\n\n[perennial run-1/hand]"
    assert third["OwnerId"] == "005000000000001AAA"
    assert (note["Status"], note["Description"]) == ("Completed", "Where it went\n\n[perennial run-1/story]")
    assert f"FROM Task WHERE WhoId = '{ZOE}' ORDER BY CreatedDate DESC" in org.asked[0]


@respx.mock
async def test_a_task_whose_answer_is_lost_is_unknown(pool: httpx.AsyncClient) -> None:
    Org()
    respx.post(f"{API}/sobjects/Task").mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(Unknown):
        await made(pool).task(ZOE, TASK)


@respx.mock
async def test_a_title_that_does_not_fit(pool: httpx.AsyncClient) -> None:
    Org()
    with pytest.raises(NeverAgain, match="Subject: is longer"):
        await made(pool).task(ZOE, Task("k", "t" * 256, "", TASK.due))


@pytest.mark.parametrize("id", ["", "501", "x' OR Id != '", "../../Account/001000000000001", ZOE + "x"])
@respx.mock
async def test_an_id_of_another_kind_goes_nowhere(pool: httpx.AsyncClient, id: str) -> None:
    salesforce = made(pool, stage_field="Stage__c")
    for asked in (salesforce.stage(id, "lead"), salesforce.task(id, TASK), salesforce.note(id, "k", "b", NOW)):
        with pytest.raises(NeverAgain, match="no id"):
            await asked
    assert not respx.calls


@respx.mock
async def test_a_stage_is_a_field_of_ones_own(pool: httpx.AsyncClient) -> None:
    org, salesforce = Org(), made(pool, stage_field="Stage__c", stage_values={"at_risk": "At risk"})
    contact = org.write("PATCH", f"/sobjects/Contact/{ZOE}", httpx.Response(204))
    lead = org.write("PATCH", f"/sobjects/Lead/{LEAD}", httpx.Response(204))
    await salesforce.stage(ZOE, "at_risk")
    await salesforce.stage(LEAD, "lead")
    assert (bodies(contact), bodies(lead)) == ([{"Stage__c": "At risk"}], [{"Stage__c": "lead"}])
    with pytest.raises(NeverAgain, match="SALESFORCE_STAGE_FIELD"):
        await made(pool).stage(ZOE, "lead")


# What it is told.

KNOWN = (("email", "old@example.com"), ("salesforce", ZOE), ("email", EMAIL))


def told(type: str, *who: tuple[str, str], **data: Any) -> Told:
    return Told("e-1", type, NOW, "c-1", identities(*(who or KNOWN)), data)


def reached(id: str, opted_out: bool, at: datetime = NOW - timedelta(days=1)) -> dict[str, Any]:
    return {"Id": id, "HasOptedOutOfEmail": opted_out, "SystemModstamp": at.isoformat()}


@pytest.mark.parametrize(
    ("opt_out", "type", "data", "heard"),
    [
        ("all", "consent.withdrawn", {"channel": "email", "purpose": "promotional"}, True),
        ("all", "consent.withdrawn", {"channel": "all", "purpose": "all"}, True),
        ("all", "message.unsubscribed", {}, True),
        ("all", "message.complained", {"channel": "sms"}, True),
        ("promotional", "message.complained", {"channel": "email", "purpose": "lifecycle"}, True),
        ("all", "consent.withdrawn", {"channel": "sms", "purpose": "all"}, False),
        ("all", "consent.withdrawn", {"channel": "email", "purpose": "transactional"}, False),
        ("promotional", "message.unsubscribed", {"channel": "email", "purpose": "lifecycle"}, False),
        ("promotional", "message.unsubscribed", {"channel": "email", "purpose": "promotional"}, True),
        ("promotional", "message.unsubscribed", {"channel": "email"}, True),
    ],
)
@respx.mock
async def test_a_no_opts_out_everything_that_is_this_person(
    pool: httpx.AsyncClient, opt_out: str, type: str, data: dict[str, str], heard: bool
) -> None:
    org = Org()
    org.answers = {"Contact": [[reached(ZOE, False), reached(MAX, True)]], "Lead": [[reached(LEAD, False)]]}
    routes = [
        org.write("PATCH", f"/sobjects/{kind}/{id}", httpx.Response(204))
        for kind, id in (("Contact", ZOE), ("Lead", LEAD))
    ]
    await made(pool, opt_out=opt_out).tell(told(type, **data))
    assert [bodies(route) for route in routes] == [[{"HasOptedOutOfEmail": True}] if heard else []] * 2
    if heard:
        where = f"WHERE (Id IN ('{ZOE}') OR Email IN ('old@example.com', 'zoe@example.com'))"
        assert all(where in soql for soql in org.asked)


@pytest.mark.parametrize(
    ("opt_out", "purpose", "heard"),
    [("all", "all", True), ("all", "promotional", False), ("promotional", "promotional", True),
     ("promotional", "all", True), ("promotional", "lifecycle", False)],
)  # fmt: skip
@respx.mock
async def test_a_yes_opts_in_where_it_is_as_wide_as_the_switch(
    pool: httpx.AsyncClient, opt_out: str, purpose: str, heard: bool
) -> None:
    org = Org()
    org.answers["Contact"] = [[reached(ZOE, True), reached(MAX, False)]]
    route = org.write("PATCH", f"/sobjects/Contact/{ZOE}", httpx.Response(204))
    await made(pool, opt_out=opt_out).tell(told("consent.granted", channel="email", purpose=purpose))
    assert bodies(route) == ([{"HasOptedOutOfEmail": False}] if heard else [])


@respx.mock
async def test_nobody_is_opted_in_over_what_may_be_a_later_no(pool: httpx.AsyncClient) -> None:
    org = Org()
    org.answers["Contact"] = [[reached(MAX, True), reached(ZOE, True, NOW + timedelta(seconds=1))]]
    with pytest.raises(NeverAgain, match="later word"):
        await made(pool).tell(told("consent.granted", channel="email", purpose="all"))
    assert not [call for call in respx.calls if call.request.method == "PATCH"]


@respx.mock
async def test_what_happened_is_written_into_fields(pool: httpx.AsyncClient) -> None:
    org = Org()
    org.answers["Contact"] = [[reached(ZOE, False)]]
    route = org.write("PATCH", f"/sobjects/Contact/{ZOE}", httpx.Response(204))
    fields = {"purchase.completed": {"Customer__c": True}, "segment.left:vip": {"Tier__c": "B"}}
    salesforce = made(pool, event_fields=fields)
    await salesforce.tell(told("purchase.completed", order_id="o-1"))
    await salesforce.tell(told("segment.left", segment="vip"))
    await salesforce.tell(told("segment.left", segment="other"))
    assert bodies(route) == [{"Customer__c": True}, {"Tier__c": "B"}]
    with pytest.raises(NeverAgain, match="SALESFORCE_EVENT_FIELDS"):
        await salesforce.tell(told("ticket.opened", ticket_id="1"))


@respx.mock
async def test_somebody_salesforce_cannot_know(pool: httpx.AsyncClient) -> None:
    await made(pool).tell(told("consent.withdrawn", ("anonymous", "a-1"), ("salesforce", "junk'"), channel="all"))
    assert not respx.calls


# What it is asked.


def record(id: str, at: datetime, **fields: Any) -> dict[str, Any]:
    stamp = at.strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    early = "2025-01-01T00:00:00.000+0000"
    return {"attributes": {}, "Id": id, "SystemModstamp": stamp, "CreatedDate": early, "IsDeleted": False, **fields}


class Table(Org):
    """An org whose questions are really answered: by stamp, id and limit."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, list[dict[str, Any]]] = {"Contact": [], "Lead": [], "Opportunity": []}
        self.unseen: dict[str, str] = {}

    def answer(self, request: httpx.Request) -> httpx.Response:
        soql = request.url.params["q"]
        self.asked.append(soql)
        assert request.url.path.endswith("/queryAll")
        read = re.fullmatch(
            r"SELECT .+ FROM (\w+) WHERE (?:SystemModstamp >= (\S+)|\(SystemModstamp > (\S+) OR \(SystemModstamp = "
            r"(\S+) AND Id > '(\w+)'\)\)) AND SystemModstamp <= (\S+) ORDER BY SystemModstamp, Id LIMIT (\d+)",
            soql,
        )
        assert read, soql
        kind, begun, since, same, id, until, limit = read.groups()
        assert since == same
        if kind in self.unseen:
            return httpx.Response(400, json=[{"errorCode": self.unseen[kind], "message": "Zoe"}])

        def wanted(row: dict[str, Any]) -> bool:
            at = datetime.fromisoformat(row["SystemModstamp"])
            if at > datetime.fromisoformat(until):
                return False
            if begun:
                return at >= datetime.fromisoformat(begun)
            return (at, row["Id"]) > (datetime.fromisoformat(since), id)

        rows = sorted(filter(wanted, self.rows[kind]), key=lambda row: (row["SystemModstamp"], row["Id"]))[: int(limit)]
        return httpx.Response(200, json={"totalSize": len(rows), "done": True, "records": rows})


async def asked(salesforce: Salesforce, cursor: str | None, now: datetime) -> tuple[list[Event], str]:
    events: list[Event] = []
    for _ in range(20):
        page = await salesforce.poll(cursor, now)
        events, cursor = [*events, *page.events], page.cursor
        if not page.more:
            return events, cursor
    raise AssertionError("it never ends")


async def heard(pool: httpx.AsyncClient, kind: str, *rows: dict[str, Any], **settings: Any) -> list[Event]:
    table, salesforce = Table(), made(pool, **settings)
    _, cursor = await asked(salesforce, None, NOW)
    table.rows[kind] += rows
    events, cursor = await asked(salesforce, cursor, NOW + timedelta(minutes=9))
    assert (await asked(salesforce, cursor, NOW + timedelta(minutes=9)))[0] == []
    return events


LATER = NOW + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("unseen", "code"), [("Contact", "INVALID_FIELD"), ("Lead", "INVALID_TYPE"), ("Opportunity", "INVALID_FIELD")]
)
@respx.mock
async def test_what_the_user_may_not_see_keeps_nothing_else_back(
    pool: httpx.AsyncClient, unseen: str, code: str
) -> None:
    table, salesforce = Table(), made(pool)
    _, cursor = await asked(salesforce, None, NOW)
    roles = {"records": [{"ContactId": ZOE, "Contact": {"Email": EMAIL}}]}
    moved = {"LastStageChangeDate": LATER.isoformat(), "StageName": "Won", "OpportunityContactRoles": roles}
    table.rows = {"Contact": [record(ZOE, LATER)], "Lead": [record(LEAD, LATER)]}
    table.rows["Opportunity"] = [record(DEAL, LATER, **moved)]
    table.unseen = {unseen: code}
    page = await salesforce.poll(cursor, NOW + timedelta(minutes=9))
    assert (len(page.events), page.fault, page.more) == (2, f"{unseen}: 400 {code}", False)
    table.unseen = {}
    then = await salesforce.poll(page.cursor, NOW + timedelta(minutes=10))
    kind = "deal.stage_changed" if unseen == "Opportunity" else "contact.updated"
    assert ([e.type for e in then.events], then.fault) == ([kind], None)


@respx.mock
async def test_an_app_that_is_refused_is_no_matter_of_what_its_user_may_see(pool: httpx.AsyncClient) -> None:
    respx.post(url__regex=".*/oauth2/token").respond(400, json={"error": "invalid_client"})
    with pytest.raises(NeverAgain, match="invalid_client"):
        await made(pool).poll(None, NOW)


@respx.mock
async def test_a_contact_that_changed(pool: httpx.AsyncClient) -> None:
    fields = {"Email": "Zoe@example.com", "FirstName": "Zoë", "LastName": "Ash", "Account": {"Name": "Ash Ltd"}}
    (event,) = await heard(pool, "Contact", record(ZOE, LATER, **fields, Phone=None))
    assert (event.type, event.source, event.occurred_at) == ("contact.updated", "salesforce", LATER)
    assert event.data == {"email": EMAIL, "first_name": "Zoë", "last_name": "Ash", "company": "Ash Ltd"}
    assert [(i.kind, i.value) for i in event.identities] == [("salesforce", ZOE), ("email", EMAIL)]


@respx.mock
async def test_a_new_one_is_identified(pool: httpx.AsyncClient) -> None:
    born = (NOW + timedelta(seconds=30)).isoformat()
    events = await heard(pool, "Lead", record(LEAD, LATER, CreatedDate=born, Company="Ash", Account=None))
    assert [(e.type, e.occurred_at) for e in events] == [
        ("contact.identified", NOW + timedelta(seconds=30)),
        ("contact.updated", LATER),
    ]
    assert events[1].data["company"] == "Ash"


@pytest.mark.parametrize("opt_out", ["all", "promotional"])
@respx.mock
async def test_an_opt_out_is_a_no(pool: httpx.AsyncClient, opt_out: str) -> None:
    row = record(ZOE, LATER, HasOptedOutOfEmail=True, DoNotCall=True)
    _, mail, call = await heard(pool, "Contact", row, opt_out=opt_out)
    assert mail.type == call.type == "consent.withdrawn"
    assert mail.data == {"channel": "email", "purpose": opt_out, "evidence": "salesforce HasOptedOutOfEmail"}
    assert call.data == {"channel": "call", "purpose": "all", "evidence": "salesforce DoNotCall"}
    assert mail.source_id != call.source_id


@respx.mock
async def test_no_opt_out_is_no_yes(pool: httpx.AsyncClient) -> None:
    events = await heard(pool, "Contact", record(ZOE, LATER, HasOptedOutOfEmail=False))
    assert [e.type for e in events] == ["contact.updated"]


@respx.mock
async def test_deleted_is_not_erased_and_merged_is_merged(pool: httpx.AsyncClient) -> None:
    rows = [record(ZOE, LATER, IsDeleted=True, MasterRecordId=MAX), record(MAX, LATER, IsDeleted=True)]
    merged, deleted = await heard(pool, "Contact", *rows)
    assert (merged.type, merged.data) == ("contact.merged", {"into": MAX, "merged": [ZOE]})
    assert [i.value for i in merged.identities] == [MAX, ZOE]
    assert deleted.type == "custom.salesforce_deleted"


@respx.mock
async def test_a_converted_lead_is_the_contact_it_became(pool: httpx.AsyncClient) -> None:
    row = record(LEAD, LATER, IsConverted=True, ConvertedContactId=ZOE)
    _, merged = await heard(pool, "Lead", row)
    assert (merged.type, merged.data) == ("contact.merged", {"into": ZOE, "merged": [LEAD]})


@respx.mock
async def test_a_deal_that_moved_is_about_each_of_its_people(pool: httpx.AsyncClient) -> None:
    roles = {"records": [{"ContactId": ZOE, "Contact": {"Email": EMAIL}}, {"ContactId": MAX, "Contact": None}]}
    moved = {"LastStageChangeDate": LATER.isoformat(), "StageName": "Won", "IsClosed": True, "IsWon": True}
    events = await heard(
        pool,
        "Opportunity",
        record(DEAL, LATER + timedelta(minutes=1), **moved, OpportunityContactRoles=roles),
        record(MAX, LATER, **moved, OpportunityContactRoles=None),
        record(LEAD, LATER, **{**moved, "LastStageChangeDate": None}, OpportunityContactRoles=roles),
        record(ZOE, LATER, **moved, OpportunityContactRoles=roles, **{"IsDeleted": True}),
    )
    assert [(e.type, e.identities[0].value, e.occurred_at) for e in events] == [
        ("deal.stage_changed", ZOE, LATER),
        ("deal.stage_changed", MAX, LATER),
    ]
    assert events[0].data == {"deal_id": DEAL, "stage": "Won", "closed": True, "won": True}
    flow = {"type": "deal.stage_changed", "record_id": ZOE, "occurred_at": LATER.isoformat(), "data": {"deal_id": DEAL}}
    assert SALESFORCE.parse(callout(**flow), NOW)[0].source_id == events[0].source_id


@respx.mock
async def test_none_of_many_with_one_stamp_is_missed(pool: httpx.AsyncClient) -> None:
    rows = [record(f"003000000000{n:03}AAA", LATER) for n in range(450)]
    events = await heard(pool, "Contact", *reversed(rows))
    assert sorted(e.identities[0].value for e in events) == [row["Id"] for row in rows]


@respx.mock
async def test_what_is_not_settled_is_left_for_the_next_time(pool: httpx.AsyncClient) -> None:
    table, salesforce = Table(), made(pool)
    _, cursor = await asked(salesforce, None, NOW)
    table.rows["Contact"].append(record(ZOE, LATER))
    events, cursor = await asked(salesforce, cursor, LATER + timedelta(seconds=90))
    assert events == []
    # One with the same stamp and a smaller id was written by a slower transaction.
    table.rows["Contact"].append(record("002" + ZOE[3:], LATER))
    events, _ = await asked(salesforce, cursor, LATER + timedelta(minutes=2))
    assert len(events) == 2


@pytest.mark.parametrize(
    "cursor", ["{}", "junk", '{"begun": "2026-03-02T09:00:00Z", "marks": {"Contact": {"stamp": "x", "id": "y"}}}',
    '{"begun": "2026-03-02T09:00:00Z", "marks": {"Contact": {"stamp": "2026-03-02T09:00:00Z", "id": "\' OR 1"}}}']
)  # fmt: skip
@respx.mock
async def test_a_cursor_of_somebody_elses(pool: httpx.AsyncClient, cursor: str) -> None:
    with pytest.raises(NeverAgain, match="cursor"):
        await made(pool).poll(cursor, NOW)
    assert not respx.calls


@pytest.mark.parametrize(
    "wrong",
    [
        {"key_field": "Key__c = '' OR Id"},
        {"stage_field": "Stage c"},
        {"object": "Account"},
        {"api_version": "v68.0/../.."},
        {"event_fields": {"purchase.completed": {"a b": "c"}}},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        made(**wrong)
