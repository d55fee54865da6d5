"""Zendesk: signatures, event subscriptions, the body of a trigger, what the export tells, and what we write there."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from connectors import http
from connectors.base import Crm, Person, Poller, Refused, Request, Source, Task
from connectors.errors import NeverAgain, TryAgain, Unknown
from connectors.zendesk import PUBLIC_TEST_SECRET, Zendesk, ZendeskSettings
from contacts.events import Event

SECRET = "c2VjcmV0LW9mLXRoaXMtd2ViaG9vaw=="
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/zendesk"


def made(secret: str | None = SECRET) -> Zendesk:
    return Zendesk(ZendeskSettings(_env_file=None, signing_secret=secret))


ZENDESK = made()


def signed(body: bytes, *, secret: str = SECRET, sent: str = "2026-03-02T09:00:00Z") -> Request:
    mac = hmac.new(secret.encode(), sent.encode() + body, hashlib.sha256).digest()
    headers = {
        "x-zendesk-webhook-signature": base64.b64encode(mac).decode(),
        "x-zendesk-webhook-signature-timestamp": sent,
    }
    return Request("POST", URL, headers, body)


def refusal(request: Request, zendesk: Zendesk = ZENDESK) -> Refused:
    with pytest.raises(Refused) as caught:
        zendesk.verify(request, NOW)
    return caught.value


def body(**fields: Any) -> Request:
    return Request("POST", URL, {}, json.dumps(fields).encode())


DETAIL = {"id": "35", "requester_id": "900", "status": "OPEN", "priority": "URGENT", "subject": "No login"}


def notice(type: str, detail: dict[str, Any] | None = None, event: dict[str, Any] | None = None) -> Request:
    return body(
        type=f"zen:event-type:{type}",
        id="01JEVENT",
        time="2026-03-02T08:59:58.123456789Z",
        account_id=7,
        subject="zen:ticket:35",
        detail={**DETAIL, **(detail or {})},
        event=event or {},
        zendesk_event_version="2022-11-06",
    )


def only(request: Request) -> Event:
    (event,) = ZENDESK.parse(request, NOW)
    return event


def who(event: Event) -> set[tuple[str, str]]:
    return {(i.kind, i.value) for i in event.identities}


def test_it_is_a_source() -> None:
    assert isinstance(ZENDESK, Source)


def test_a_signature_over_time_and_body() -> None:
    ZENDESK.verify(signed('{"name": "Zoë"}'.encode()), NOW)
    ZENDESK.verify(signed(b""), NOW)


def test_a_vector_worked_out_apart_from_this_code() -> None:
    # printf %s '2026-03-02T09:00:00Z{}' | openssl dgst -sha256 -hmac <SECRET> -binary | base64
    headers = {
        "x-zendesk-webhook-signature": "RJ2dTvslFY2ngQAMRuGvmr8qCbxGJy4MXacFDk3O8m0=",
        "x-zendesk-webhook-signature-timestamp": "2026-03-02T09:00:00Z",
    }
    ZENDESK.verify(Request("POST", URL, headers, b"{}"), NOW)


@pytest.mark.parametrize(("seconds", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_age_counts_both_ways(seconds: int, taken: bool) -> None:
    arriving = signed(b"{}", sent=(NOW + timedelta(seconds=seconds)).isoformat())
    if taken:
        ZENDESK.verify(arriving, NOW)
    else:
        assert refusal(arriving).status == 401


def test_whatever_is_altered_is_refused() -> None:
    good = signed(b"{}")
    later = {**good.headers, "x-zendesk-webhook-signature-timestamp": "2026-03-02T09:00:01Z"}
    for forged in (
        signed(b"{}", secret="other"),
        Request("POST", URL, good.headers, b"{} "),
        Request("POST", URL, later, b"{}"),
        Request("POST", URL, {}, b"{}"),
    ):
        assert refusal(forged).status == 401


def test_the_public_test_secret_proves_nothing() -> None:
    public = PUBLIC_TEST_SECRET.decode()
    assert base64.b64decode(public) == b"this_secret_is_for_testing_only"
    assert "public test secret" in refusal(signed(b"{}", secret=public), made(public)).reason
    assert refusal(signed(b"{}", secret=public), made(f"{SECRET},{public}")).status == 401
    assert refusal(signed(b"{}", secret=public)).status == 401


def test_several_webhooks_have_several_secrets() -> None:
    made(f"other, {SECRET}").verify(signed(b"{}"), NOW)


def test_without_a_secret_everything_is_refused() -> None:
    for request in (signed(b"{}"), Request("POST", URL, {}, b"")):
        said = refusal(request, made(None))
        assert (said.status, "no signing secret" in said.reason) == (401, True)


@pytest.mark.parametrize("sent", ["", "yesterday", "1772442000", "2026-03-02T09:00:00", "2026-03-02", "٢"])
def test_malformed_timestamps(sent: str) -> None:
    assert refusal(signed(b"{}", sent=sent)).status == 400


@given(st.text(min_size=1), st.text() | st.datetimes().map(lambda at: f"{at.isoformat()}Z"), st.binary())
def test_junk_is_refused(signature: str, sent: str, raw: bytes) -> None:
    headers = {"x-zendesk-webhook-signature": signature, "x-zendesk-webhook-signature-timestamp": sent}
    with pytest.raises(Refused):
        ZENDESK.verify(Request("POST", URL, headers, raw), NOW)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ZENDESK.parse(Request("POST", URL, {}, raw), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KINDS = [
    "ticket.created",
    "ticket.undeleted",
    "ticket.status_changed",
    "ticket.soft_deleted",
    "ticket.csat_received",
    "user.created",
    "user.merged",
]
TIMES = st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-03-02T09:00:00Z"])


@given(
    st.sampled_from([f"zen:event-type:{kind}" for kind in KINDS] + ["ticket.opened", "ticket.solved"]),
    TIMES,
    st.dictionaries(st.sampled_from(["id", "requester_id", "status", "priority", "email", "role"]), JSON),
    st.dictionaries(st.sampled_from(["current", "previous", "satisfaction_score", "user"]), JSON),
    st.dictionaries(
        st.sampled_from(["id", "time", "detail", "event", "ticket_id", "updated_at", "requester_email", "score"]), JSON
    ),
)
def test_junk_bodies_parse_or_raise_a_value_error(
    type: str, time: str, detail: dict[str, Any], event: dict[str, Any], fields: dict[str, Any]
) -> None:
    base = {
        "type": type,
        "id": "1",
        "time": time,
        "updated_at": time,
        "ticket_id": "35",
        "detail": {"id": "35", **detail},
        "event": event,
    }
    try:
        ZENDESK.parse(body(**{**base, **fields}), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


def test_a_new_ticket() -> None:
    event = only(notice("ticket.created"))
    assert (event.type, event.source, event.source_id) == (
        "ticket.opened",
        "zendesk",
        "ticket.opened:35:2026-03-02T08:59:58+00:00",
    )
    assert event.occurred_at == datetime(2026, 3, 2, 8, 59, 58, 123456, tzinfo=UTC)
    assert event.data == {"ticket_id": "35", "priority": "urgent"}
    assert who(event) == {("zendesk", "900")}


def test_a_ticket_filed_as_solved_waits_for_nobody() -> None:
    assert ZENDESK.parse(notice("ticket.created", {"status": "SOLVED"}), NOW) == []


@pytest.mark.parametrize(
    ("previous", "current", "type"),
    [
        ("OPEN", "SOLVED", "ticket.solved"),
        ("PENDING", "CLOSED", "ticket.solved"),
        ("SOLVED", "OPEN", "ticket.opened"),
        ("CLOSED", "PENDING", "ticket.opened"),
        ("SOLVED", "CLOSED", None),
        ("NEW", "OPEN", None),
        ("OPEN", "PENDING", None),
    ],
)
def test_a_ticket_changes_status(previous: str, current: str, type: str | None) -> None:
    request = notice("ticket.status_changed", {"status": current}, {"previous": previous, "current": current})
    events = ZENDESK.parse(request, NOW)
    assert [e.type for e in events] == ([type] if type else [])
    if type == "ticket.solved":
        assert events[0].data["status"] == current.lower()
    if type == "ticket.opened":
        assert events[0].data["reopened"] is True


def test_a_deleted_ticket_holds_nobody_back() -> None:
    for type in ("ticket.soft_deleted", "ticket.marked_as_spam"):
        event = only(notice(type))
        assert (event.type, event.data["ticket_id"], event.data["status"]) == ("ticket.solved", "35", "deleted")
    assert only(notice("ticket.undeleted")).type == "ticket.opened"


def test_a_rating() -> None:
    event = only(notice("ticket.csat_received", event={"satisfaction_score": {"score": "GOOD", "comment": "Quick"}}))
    assert event.type == "csat.answered"
    assert (event.data["ticket_id"], event.data["score"], event.data["comment"]) == ("35", "good", "Quick")
    assert event.data["mood"] == "good"
    assert who(event) == {("zendesk", "900")}


def test_a_new_user_tells_which_address_an_id_has_and_enrols_nobody() -> None:
    user = {"id": "900", "email": "Zoe@Example.com", "external_id": "u-1", "role": "end-user"}
    event = only(notice("user.created", user))
    assert event.type == "contact.updated"
    assert who(event) == {("zendesk", "900"), ("email", "zoe@example.com"), ("user", "u-1")}
    assert ZENDESK.parse(notice("user.created", {**user, "role": "agent"}), NOW) == []


def test_users_become_one() -> None:
    event = only(notice("user.merged", {"id": "900"}, {"user": {"id": "901"}}))
    assert event.type == "contact.merged"
    assert who(event) == {("zendesk", "900"), ("zendesk", "901")}
    assert (event.data["into"], event.data["merged"]) == ("900", ["901"])
    with pytest.raises(ValueError, match="user"):
        ZENDESK.parse(notice("user.merged", {"id": "900"}), NOW)


@pytest.mark.parametrize("type", ["user.deleted", "ticket.comment_added", "organization.created", "article.published"])
def test_other_events_mean_nothing(type: str) -> None:
    assert ZENDESK.parse(notice(type, {"id": 4}), NOW) == []


def test_the_slash_that_some_of_zendesks_pages_print() -> None:
    raw = json.loads(notice("ticket.created").body)
    assert only(body(**{**raw, "type": "zen:event-type/ticket.created"})).type == "ticket.opened"


TRIGGER = {
    "type": "ticket.opened",
    "ticket_id": 35,
    "requester_email": "Zoe@Example.com",
    "requester_id": "900",
    "requester_external_id": "",
    "priority": "Urgent",
    "status": "-",
    "updated_at": "2026-03-02T10:00:00+01:00",
}


def test_the_body_of_a_trigger() -> None:
    event = only(body(**TRIGGER))
    assert event.type == "ticket.opened"
    assert event.occurred_at == NOW
    assert event.data == {"ticket_id": "35", "priority": "urgent"}
    assert who(event) == {("email", "zoe@example.com"), ("zendesk", "900")}


def test_a_repeat_of_a_trigger_is_the_same_event() -> None:
    first = only(body(**TRIGGER))
    again = only(Request("POST", URL, {"x-zendesk-webhook-invocation-id": "other"}, body(**TRIGGER).body))
    assert again.source_id == first.source_id
    others = [{"type": "ticket.solved"}, {"ticket_id": 36}, {"updated_at": "2026-03-02T10:00:01+01:00"}]
    assert len({first.source_id, *(only(body(**{**TRIGGER, **o})).source_id for o in others)}) == 4


def test_a_rating_by_trigger() -> None:
    event = only(body(**{**TRIGGER, "type": "csat.answered", "score": "Good", "comment": "Quick"}))
    assert (event.type, event.data["score"], event.data["comment"]) == ("csat.answered", "good", "Quick")
    numbered = only(body(**{**TRIGGER, "type": "csat.answered", "score": 2}))
    assert (event.data["mood"], numbered.data["mood"]) == ("good", "bad")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"type": "ticket.updated"}, "type"),
        ({"ticket_id": ""}, "ticket_id"),
        ({"updated_at": "March 2, 2026"}, "updated_at"),
        ({"updated_at": "2026-03-02T10:00:00"}, "updated_at"),
    ],
)
def test_a_mistyped_trigger_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        ZENDESK.parse(body(**{**TRIGGER, **fields}), NOW)


@pytest.mark.parametrize("own", [{"tags": ["billing", "perennial"]}, {"external_id": "perennial/run-1/task"}])
def test_tickets_of_our_own_hold_nobody_back(own: dict[str, Any]) -> None:
    for type in ("ticket.created", "ticket.soft_deleted"):
        assert ZENDESK.parse(notice(type, own), NOW) == []
    assert ZENDESK.parse(body(**TRIGGER, tags="billing perennial"), NOW) == []
    assert only(notice("ticket.created", {"tags": ["perennials"], "external_id": "p-1"})).type == "ticket.opened"
    assert only(body(**TRIGGER, tags="billing")).type == "ticket.opened"


# What the export tells.

API = "https://acme.zendesk.com/api/v2"
EXPORT = f"{API}/incremental/tickets/cursor.json"


def calling(client: httpx.AsyncClient, **settings: Any) -> Zendesk:
    given = {"subdomain": "acme", "oauth_token": "tok-1", **settings}
    return Zendesk(ZendeskSettings(_env_file=None, **given), client)


def ticket(**fields: Any) -> dict[str, Any]:
    return {
        "id": 35,
        "status": "open",
        "priority": "urgent",
        "requester_id": 900,
        "external_id": None,
        "tags": [],
        "created_at": "2026-03-02T09:00:00Z",
        "updated_at": "2026-03-03T09:00:00Z",
        **fields,
    }


def exported(*tickets: Any, solved_at: str | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "tickets": list(tickets),
        "users": [{"id": 900, "email": "Zoe@Example.com", "external_id": "u-1"}],
        "metric_sets": [{"id": 1, "ticket_id": 35, "solved_at": solved_at}],
        "after_cursor": "next",
        "end_of_stream": True,
        **fields,
    }


async def polled(page: dict[str, Any], cursor: str | None = "c1") -> list[Event]:
    with respx.mock:
        respx.get(EXPORT).respond(json=page)
        async with http.new_client() as client:
            return list((await calling(client).poll(cursor, NOW)).events)


@respx.mock
async def test_polling_begins_now_and_goes_on_where_it_was() -> None:
    route = respx.get(EXPORT).respond(json=exported(end_of_stream=False))
    async with http.new_client() as client:
        zendesk = calling(client)
        assert isinstance(zendesk, Poller)
        page = await zendesk.poll(None, NOW)
        assert (list(page.events), page.cursor, page.more) == ([], "next", True)
        first = dict(route.calls.last.request.url.params)
        assert first == {"start_time": str(int(NOW.timestamp()) - 60), "include": "users,metric_sets"}
        route.respond(json=exported(after_cursor=None))
        page = await zendesk.poll("next", NOW)
        assert (page.cursor, page.more) == ("next", False)
        assert route.calls.last.request.url.params["cursor"] == "next"
    assert route.calls.last.request.headers["authorization"] == "Bearer tok-1"


@respx.mock
async def test_until_there_is_a_cursor_it_asks_from_where_it_began() -> None:
    route = respx.get(EXPORT).respond(json=exported(after_cursor=None))
    async with http.new_client() as client:
        zendesk = calling(client)
        cursor = None
        for minutes in (0, 5, 10):
            cursor = (await zendesk.poll(cursor, NOW + timedelta(minutes=minutes))).cursor
            asked = route.calls.last.request.url.params
            assert (asked.get("start_time"), asked.get("cursor")) == (str(int(NOW.timestamp()) - 60), None)
        route.respond(json=exported())
        assert (await zendesk.poll(cursor, NOW + timedelta(minutes=15))).cursor == "next"


async def test_an_open_ticket_was_opened_once_whoever_tells() -> None:
    (event,) = await polled(exported(ticket()))
    (later,) = await polled(exported(ticket(status="pending", updated_at="2026-03-09T09:00:00Z")))
    assert (event.type, event.occurred_at, event.data["priority"]) == ("ticket.opened", NOW, "urgent")
    assert who(event) == {("user", "u-1"), ("email", "zoe@example.com"), ("zendesk", "900")}
    assert event.source_id == later.source_id == only(body(**TRIGGER)).source_id
    assert event.source_id == only(notice("ticket.created", {"created_at": "2026-03-02T09:00:00Z"})).source_id


async def test_a_solved_ticket_is_over_once() -> None:
    at = "2026-03-02T12:00:00Z"
    (event,) = await polled(exported(ticket(status="solved"), solved_at=at))
    (closed,) = await polled(exported(ticket(status="closed", updated_at="2026-03-09T09:00:00Z"), solved_at=at))
    assert (event.type, event.occurred_at) == ("ticket.solved", datetime(2026, 3, 2, 12, 0, tzinfo=UTC))
    assert event.source_id == closed.source_id
    assert event.source_id == only(body(**{**TRIGGER, "type": "ticket.solved", "updated_at": at})).source_id
    (again,) = await polled(exported(ticket(status="solved"), solved_at="2026-03-05T12:00:00Z"))
    assert again.source_id != event.source_id


async def test_a_solution_that_is_heard_and_asked_for_is_one() -> None:
    old = ticket(status="solved", created_at="2026-03-01T09:00:00Z")
    (asked,) = await polled(exported(old, solved_at="2026-03-02T08:59:58Z"))
    heard = notice("ticket.status_changed", {"status": "SOLVED"}, {"previous": "OPEN", "current": "SOLVED"})
    assert only(heard).source_id == asked.source_id
    reopened = notice("ticket.status_changed", {}, {"previous": "SOLVED", "current": "OPEN"})
    assert only(reopened).source_id != only(notice("ticket.created", {"created_at": "2026-03-01T09:00:00Z"})).source_id


async def test_without_the_time_of_the_solution_it_is_still_told_once() -> None:
    (event,) = await polled(exported(ticket(status="solved"), metric_sets=[]))
    (later,) = await polled(exported(ticket(status="deleted", updated_at="2026-03-09T09:00:00Z"), metric_sets=[]))
    assert (event.type, event.source_id) == ("ticket.solved", later.source_id)


async def test_what_the_export_does_not_tell() -> None:
    filed_solved = ticket(status="solved", updated_at="2026-03-02T09:00:00Z")
    assert await polled(exported(filed_solved, solved_at="2026-03-02T09:00:00Z")) == []
    assert await polled(exported(ticket(tags=["perennial"]), ticket(external_id="perennial/x"))) == []
    (event,) = await polled(exported("junk", {"id": 1}, ticket(id=36), users=["junk"], metric_sets=[None]))
    assert (event.data["ticket_id"], who(event)) == ("36", {("zendesk", "900")})


# What we write there.


@respx.mock
async def test_a_named_person_is_made_or_updated_without_a_mail() -> None:
    route = respx.post(f"{API}/users/create_or_update.json").respond(201, json={"user": {"id": 900}})
    person = Person("zoe@example.com", "Zoë", "Ash", phone="+4930901820", properties={"tier": "gold"})
    async with http.new_client() as client:
        zendesk = calling(client)
        assert isinstance(zendesk, Crm)
        assert await zendesk.upsert(person) == "900"
    assert json.loads(route.calls.last.request.content) == {
        "user": {
            "email": "zoe@example.com",
            "name": "Zoë Ash",
            "phone": "+4930901820",
            "user_fields": {"tier": "gold"},
            "skip_verify_email": True,
        }
    }


@respx.mock
async def test_a_person_without_a_name_keeps_theirs() -> None:
    other = {"id": 1, "name": "Joe Zoe", "email": "joe.zoe@example.com"}
    look = respx.get(f"{API}/users/search.json").respond(
        json={"users": [other, {"id": 900, "name": "Zoë", "email": "ZOE@example.com"}]}
    )
    route = respx.post(f"{API}/users/create_or_update.json").respond(json={"user": {"id": 900}})
    async with http.new_client() as client:
        await calling(client).upsert(Person("zoe@example.com"))
        assert json.loads(route.calls.last.request.content)["user"]["name"] == "Zoë"
        look.respond(json={"users": []})
        await calling(client).upsert(Person("zoe@example.com"))
        assert json.loads(route.calls.last.request.content)["user"]["name"] == "zoe@example.com"


TASK = Task("run-1/task", "Call Zoë", "Saw pricing twice", datetime(2026, 3, 3, 9, 0, tzinfo=UTC))


def empty() -> respx.Route:
    return respx.get(f"{API}/tickets.json").respond(json={"tickets": []})


def created() -> respx.Route:
    return respx.post(f"{API}/tickets.json").respond(201, json={"ticket": {"id": 77}})


@respx.mock
async def test_a_task_is_a_private_ticket() -> None:
    look, route = empty(), created()
    async with http.new_client() as client:
        assert await calling(client).task("900", TASK) == "77"
    assert dict(look.calls.last.request.url.params) == {"external_id": "perennial/run-1/task"}
    sent = route.calls.last.request
    assert sent.headers["idempotency-key"] == "perennial/run-1/task"
    assert json.loads(sent.content)["ticket"] == {
        "subject": "Call Zoë",
        "requester_id": "900",
        "external_id": "perennial/run-1/task",
        "tags": ["perennial"],
        "comment": {"body": "Saw pricing twice", "public": False},
        "type": "task",
        "due_at": "2026-03-03T09:00:00Z",
    }


@respx.mock
@pytest.mark.parametrize(("owner", "assignee", "ends"), [("12", "12", "twice"), ("sales", None, "For sales")])
async def test_who_owns_a_task(owner: str, assignee: str | None, ends: str) -> None:
    empty()
    route = created()
    async with http.new_client() as client:
        await calling(client).task("900", Task(TASK.key, TASK.title, TASK.body, TASK.due, owner))
    made = json.loads(route.calls.last.request.content)["ticket"]
    assert made.get("assignee_id") == assignee
    assert made["comment"]["body"].endswith(ends)


@respx.mock
async def test_the_same_key_makes_one_ticket() -> None:
    respx.get(f"{API}/tickets.json").respond(json={"tickets": [{"id": 77}]})
    async with http.new_client() as client:
        assert await calling(client).task("900", TASK) == "77"
        assert await calling(client).note("900", "run-1/note", "A note", NOW) == "77"


@respx.mock
async def test_a_note_is_a_solved_ticket_nobody_else_sees() -> None:
    empty()
    route = created()
    async with http.new_client() as client:
        assert await calling(client).note("900", "run-1/note", "A note", NOW) == "77"
    made = json.loads(route.calls.last.request.content)["ticket"]
    assert (made["subject"], made["status"]) == ("Note of 02 Mar 2026 09:00 UTC", "solved")
    assert made["comment"] == {"body": "A note", "public": False}


@respx.mock
async def test_a_stage() -> None:
    route = respx.put(f"{API}/users/900.json").respond(json={"user": {"id": 900}})
    async with http.new_client() as client:
        await calling(client, stage_field="standing").stage("900", "customer")
    assert json.loads(route.calls.last.request.content) == {"user": {"user_fields": {"standing": "customer"}}}


@respx.mock
async def test_what_zendesk_would_not_take_is_not_sent() -> None:
    look = empty()
    route = created()
    async with http.new_client() as client:
        zendesk = calling(client)
        for title, text, field in (("t" * 256, "b", "subject"), ("t", "", "body"), ("t", "b" * 65_536, "body")):
            with pytest.raises(NeverAgain, match=f"{field}: "):
                await zendesk.task("900", Task("k", title, text, NOW))
        assert look.call_count == 0
        await zendesk.task("900", Task("k" * 300, "t" * 255, "b" * 65_535, NOW))
    key = route.calls.last.request.headers["idempotency-key"]
    assert len(key) < 256
    assert key.startswith("perennial/")


@respx.mock
async def test_an_api_token_does_too() -> None:
    route = respx.get(EXPORT).respond(json=exported())
    async with http.new_client() as client:
        await calling(client, oauth_token=None, email="bot@example.com", api_token="tok-2").poll("c", NOW)
    expected = base64.b64encode(b"bot@example.com/token:tok-2").decode()
    assert route.calls.last.request.headers["authorization"] == f"Basic {expected}"


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        ({"subdomain": None}, "ZENDESK_SUBDOMAIN"),
        ({"oauth_token": None}, "ZENDESK_OAUTH_TOKEN"),
        ({"oauth_token": None, "email": "bot@example.com"}, "ZENDESK_API_TOKEN"),
    ],
)
async def test_without_settings_nothing_is_asked(settings: dict[str, Any], variable: str) -> None:
    async with http.new_client() as client:
        with pytest.raises(NeverAgain, match=variable):
            await calling(client, **settings).stage("900", "customer")


@respx.mock
async def test_what_zendesk_says_no_with() -> None:
    route = respx.put(f"{API}/users/900.json")
    invalid = {"error": "RecordInvalid", "details": {"email": [{"description": "zoe@example.com is taken"}]}}
    async with http.new_client() as client:
        zendesk = calling(client)
        for status, said, reason in (
            (422, invalid, "422 RecordInvalid email"),
            (403, {"error": {"title": "Forbidden", "message": "no"}}, "403 Forbidden"),
            (400, {"error": "IdempotentRequestError"}, "400 IdempotentRequestError"),
        ):
            route.respond(status, json=said, headers={"x-zendesk-request-id": "r-1"})
            with pytest.raises(NeverAgain) as refused:
                await zendesk.stage("900", "customer")
            assert (refused.value.reason, refused.value.request_id) == (reason, "r-1")
        for status in (409, 429, 500, 503):
            route.respond(status, headers={"retry-after": "93"})
            with pytest.raises(TryAgain) as later:
                await zendesk.stage("900", "customer")
            assert later.value.delay == timedelta(seconds=93)
        route.mock(side_effect=httpx.ReadTimeout("slow"))
        with pytest.raises(TryAgain):
            await zendesk.stage("900", "customer")


@respx.mock
async def test_a_key_that_is_being_carried_out_says_nothing_of_the_ticket() -> None:
    respx.get(f"{API}/tickets.json").respond(json={"tickets": []})
    respx.post(f"{API}/tickets.json").respond(409)
    async with http.new_client() as client:
        with pytest.raises(Unknown):
            await calling(client).task("900", Task("run-1/call/0", "Call them", "They asked", NOW))


@pytest.mark.parametrize("subdomain", ["acme.example.com", "acme/x", "", "a@b"])
def test_a_subdomain_is_a_name_and_no_address(subdomain: str) -> None:
    with pytest.raises(ValueError, match="subdomain"):
        ZendeskSettings(_env_file=None, subdomain=subdomain)
