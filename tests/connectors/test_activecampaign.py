"""ActiveCampaign: forms without a signature, every kind of them, the poll, the CRM calls, lists and tags."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors import http
from connectors.activecampaign import ActiveCampaign, ActiveCampaignSettings
from connectors.base import Crm, Person, Poller, Refused, Request, Sink, Source, Task, Told
from connectors.errors import ConnectorError, NeverAgain, TryAgain, Unknown
from contacts.events import Event, identities

API = "https://acme.api-us1.com/api/3"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/activecampaign"
EMAIL = "zoe@example.com"


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> ActiveCampaign:
    given = {
        "signing_secret": "old, new",
        "api_token": "token-1",
        "base_url": "https://acme.api-us1.com",
        "lists": {"promotional": ["3", "5"], "lifecycle": ["4", "5"]},
        **settings,
    }
    return ActiveCampaign(ActiveCampaignSettings(_env_file=None, **given), client)


ACTIVE = made()


def test_it_is_all_of_these() -> None:
    for ability in (Source, Crm, Sink, Poller):
        assert isinstance(ACTIVE, ability)
    assert ActiveCampaignSettings(_env_file=None).calls_per_second == 5


# Who may speak.


def asked(query: str = "", authorization: str | None = None) -> Request:
    headers = {} if authorization is None else {"authorization": authorization}
    return Request("POST", URL + query, headers, b"type=update")


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "request_", [asked("?key=new"), asked("?a=1&key=old"), asked("", basic("ac:new")), asked("?key=new", "Basic junk")]
)
def test_whoever_knows_the_url(request_: Request) -> None:
    ACTIVE.verify(request_, NOW)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (asked(), 401),
        (asked("?key="), 401),
        (asked("?key=other"), 401),
        (asked("?key=old,%20new"), 401),
        (asked("?key=new&key=new"), 400),
        (asked("", basic("ac:other")), 401),
        (asked("", basic("new")), 401),
        (asked("", "Bearer new"), 401),
        (asked("", "Basic %"), 400),
        (asked("", "Basic /w=="), 400),
        (Request("POST", "http://[", {}, b""), 400),
    ],
)
def test_whoever_does_not(request_: Request, status: int) -> None:
    with pytest.raises(Refused) as caught:
        ACTIVE.verify(request_, NOW)
    assert caught.value.status == status
    assert "new" not in caught.value.reason


def test_without_a_secret_nothing_is_believed() -> None:
    with pytest.raises(Refused):
        made(signing_secret=None).verify(asked("?key="), NOW)


@given(st.text(), st.text(), st.binary())
def test_junk_is_refused(url: str, authorization: str, body: bytes) -> None:
    with pytest.raises(Refused):
        ACTIVE.verify(Request("POST", url, {"authorization": authorization}, body), NOW)


# What is said.


def form(type: str, **fields: str) -> dict[str, str]:
    return {
        "type": type,
        "date_time": "2026-03-02T03:00:00-05:00",
        "initiated_from": "admin",
        "initiated_by": "admin",
        "list": "0",
        "contact[id]": "7",
        "contact[email]": "Zoe@example.com",
        "contact[first_name]": "Zoë",
        "contact[last_name]": "",
        "contact[phone]": "+49 30 901820",
        "contact[tags]": "vip, trial",
        **fields,
    }


def heard(fields: dict[str, str], connector: ActiveCampaign = ACTIVE, at: datetime = NOW) -> list[Event]:
    return list(connector.parse(Request("POST", URL, {}, urlencode(fields).encode()), at))


def only(type: str, **fields: str) -> Event:
    (event,) = heard(form(type, **fields))
    return event


TRAITS = {"email": EMAIL, "first_name": "Zoë", "phone": "+4930901820", "tags": "vip, trial"}


@pytest.mark.parametrize("type", ["update", "contact_add"])
def test_a_contact_that_changed(type: str) -> None:
    event = only(type)
    assert (event.type, event.source) == ("contact.updated", "activecampaign")
    assert event.occurred_at == datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
    assert event.data == TRAITS
    assert [(i.kind, i.value) for i in event.identities] == [("activecampaign", "7"), ("email", EMAIL)]
    assert "zoe" not in event.source_id.lower()


@pytest.mark.parametrize(("list", "purpose"), [("3", "promotional"), ("4", "lifecycle"), ("5", "all")])
def test_whoever_subscribes_says_yes_to_what_the_list_is_for(list: str, purpose: str) -> None:
    known, granted = heard(form("subscribe", list=list, initiated_from="public"))
    assert (known.type, known.data) == ("contact.identified", TRAITS)
    assert granted.type == "consent.granted"
    assert granted.data == {"channel": "email", "purpose": purpose, "evidence": f"activecampaign list {list}"}
    assert known.source_id != granted.source_id


def test_a_list_that_serves_no_purpose_gives_no_consent() -> None:
    (event,) = heard(form("subscribe", list="9", initiated_from="public"))
    assert event.type == "contact.identified"


@pytest.mark.parametrize("by", ["admin", "api", "system", ""])
def test_whoever_is_put_on_a_list_has_said_nothing(by: str) -> None:
    assert only("subscribe", list="3", initiated_from=by).type == "contact.updated"


@pytest.mark.parametrize(
    ("list", "purpose", "evidence"),
    [
        ("3", "promotional", "activecampaign list 3"),
        ("9", "all", "activecampaign list 9"),
        ("0", "all", "activecampaign"),
        ("", "all", "activecampaign"),
    ],
)
def test_a_no_is_about_what_it_names_and_about_all_where_we_do_not_know_it(
    list: str, purpose: str, evidence: str
) -> None:
    event = only("unsubscribe", list=list, initiated_from="public")
    assert (event.type, event.data) == (
        "consent.withdrawn",
        {"channel": "email", "purpose": purpose, "evidence": evidence},
    )


def test_a_no_to_texts() -> None:
    assert only("sms_unsub").data == {"channel": "sms", "purpose": "all", "evidence": "activecampaign sms"}


@pytest.mark.parametrize("change", ["added", "removed"])
def test_a_tag(change: str) -> None:
    event = only(f"contact_tag_{change}", tag="vip")
    assert (event.type, event.data) == (f"custom.activecampaign_tag_{change}", {"tag": "vip"})


@pytest.mark.parametrize(("kind", "permanent"), [("hard", True), ("Hard", True), ("soft", False), ("", False)])
def test_a_bounce_is_permanent_only_if_it_says_so(kind: str, permanent: bool) -> None:
    event = only("bounce", **{"bounce[type]": kind, "bounce[code]": "5.1.1"})
    assert event.type == "message.bounced"
    said = {"channel": "email", "machine": False, "permanent": permanent}
    assert event.data == {**said, "address": "Zoe@example.com", "reason": "5.1.1"}


@pytest.mark.parametrize(
    ("type", "says", "channel"),
    [
        ("open", "message.opened", "email"),
        ("click", "message.clicked", "email"),
        ("reply", "message.replied", "email"),
        ("sms_reply", "message.replied", "sms"),
    ],
)
def test_what_they_did_with_a_message(type: str, says: str, channel: str) -> None:
    event = only(type, **{"campaign[id]": "31", "link[url]": "https://www.example.com/pricing"})
    assert event.type == says
    assert (event.data["channel"], event.data["campaign"]) == (channel, "31")


DEAL = {
    "contact[id]": "",
    "contact[email]": "",
    "deal[id]": "40",
    "deal[contactid]": "7",
    "deal[contact_email]": EMAIL,
    "deal[stage]": "2",
    "deal[stage_title]": "Offer",
    "deal[status]": "0",
}


def test_a_deal_is_told_once_for_where_it_stands() -> None:
    event = only("deal_add", **DEAL)
    assert (event.type, event.data) == ("deal.stage_changed", {"deal_id": "40", "stage": "Offer", "status": "open"})
    assert [(i.kind, i.value) for i in event.identities] == [("activecampaign", "7"), ("email", EMAIL)]
    later = {**DEAL, "date_time": "2026-03-02T04:00:00-05:00"}
    assert only("deal_update", **later, **{"deal[value]": "9"}).source_id == event.source_id
    others = [{"deal[stage_title]": "Won"}, {"deal[status]": "1"}, {"deal[id]": "41"}, {"deal[contactid]": "8"}]
    assert len({only("deal_update", **{**DEAL, **o}).source_id for o in [{}, *others]}) == 5


def test_a_repeat_is_a_repeat_and_another_is_another() -> None:
    same = form("contact_tag_added", tag="vip")
    assert heard(same) == heard({**dict(reversed(same.items())), "initiated_by": "x"})
    changes = [
        {},
        {"type": "contact_tag_removed"},
        {"tag": "trial"},
        {"contact[id]": "8"},
        {"date_time": "2026-03-02T03:00:01-05:00"},
        {"list": "3"},
        {"campaign[id]": "1"},
        {"link[url]": "https://example.com"},
    ]
    assert len({heard({**same, **change})[0].source_id for change in changes}) == len(changes)


def test_a_time_without_an_offset_is_the_accounts() -> None:
    chicago = made(timezone="America/Chicago")
    (event,) = heard(form("update", date_time="2026-03-02 02:30:00"), chicago)
    assert event.occurred_at == datetime(2026, 3, 2, 8, 30, tzinfo=UTC)


def test_nothing_happens_after_it_was_told() -> None:
    fields = form("unsubscribe", date_time="2026-03-02 12:00:00")
    early, late = heard(fields), heard(fields, at=NOW + timedelta(minutes=1))
    assert early[0].occurred_at == NOW
    assert early[0].source_id == late[0].source_id


@pytest.mark.parametrize("type", ["forward", "sent", "contact_task_add", "deal_task_add", "subscriber_note", "junk"])
def test_other_kinds_mean_nothing(type: str) -> None:
    assert heard({"type": type}) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "type"),
        ({"type": "update"}, "date_time"),
        (form("update", date_time="soon"), "date_time"),
        (form("update", date_time="0001-01-01T00:00:00+14:00"), "date_time"),
        (form("contact_tag_added"), "tag"),
        (form("deal_add"), "deal"),
    ],
)
def test_what_is_missing_is_named(fields: dict[str, str], field: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: [^\n]+$"):
        heard(fields)


@given(st.binary())
def test_junk_bytes_give_nothing_or_a_value_error(body: bytes) -> None:
    try:
        assert ACTIVE.parse(Request("POST", URL, {}, body), NOW) == []
    except ValueError as error:
        assert "\n" not in str(error)


FIELDS = [*form("x"), *DEAL, "tag", "link[url]", "bounce[type]", "campaign[id]", "initiated_from"]


@given(
    st.sampled_from(["subscribe", "unsubscribe", "update", "contact_tag_added", "bounce", "click", "deal_update"]),
    st.dictionaries(st.sampled_from(FIELDS), st.text() | st.sampled_from(["public", "3", "2026-03-02"])),
)
def test_junk_forms_parse_or_raise_a_value_error(type: str, fields: dict[str, str]) -> None:
    body = "&".join(f"{quote(n)}={quote(v, errors='replace')}" for n, v in {**form(type), **fields}.items())
    try:
        ACTIVE.parse(Request("POST", URL, {}, body.encode()), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


# What it is asked to do.


@pytest.fixture
async def pool() -> AsyncIterator[httpx.AsyncClient]:
    async with http.new_client() as client:
        yield client


def bodies(route: respx.Route) -> list[Any]:
    return [json.loads(call.request.content) for call in route.calls]


def synced() -> respx.Route:
    return respx.post(f"{API}/contact/sync").respond(
        201, json={"contact": {"id": 7, "email": EMAIL}, "fieldValues": []}
    )


@respx.mock
async def test_a_person_is_synced_by_address(pool: httpx.AsyncClient) -> None:
    route = synced()
    active = made(pool, fields={"company": "11", "plan": "12"})
    person = Person(EMAIL, first_name="Zoë", phone="1", company="Ash", properties={"plan": "pro"})
    assert await active.upsert(person) == "7"
    await active.upsert(Person(EMAIL))
    values = [{"field": "11", "value": "Ash"}, {"field": "12", "value": "pro"}]
    assert bodies(route) == [
        {"contact": {"email": EMAIL, "firstName": "Zoë", "phone": "1", "fieldValues": values}},
        {"contact": {"email": EMAIL}},
    ]
    assert route.calls.last.request.headers["api-token"] == "token-1"


@respx.mock
async def test_a_trait_without_a_field_is_said_and_a_company_is_left_out(pool: httpx.AsyncClient) -> None:
    route = synced()
    with pytest.raises(NeverAgain, match="no field is set for plan"):
        await made(pool).upsert(Person(EMAIL, properties={"plan": "pro"}))
    await made(pool).upsert(Person(EMAIL, company="Ash"))
    assert bodies(route) == [{"contact": {"email": EMAIL}}]


@respx.mock
async def test_a_stage_is_a_custom_field(pool: httpx.AsyncClient) -> None:
    route = synced()
    respx.get(f"{API}/contacts/7").respond(json={"contact": {"id": "7", "email": EMAIL}})
    await made(pool, stage_field="13").stage("7", "at_risk")
    assert bodies(route) == [{"contact": {"email": EMAIL, "fieldValues": [{"field": "13", "value": "at_risk"}]}}]
    with pytest.raises(NeverAgain, match="ACTIVECAMPAIGN_STAGE_FIELD"):
        await made(pool).stage("7", "at_risk")


TASK = Task("run-1/handoff", "Call Zoë", "She saw pricing", datetime(2026, 3, 2, 9, 30, tzinfo=UTC))


class Account:
    """Tasks and notes of contact 7."""

    def __init__(self) -> None:
        self.tasks: list[dict[str, Any]] = []
        self.notes: list[dict[str, Any]] = []
        theirs = {"filters[reltype]": "Subscriber", "filters[relid]": "7"}
        respx.get(f"{API}/dealTasks", params=theirs).mock(side_effect=self.read(self.tasks, "dealTasks"))
        respx.get(f"{API}/contacts/7/notes").mock(side_effect=self.read(self.notes, "notes"))
        respx.post(f"{API}/dealTasks").mock(side_effect=self.create(self.tasks, "dealTask"))
        respx.post(f"{API}/notes").mock(side_effect=self.create(self.notes, "note"))

    def read(self, kept: list[dict[str, Any]], name: str) -> Any:
        def answer(request: httpx.Request) -> httpx.Response:
            start, limit = int(request.url.params["offset"]), int(request.url.params["limit"])
            assert limit <= 100
            return httpx.Response(200, json={name: kept[start : start + limit], "meta": {"total": str(len(kept))}})

        return answer

    def create(self, kept: list[dict[str, Any]], name: str) -> Any:
        def answer(request: httpx.Request) -> httpx.Response:
            kept.append({"id": str(len(kept) + 1), **json.loads(request.content)[name]})
            return httpx.Response(201, json={name: kept[-1]})

        return answer


@respx.mock
async def test_a_key_makes_one_task_and_one_note(pool: httpx.AsyncClient) -> None:
    account, active = Account(), made(pool)
    for _ in range(2):
        assert await active.task("7", TASK) == "1"
        assert await active.note("7", "run-1/story", "Where it went", NOW) == "1"
    await active.task("7", Task("run-1/hand", "Other", "b", TASK.due, owner="Sales"))
    await active.task("7", Task("run-2/hand", "Other", "b", TASK.due, owner="3"))
    first, named, numbered = account.tasks
    assert first == {
        "id": "1",
        "title": "Call Zoë",
        "ownerType": "contact",
        "relid": "7",
        "status": 0,
        "duedate": "2026-03-02T09:30:00+00:00",
        "dealTasktype": 1,
        "note": "She saw pricing\n\n[perennial run-1/handoff]",
    }
    assert (named["note"], "assignee" in named) == ("b\n\nFor Sales\n\n[perennial run-1/hand]", False)
    assert numbered["assignee"] == "3"
    note = "Where it went\n\n[perennial run-1/story]"
    assert account.notes == [{"id": "1", "relid": "7", "reltype": "Subscriber", "note": note}]


@respx.mock
async def test_a_task_is_found_among_many(pool: httpx.AsyncClient) -> None:
    account = Account()
    account.tasks += [{"id": str(n), "note": None} for n in range(1, 251)]
    assert await made(pool).task("7", TASK) == "251"
    assert await made(pool).task("7", TASK) == "251"


@respx.mock
async def test_a_task_whose_answer_is_lost_is_unknown(pool: httpx.AsyncClient) -> None:
    Account()
    respx.post(f"{API}/dealTasks").mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(Unknown):
        await made(pool).task("7", TASK)


@respx.mock
async def test_what_does_not_fit_or_is_no_id_goes_nowhere(pool: httpx.AsyncClient) -> None:
    active = made(pool, stage_field="13")
    with pytest.raises(NeverAgain, match="title: is longer"):
        await active.task("7", Task("k", "t" * 256, "", TASK.due))
    with pytest.raises(NeverAgain, match="firstName: is longer"):
        await active.upsert(Person(EMAIL, first_name="f" * 256))
    with pytest.raises(NeverAgain, match="email: is longer"):
        await active.upsert(Person("e" * 250 + "@example.com"))
    for id in ("", "7/../8", "٣", "9" * 20):
        for asked in (active.task(id, TASK), active.note(id, "k", "b", NOW), active.stage(id, "lead")):
            with pytest.raises(NeverAgain, match="no id"):
                await asked
    assert not respx.calls


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (429, {"message": f"slow down, {EMAIL}"}, TryAgain, "429"),
        (503, None, TryAgain, "503"),
        (500, [], TryAgain, "500"),
        (403, {"message": "no"}, NeverAgain, "403"),
        (404, {}, NeverAgain, "404"),
        (
            422,
            {"errors": [{"title": EMAIL, "code": "field_invalid", "source": {"pointer": "/data/email"}}, "x"]},
            NeverAgain,
            "422 field_invalid /data/email",
        ),
        (422, {"errors": [{"code": 7, "source": "x"}]}, NeverAgain, "422"),
    ],
)
@respx.mock
async def test_errors(pool: httpx.AsyncClient, status: int, body: Any, kind: type[ConnectorError], reason: str) -> None:
    respx.post(f"{API}/contact/sync").respond(status, json=body, headers={"retry-after": "3"})
    with pytest.raises(kind) as caught:
        await made(pool).upsert(Person(EMAIL))
    assert caught.value.reason == reason
    assert getattr(caught.value, "delay", None) == (timedelta(seconds=3) if kind is TryAgain else None)
    assert "zoe" not in str(caught.value)


@pytest.mark.parametrize("missing", ["api_token", "base_url"])
async def test_without_an_account_nothing_is_asked(pool: httpx.AsyncClient, missing: str) -> None:
    with pytest.raises(NeverAgain, match="ACTIVECAMPAIGN_API_TOKEN"):
        await made(pool, **{missing: None}).upsert(Person(EMAIL))


@respx.mock
async def test_the_address_may_be_pasted_with_its_path(pool: httpx.AsyncClient) -> None:
    route = synced()
    await made(pool, base_url=f"{API}/").upsert(Person(EMAIL))
    assert route.call_count == 1


# What it is told.

KNOWN = (("email", "old@example.com"), ("activecampaign", "7"), ("email", EMAIL))


def told(type: str, *who: tuple[str, str], **data: Any) -> Told:
    return Told("e-1", type, NOW, "c-1", identities(*(who or KNOWN)), data)


class Lists:
    """Zoe is contact 7; her old address is contact 6."""

    def __init__(self, *stands: dict[str, Any]) -> None:
        respx.get(f"{API}/contacts", params={"email": EMAIL}).respond(json={"contacts": [{"id": "7"}]})
        respx.get(f"{API}/contacts", params={"email": "old@example.com"}).respond(json={"contacts": [{"id": "6"}]})
        respx.get(f"{API}/contacts/7/contactLists").respond(json={"contactLists": list(stands)})
        respx.get(f"{API}/contacts/6/contactLists").respond(json={"contactLists": []})
        self.synced = synced()
        self.route = respx.post(f"{API}/contactLists").respond(201, json={})

    def written(self) -> list[tuple[str, str, int]]:
        return [tuple(body["contactList"][n] for n in ("contact", "list", "status")) for body in bodies(self.route)]


def stands(list: str, status: int, left: str | None = None) -> dict[str, Any]:
    return {"contact": "7", "list": list, "status": str(status), "udate": left}


@pytest.mark.parametrize("type", ["consent.withdrawn", "message.unsubscribed"])
@respx.mock
async def test_a_no_to_one_purpose_takes_every_address_off_its_lists(pool: httpx.AsyncClient, type: str) -> None:
    lists = Lists()
    await made(pool).tell(told(type, channel="email", purpose="promotional"))
    assert lists.written() == [("6", "3", 2), ("6", "5", 2), ("7", "3", 2), ("7", "5", 2)]


@pytest.mark.parametrize(
    ("type", "data"),
    [
        ("consent.withdrawn", {"channel": "all", "purpose": "all"}),
        ("message.unsubscribed", {}),
        ("message.complained", {"channel": "sms", "purpose": "promotional"}),
    ],
)
@respx.mock
async def test_a_no_to_everything_is_about_every_list_they_are_on(
    pool: httpx.AsyncClient, type: str, data: dict[str, str]
) -> None:
    lists = Lists(stands("3", 1), stands("9", 1), stands("4", 2))
    await made(pool).tell(told(type, **data))
    assert lists.written() == [("7", "3", 2), ("7", "9", 2)]


@respx.mock
async def test_a_no_to_what_no_list_is_set_for_is_a_no_to_everything(pool: httpx.AsyncClient) -> None:
    lists = Lists(stands("9", 1))
    await made(pool, lists={}).tell(told("consent.withdrawn", channel="email", purpose="lifecycle"))
    assert lists.written() == [("7", "9", 2)]


@respx.mock
async def test_nobody_is_made_known_to_be_told_of_a_no(pool: httpx.AsyncClient) -> None:
    respx.get(f"{API}/contacts", params={"email": EMAIL}).respond(json={"contacts": []})
    await made(pool).tell(told("consent.withdrawn", ("email", EMAIL), channel="email", purpose="promotional"))
    assert len(respx.calls) == 1


@pytest.mark.parametrize("type", ["consent.withdrawn", "consent.granted"])
@pytest.mark.parametrize("data", [{"channel": "sms"}, {"channel": "email", "purpose": "transactional"}])
@respx.mock
async def test_consent_it_does_not_keep(pool: httpx.AsyncClient, type: str, data: dict[str, str]) -> None:
    await made(pool).tell(told(type, **data))
    assert not respx.calls


@pytest.mark.parametrize(
    ("theirs", "written"),
    [
        ([], [("7", "3", 1), ("7", "5", 1)]),
        ([stands("3", 1)], [("7", "5", 1)]),
        ([stands("3", 2, "2026-03-02T03:59:59-05:00")], [("7", "3", 1), ("7", "5", 1)]),
        ([stands("3", 2, "2026-03-02T04:00:01-05:00")], [("7", "5", 1)]),
        ([stands("3", 2)], [("7", "5", 1)]),
        ([stands("3", 0)], [("7", "3", 1), ("7", "5", 1)]),
    ],
)
@respx.mock
async def test_a_yes_puts_them_on_the_lists_they_have_not_left_since(
    pool: httpx.AsyncClient, theirs: list[dict[str, Any]], written: list[tuple[str, str, int]]
) -> None:
    lists = Lists(*theirs)
    await made(pool).tell(told("consent.granted", channel="email", purpose="promotional"))
    assert lists.written() == written
    assert bodies(lists.synced) == [{"contact": {"email": EMAIL}}]


async def test_a_yes_to_what_no_list_is_set_for_is_not_guessed(pool: httpx.AsyncClient) -> None:
    with pytest.raises(NeverAgain, match="no list is set for lifecycle"):
        await made(pool, lists={}).tell(told("consent.granted", channel="email", purpose="lifecycle"))


@respx.mock
async def test_a_segment_is_a_tag(pool: httpx.AsyncClient) -> None:
    tags: list[dict[str, str]] = [{"id": "90", "tag": "1"}]
    respx.get(f"{API}/contacts/7/contactTags").mock(
        side_effect=lambda r: httpx.Response(200, json={"contactTags": tags})
    )
    added = respx.post(f"{API}/contactTags").respond(201, json={"contactTag": {"id": "91"}})
    removed = respx.delete(f"{API}/contactTags/91").respond(200, json={})
    active = made(pool, segment_tags={"vip": "21"})
    await active.tell(told("segment.left", segment="vip"))
    assert not removed.called
    await active.tell(told("segment.joined", segment="vip"))
    tags.append({"id": "91", "tag": "21"})
    await active.tell(told("segment.joined", segment="vip"))
    assert bodies(added) == [{"contactTag": {"contact": "7", "tag": "21"}}]
    await active.tell(told("segment.left", segment="vip"))
    assert removed.call_count == 1
    removed.respond(404)
    await active.tell(told("segment.left", segment="vip"))
    await active.tell(told("segment.left", segment="another"))


@respx.mock
async def test_whoever_joins_is_made_known_and_whoever_leaves_is_not(pool: httpx.AsyncClient) -> None:
    route = synced()
    respx.get(f"{API}/contacts", params={"email": EMAIL}).respond(json={"contacts": []})
    respx.get(f"{API}/contacts/7/contactTags").respond(json={"contactTags": []})
    added = respx.post(f"{API}/contactTags").respond(201, json={})
    active = made(pool, segment_tags={"vip": "21"})
    for who in (("email", EMAIL), ("anonymous", "a-1")):
        await active.tell(told("segment.left", who, segment="vip"))
        await active.tell(told("segment.joined", who, segment="vip"))
    assert (route.call_count, added.call_count) == (1, 1)


async def test_it_takes_nothing_else(pool: httpx.AsyncClient) -> None:
    with pytest.raises(NeverAgain, match=r"no purchase\.completed"):
        await made(pool).tell(told("purchase.completed", order_id="1"))


# What it is asked.


class Contacts:
    """An account's contacts by id, and the lists they are on."""

    def __init__(self) -> None:
        self.kept: dict[int, dict[str, Any]] = {}
        self.lists: list[dict[str, Any]] = []
        respx.get(f"{API}/contacts").mock(side_effect=self.answer)

    def changed(self, id: int, at: datetime, **fields: Any) -> None:
        self.kept[id] = {"id": str(id), "email": f"c{id}@example.com", "udate": at.isoformat(), **fields}

    def answer(self, request: httpx.Request) -> httpx.Response:
        wanted = request.url.params
        assert (wanted["orders[id]"], wanted["include"]) == ("ASC", "contactLists")
        since, after = datetime.fromisoformat(wanted["filters[updated_after]"]), int(wanted["id_greater"])
        found = [c for id, c in sorted(self.kept.items()) if id > after and datetime.fromisoformat(c["udate"]) >= since]
        page = found[: int(wanted["limit"])]
        ids = {contact["id"] for contact in page}
        lists = [listed for listed in self.lists if listed["contact"] in ids]
        return httpx.Response(200, json={"contacts": page, "contactLists": lists, "meta": {"total": str(len(found))}})


async def walked(active: ActiveCampaign, cursor: str | None, now: datetime) -> tuple[list[Event], str]:
    events: list[Event] = []
    for _ in range(20):
        page = await active.poll(cursor, now)
        events, cursor = [*events, *page.events], page.cursor
        if not page.more:
            return events, cursor
    raise AssertionError("it never ends")


@respx.mock
async def test_a_contact_that_changed_is_found(pool: httpx.AsyncClient) -> None:
    contacts, active = Contacts(), made(pool)
    contacts.changed(6, NOW - timedelta(days=1))
    first, cursor = await walked(active, None, NOW)
    at = NOW + timedelta(minutes=3)
    contacts.changed(7, at, email=EMAIL, firstName="Zoë", lastName="", phone=None)
    events, cursor = await walked(active, cursor, NOW + timedelta(minutes=15))
    (event,) = events
    assert first == []
    assert (event.type, event.occurred_at, event.data) == ("contact.updated", at, {"email": EMAIL, "first_name": "Zoë"})
    assert [(i.kind, i.value) for i in event.identities] == [("activecampaign", "7"), ("email", EMAIL)]
    again, cursor = await walked(active, cursor, NOW + timedelta(minutes=30))
    assert again in ([], [event])
    assert (await walked(active, cursor, NOW + timedelta(minutes=45)))[0] == []


@respx.mock
async def test_a_list_they_left_is_a_no_and_one_they_are_on_is_no_yes(pool: httpx.AsyncClient) -> None:
    contacts, active = Contacts(), made(pool)
    _, cursor = await walked(active, None, NOW)
    at, left = NOW + timedelta(minutes=3), NOW + timedelta(minutes=2)
    contacts.changed(7, at)
    contacts.lists = [
        stands("3", 2, left.isoformat()),
        stands("9", 2, "junk"),
        stands("4", 1),
        {**stands("3", 2), "contact": "8"},
    ]
    events, _ = await walked(active, cursor, NOW + timedelta(minutes=15))
    noes = [(e.occurred_at, e.data["purpose"]) for e in events if e.type == "consent.withdrawn"]
    assert noes == [(left, "promotional"), (at, "all")]
    assert len(events) == 3
    assert len({e.source_id for e in events}) == 3


@respx.mock
async def test_what_changes_during_a_walk_is_found_by_the_next(pool: httpx.AsyncClient) -> None:
    contacts, active = Contacts(), made(pool)
    _, cursor = await walked(active, None, NOW)
    for id in range(1, 251):
        contacts.changed(id, NOW + timedelta(minutes=1))
    page = await active.poll(cursor, NOW + timedelta(minutes=15))
    assert page.more
    contacts.changed(5, NOW + timedelta(minutes=16), firstName="New")
    events, cursor = await walked(active, page.cursor, NOW + timedelta(minutes=17))
    assert len({e.identities[0].value for e in (*page.events, *events)}) == 250
    later, _ = await walked(active, cursor, NOW + timedelta(minutes=30))
    assert "New" in [e.data.get("first_name") for e in later]


@respx.mock
async def test_a_contact_without_a_readable_time_costs_nobody_else(pool: httpx.AsyncClient) -> None:
    respx.get(f"{API}/contacts").respond(json={"contacts": [{"id": 7, "udate": "soon"}, {"id": 8, "udate": None}]})
    page = await made(pool).poll(None, NOW)
    assert [e.occurred_at for e in page.events] == [NOW, NOW]


@respx.mock
async def test_an_account_that_does_not_walk_by_id_does_not_walk_for_ever(pool: httpx.AsyncClient) -> None:
    full = {"contacts": [{"id": "7", "udate": NOW.isoformat()}] * 100}
    respx.get(f"{API}/contacts").respond(json=full)
    with pytest.raises(NeverAgain, match="order of their ids"):
        await walked(made(pool), None, NOW)


@pytest.mark.parametrize("cursor", ["{}", "junk", '{"since": "2026-03-02T09:00:00Z", "begun": 7, "after": -1}'])
async def test_a_cursor_of_somebody_elses(pool: httpx.AsyncClient, cursor: str) -> None:
    with pytest.raises(NeverAgain, match="cursor"):
        await made(pool).poll(cursor, NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"timezone": "Mars/Olympus"},
        {"timezone": "../../etc/passwd"},
        {"lists": {"transactional": ["1"]}},
        {"lists": {"promotional": ["1; drop"]}},
        {"segment_tags": {"vip": "vip"}},
        {"stage_field": "0"},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        made(**wrong)
