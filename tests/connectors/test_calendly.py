"""Calendly: signatures, bookings and moves in any order, no-shows, routing forms, polling and erasure."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from connectors import http
from connectors.base import Poller, Refused, Request, Sink, Source, Told
from connectors.calendly import Calendly, CalendlySettings
from connectors.errors import ConnectorError, NeverAgain, TryAgain
from contacts.events import Event, identities

SECRET = "key-of-the-subscription"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/calendly"
API = "https://api.calendly.com"


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> Calendly:
    given = {"signing_secret": SECRET, "access_token": "pat-1", "organization": f"{API}/organizations/o1", **settings}
    return Calendly(CalendlySettings(_env_file=None, **given), client)


CALENDLY = made()


def signature(body: bytes, *, secret: str = SECRET, sent: str) -> str:
    return hmac.new(secret.encode(), sent.encode() + b"." + body, hashlib.sha256).hexdigest()


def signed(body: bytes, *, secret: str = SECRET, at: datetime = NOW) -> Request:
    sent = str(int(at.timestamp()))
    header = f"t={sent},v1={signature(body, secret=secret, sent=sent)}"
    return Request("POST", URL, {"calendly-webhook-signature": header}, body)


def refusal(request: Request, calendly: Calendly = CALENDLY) -> Refused:
    with pytest.raises(Refused) as caught:
        calendly.verify(request, NOW)
    return caught.value


def invitee_uri(id: str) -> str:
    return f"{API}/scheduled_events/ev-of-{id}/invitees/{id}"


def invitee(id: str = "inv-1", **fields: Any) -> dict[str, Any]:
    return {
        "uri": invitee_uri(id),
        "email": "Zoe@Example.com",
        "name": "Zoë Ash",
        "first_name": "Zoë",
        "last_name": "Ash",
        "status": "active",
        "timezone": "Europe/Berlin",
        "event": f"{API}/scheduled_events/ev-of-{id}",
        "created_at": "2026-03-02T08:59:00.123456Z",
        "rescheduled": False,
        "old_invitee": None,
        "new_invitee": None,
        "text_reminder_number": "+49 30 901820",
        "cancel_url": f"https://calendly.example.com/cancellations/{id}",
        "reschedule_url": f"https://calendly.example.com/reschedulings/{id}",
        "questions_and_answers": [
            {"question": "What sells best?", "answer": "Mugs", "position": 0},
            {"question": "May we write to you?", "answer": "Yes", "position": 1},
            {"question": "Anything else?", "answer": "", "position": 2},
        ],
        "tracking": {"utm_source": "news", "utm_campaign": None, "salesforce_uuid": "003xx"},
        "scheduled_event": {
            "uri": f"{API}/scheduled_events/ev-of-{id}",
            "name": "Consultation",
            "start_time": "2026-03-09T14:00:00.000000Z",
            "end_time": "2026-03-09T14:30:00.000000Z",
            "location": {"type": "zoom", "join_url": "https://meet.example.com/a"},
            "event_memberships": [{"user": f"{API}/users/u1", "user_email": "rep@example.com"}],
        },
        **fields,
    }


def notice(event: str, payload: dict[str, Any], created_at: str = "2026-03-02T08:59:01.000000Z") -> Request:
    body = {"event": event, "created_at": created_at, "created_by": f"{API}/users/u1", "payload": payload}
    return Request("POST", URL, {}, json.dumps(body).encode())


def parsed(event: str, payload: dict[str, Any], calendly: Calendly = CALENDLY) -> list[Event]:
    return list(calendly.parse(notice(event, payload), NOW))


def who(event: Event) -> set[tuple[str, str]]:
    return {(i.kind, i.value) for i in event.identities}


def test_what_it_is() -> None:
    assert isinstance(CALENDLY, Source)
    assert isinstance(CALENDLY, Poller)
    assert isinstance(CALENDLY, Sink)
    assert CalendlySettings(_env_file=None).calls_per_second == 1


def test_a_vector_worked_out_apart_from_this_code() -> None:
    # printf %s '1772442000.{}' | openssl dgst -sha256 -hmac key-of-the-subscription
    mac = "fc4a652748320c1f6314b364b662e2e71f26ca3fb8aea43a78520a5385c14c4c"
    header = {"calendly-webhook-signature": f"t=1772442000,v1={mac}"}
    CALENDLY.verify(Request("POST", URL, header, b"{}"), NOW)


@pytest.mark.parametrize(("seconds", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_age_counts_both_ways(seconds: int, taken: bool) -> None:
    arriving = signed(b"{}", at=NOW + timedelta(seconds=seconds))
    if taken:
        CALENDLY.verify(arriving, NOW)
    else:
        assert refusal(arriving).status == 401


def test_whatever_is_altered_is_refused() -> None:
    good = signed(b"{}").headers["calendly-webhook-signature"]
    for header, body in (
        (signed(b"{}", secret="other").headers["calendly-webhook-signature"], b"{}"),
        (good, b"{} "),
        (good.replace("t=1772442000", "t=1772442001"), b"{}"),
        (good.partition(",")[0], b"{}"),
        ("", b"{}"),
    ):
        assert refusal(Request("POST", URL, {"calendly-webhook-signature": header}, body)).status == 401


def test_two_timestamps_are_one_too_many() -> None:
    header = signed(b"{}").headers["calendly-webhook-signature"]
    for doubled in (f"t=1,{header}", f"{header},t=1772442000"):
        assert refusal(Request("POST", URL, {"calendly-webhook-signature": doubled}, b"{}")).status == 400


def test_several_secrets_and_none() -> None:
    made(signing_secret=f"other, {SECRET}").verify(signed(b"{}"), NOW)
    assert "no signing secret" in refusal(signed(b"{}"), made(signing_secret=None)).reason


@given(st.text(), st.binary())
def test_junk_is_refused(header: str, body: bytes) -> None:
    with pytest.raises(Refused):
        CALENDLY.verify(Request("POST", URL, {"calendly-webhook-signature": header}, body), NOW)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        CALENDLY.parse(Request("POST", URL, {}, body), NOW)
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KINDS = [
    "invitee.created",
    "invitee.canceled",
    "invitee_no_show.created",
    "invitee_no_show.deleted",
    "routing_form_submission.created",
]
TIMES = st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "1970-01-01T00:00:00Z", "soon"])


@given(
    st.sampled_from(KINDS),
    st.dictionaries(
        st.sampled_from([*invitee(), "routing_form", "submitter", "cancellation", "no_show", "invitee"]), JSON
    ),
    st.none() | TIMES,
)
def test_junk_payloads_parse_or_raise_a_value_error(kind: str, fields: dict[str, Any], at: str | None) -> None:
    times = {"created_at": at} if at else {}
    try:
        parsed(kind, {**invitee(), **times, **fields})
    except ValueError as error:
        assert "\n" not in str(error)


def test_a_booking_as_the_consultation_reads_it() -> None:
    booked, person = parsed("invitee.created", invitee())
    assert (booked.type, booked.source, booked.source_id) == ("meeting.booked", "calendly", "booked/inv-1")
    assert booked.occurred_at == datetime(2026, 3, 2, 8, 59, 0, 123456, tzinfo=UTC)
    assert who(booked) == {("email", "zoe@example.com"), ("phone", "+4930901820"), ("calendly", "inv-1")}
    assert booked.data == {
        "meeting_id": "inv-1",
        "event_id": "ev-of-inv-1",
        "starts_at": "2026-03-09T14:00:00+00:00",
        "ends_at": "2026-03-09T14:30:00+00:00",
        "name": "Consultation",
        "url": "https://meet.example.com/a",
        "move_url": "https://calendly.example.com/reschedulings/inv-1",
        "cancel_url": "https://calendly.example.com/cancellations/inv-1",
        "host": "rep@example.com",
        "answers": {"What sells best?": "Mugs", "May we write to you?": "Yes"},
        "utm": {"source": "news"},
    }
    assert (person.type, person.source_id) == ("contact.updated", "invitee/inv-1")
    assert person.data["timezone"] == "Europe/Berlin"
    assert (person.data["first_name"], person.data["last_name"]) == ("Zoë", "Ash")


def test_an_id_in_the_address_of_a_booking_page_makes_nobody_a_lead_of_ours() -> None:
    assert all(i.kind != "salesforce" for event in parsed("invitee.created", invitee()) for i in event.identities)


@pytest.mark.parametrize(
    ("settings", "consent"),
    [
        ({}, None),
        ({"consent_question": "May we write to you?"}, {"email": ["promotional", "lifecycle"]}),
        ({"consent_question": "May we write to you?", "consent": {"email": ["lifecycle"]}}, {"email": ["lifecycle"]}),
        ({"consent_question": "May we write to you?", "consent_answer": "Please do"}, None),
        ({"consent_question": "Anything else?", "consent_answer": ""}, None),
    ],
)
def test_consent_is_a_question_answered_with_yes(settings: dict[str, Any], consent: Any) -> None:
    assert parsed("invitee.created", invitee(), made(**settings))[0].data.get("consent") == consent


def test_a_cancellation() -> None:
    why = {"canceler_type": "invitee", "reason": "Ill", "created_at": "2026-03-03T08:00:00Z"}
    (event,) = parsed("invitee.canceled", invitee(status="canceled", cancellation=why))
    assert (event.type, event.source_id) == ("meeting.canceled", "canceled/inv-1")
    assert event.occurred_at == datetime(2026, 3, 3, 8, 0, tzinfo=UTC)
    assert event.data == {
        "meeting_id": "inv-1",
        "event_id": "ev-of-inv-1",
        "by": "invitee",
        "reason": "Ill",
        "rescheduled": False,
    }
    assert ("email", "zoe@example.com") in who(event)


def reschedule() -> list[Request]:
    """A meeting is booked and then moved twice: five webhooks."""
    first, second, third = (invitee(f"inv-{n}", created_at=f"2026-03-0{n}T10:00:00Z") for n in (1, 2, 3))
    gone = {"status": "canceled", "rescheduled": True}
    return [
        notice("invitee.created", first),
        notice("invitee.canceled", {**first, **gone, "new_invitee": invitee_uri("inv-2")}, "2026-03-02T10:00:00.4Z"),
        notice("invitee.created", {**second, "old_invitee": invitee_uri("inv-1")}),
        notice("invitee.canceled", {**second, **gone, "new_invitee": invitee_uri("inv-3")}, "2026-03-03T10:00:00.4Z"),
        notice("invitee.created", {**third, "old_invitee": invitee_uri("inv-2")}),
    ]


def test_a_move_is_told_by_its_booking_alone() -> None:
    told = [[e.type for e in CALENDLY.parse(request, NOW)] for request in reschedule()]
    assert told[1] == told[3] == []
    assert told[2] == ["meeting.canceled", "meeting.booked", "contact.updated"]
    gone, booked, _ = CALENDLY.parse(reschedule()[2], NOW)
    assert gone.data == {"meeting_id": "inv-1", "rescheduled": True, "moved_to": "inv-2"}
    assert (booked.data["meeting_id"], booked.data["moved_from"]) == ("inv-2", "inv-1")
    assert ("calendly", "inv-1") in who(gone)


def test_in_any_order_a_move_ends_with_a_meeting_that_stands() -> None:
    for order in permutations(reschedule()):
        events = [e for request in order for e in CALENDLY.parse(request, NOW)]
        last = {t: max(e.occurred_at for e in events if e.type == t) for t in ("meeting.booked", "meeting.canceled")}
        assert last["meeting.booked"] > last["meeting.canceled"]
        booked = {e.data["meeting_id"] for e in events if e.type == "meeting.booked"}
        gone = {e.data["meeting_id"] for e in events if e.type == "meeting.canceled"}
        assert booked - gone == {"inv-3"}
        # Whoever hears of a meeting given up hears of the one that replaces it in the same breath.
        for request in order:
            types = [e.type for e in CALENDLY.parse(request, NOW)]
            assert "meeting.canceled" not in types or "meeting.booked" in types


def test_a_repeat_is_the_same_event() -> None:
    for request in reschedule():
        ids = [e.source_id for e in CALENDLY.parse(request, NOW)]
        assert ids == [e.source_id for e in CALENDLY.parse(request, NOW + timedelta(hours=3))]
        assert len(set(ids)) == len(ids)


def test_a_no_show_in_either_shape() -> None:
    mark = {"uri": f"{API}/invitee_no_shows/n1", "created_at": "2026-03-09T15:00:00Z"}
    (inside,) = parsed("invitee_no_show.created", invitee(no_show=mark))
    (alone,) = parsed("invitee_no_show.created", {**mark, "invitee": invitee_uri("inv-1")})
    for event in (inside, alone):
        assert (event.type, event.data) == ("meeting.no_show", {"meeting_id": "inv-1"})
        assert event.occurred_at == datetime(2026, 3, 9, 15, 0, tzinfo=UTC)
        assert ("calendly", "inv-1") in who(event)
    assert inside.source_id == alone.source_id


def test_a_no_show_taken_back_means_that_they_came() -> None:
    (event,) = parsed("invitee_no_show.deleted", invitee(no_show=None))
    assert event.type == "meeting.completed"
    assert event.data == {"meeting_id": "inv-1", "no_show_taken_back": True}


def routing(answers: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {
        "uri": f"{API}/routing_form_submissions/s1",
        "routing_form": f"{API}/routing_forms/rf1",
        "created_at": "2026-03-02T08:00:00Z",
        "questions_and_answers": answers,
        "tracking": {"utm_source": "ads"},
        **fields,
    }


def test_a_routing_form() -> None:
    answers = [
        {"question_uuid": "q1", "question": "Company size", "answer": "1-10"},
        {"question_uuid": "q2", "question": "Your address", "answer": "zoe@example.com"},
    ]
    (event,) = parsed("routing_form_submission.created", routing(answers, submitter=invitee_uri("inv-1")))
    assert (event.type, event.source_id) == ("form.submitted", "form/s1")
    assert event.data["form"] == "rf1"
    assert event.data["answers"] == {"Company size": "1-10", "Your address": "zoe@example.com"}
    assert event.data["utm"] == {"source": "ads"}
    assert who(event) == {("email", "zoe@example.com"), ("calendly", "inv-1")}


def test_a_routing_form_that_names_nobody_means_nothing() -> None:
    assert parsed("routing_form_submission.created", routing([{"question": "Size", "answer": "9"}])) == []


@pytest.mark.parametrize("event", ["event_type.created", "contact.created", "meeting_recap.created", "new.thing"])
def test_other_events_mean_nothing(event: str) -> None:
    assert parsed(event, {"uri": 4}) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"uri": f"{API}/users/u1"}, "uri"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"old_invitee": "somebody"}, "old_invitee"),
        ({"scheduled_event": {"start_time": "noon of zoe@example.com"}}, "scheduled_event.start_time"),
    ],
)
def test_what_does_not_parse_is_named_without_its_value(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: ") as caught:
        parsed("invitee.created", invitee(**fields))
    assert "zoe" not in str(caught.value)


@pytest.fixture
async def calendly() -> AsyncIterator[Calendly]:
    async with http.new_client() as client:
        yield made(client)


def meeting(id: str, updated_at: str) -> dict[str, Any]:
    held: dict[str, Any] = invitee(id)["scheduled_event"]
    return {**held, "updated_at": updated_at}


def page(items: list[dict[str, Any]], token: str | None = None) -> dict[str, Any]:
    return {"collection": items, "pagination": {"count": len(items), "next_page_token": token}}


def of_meeting(id: str, *invitees: dict[str, Any]) -> respx.Route:
    bare = [{k: v for k, v in i.items() if k != "scheduled_event"} for i in invitees]
    return respx.get(f"{API}/scheduled_events/ev-of-{id}/invitees").respond(json=page(bare))


@respx.mock
async def test_the_first_poll_asks_nothing_and_begins_now(calendly: Calendly) -> None:
    first = await calendly.poll(None, NOW)
    assert (first.events, first.more) == ([], False)
    assert json.loads(first.cursor)["since"] == "2026-03-02T09:00:00Z"


@respx.mock
async def test_a_poll_finds_what_webhooks_would_have_told(calendly: Calendly) -> None:
    begun = (await calendly.poll(None, NOW)).cursor
    later = NOW + timedelta(minutes=15)
    mark = {"uri": f"{API}/invitee_no_shows/n1", "created_at": "2026-03-02T09:03:00Z"}
    moved = invitee("m2", created_at="2026-03-02T09:02:00Z", old_invitee=invitee_uri("m1"))
    canceled = invitee(
        "c1", status="canceled", cancellation={"created_at": "2026-03-02T09:04:00Z"}, created_at="2026-02-01T08:00:00Z"
    )
    missed = invitee("n1", no_show=mark, created_at="2026-02-01T08:00:00Z")
    given_up = invitee("m1", status="canceled", rescheduled=True, created_at="2026-02-01T08:00:00Z")
    changed = "2026-03-02T09:05:00Z"
    listed = respx.get(f"{API}/scheduled_events").mock(
        side_effect=[
            httpx.Response(200, json=page([meeting("m2", changed), meeting("old", "2026-02-01T00:00:00Z")], "p2")),
            httpx.Response(200, json=page([meeting(i, changed) for i in ("m1", "c1", "n1")])),
        ]
    )
    for known in (moved, canceled, missed, given_up):
        of_meeting(known["uri"].rpartition("/")[2], known)
    one = await calendly.poll(begun, later)
    two = await calendly.poll(one.cursor, later + timedelta(seconds=9))
    assert (one.more, two.more) == (True, False)
    assert [e.source_id for e in one.events] == ["canceled/m1", "booked/m2", "invitee/m2"]
    assert [e.source_id for e in two.events] == ["no_show/n1/2026-03-02T09:03:00+00:00", "canceled/c1"]
    asked = listed.calls[0].request.url.params
    assert (asked["organization"], asked["count"]) == (f"{API}/organizations/o1", "20")
    assert asked["min_start_time"] == "2026-02-23T09:15:00Z"
    assert asked["max_start_time"] == "2026-05-31T09:15:00Z"
    assert listed.calls[1].request.url.params["page_token"] == "p2"
    # The next sweep begins where this one began, not where it ended.
    assert json.loads(two.cursor) == {"since": "2026-03-02T09:15:00Z", "began": "2026-03-02T09:15:00Z"}
    told = {e.source_id: e for e in parsed("invitee.created", moved)}
    assert all(told[e.source_id].occurred_at == e.occurred_at and told[e.source_id].data == e.data for e in one.events)


@respx.mock
async def test_a_meeting_that_cannot_be_read_does_not_cost_the_others(calendly: Calendly) -> None:
    begun = (await calendly.poll(None, NOW)).cursor
    bad = {**meeting("bad", "2026-03-02T09:05:00Z"), "start_time": "noon"}
    respx.get(f"{API}/scheduled_events").respond(json=page([bad, meeting("inv-1", "2026-03-02T09:05:00Z")]))
    of_meeting("inv-1", {"uri": "nobody"}, invitee(created_at="2026-03-02T09:02:00Z"))
    found = await calendly.poll(begun, NOW + timedelta(minutes=15))
    assert [e.type for e in found.events] == ["meeting.booked", "contact.updated"]


@respx.mock
async def test_a_meeting_of_many_is_read_to_its_end(calendly: Calendly) -> None:
    begun = (await calendly.poll(None, NOW)).cursor
    respx.get(f"{API}/scheduled_events").respond(json=page([meeting("inv-1", "2026-03-02T09:05:00Z")]))
    people = [invitee(f"p{n}", created_at="2026-03-02T09:02:00Z") for n in (1, 2)]
    respx.get(f"{API}/scheduled_events/ev-of-inv-1/invitees").mock(
        side_effect=[httpx.Response(200, json=page(people[:1], "t")), httpx.Response(200, json=page(people[1:]))]
    )
    found = await calendly.poll(begun, NOW + timedelta(minutes=15))
    assert {e.data["meeting_id"] for e in found.events if e.type == "meeting.booked"} == {"p1", "p2"}


@pytest.mark.parametrize("status", [400, 404])
@respx.mock
async def test_a_page_that_is_gone_begins_the_sweep_again(calendly: Calendly, status: int) -> None:
    begun = (await calendly.poll(None, NOW)).cursor
    later, much_later = NOW + timedelta(minutes=15), NOW + timedelta(days=2)
    listed = respx.get(f"{API}/scheduled_events")
    listed.mock(
        side_effect=[
            httpx.Response(200, json=page([], "p2")),
            httpx.Response(status, json={"title": "Invalid Argument", "details": [{"parameter": "page_token"}]}),
            httpx.Response(200, json=page([meeting("inv-1", "2026-03-02T09:05:00Z")])),
        ]
    )
    of_meeting("inv-1", invitee(created_at="2026-03-02T09:02:00Z"))
    half = await calendly.poll(begun, later)
    again = await calendly.poll(half.cursor, much_later)
    assert (again.events, again.more) == ([], True)
    whole = await calendly.poll(again.cursor, much_later)
    # From where the last whole sweep ended, and not from now.
    assert [e.type for e in whole.events] == ["meeting.booked", "contact.updated"]
    asked = listed.calls.last.request.url.params
    assert ("page_token" in asked, asked["min_start_time"]) == (False, "2026-02-25T09:00:00Z")


@pytest.mark.parametrize("status", [400, 404])
@respx.mock
async def test_a_list_that_is_not_there_at_all_is_said(calendly: Calendly, status: int) -> None:
    begun = (await calendly.poll(None, NOW)).cursor
    respx.get(f"{API}/scheduled_events").respond(status)
    with pytest.raises(NeverAgain):
        await calendly.poll(begun, NOW)


@pytest.mark.parametrize("status", [401, 403])
@respx.mock
async def test_a_page_that_is_refused_is_no_page_that_is_gone(calendly: Calendly, status: int) -> None:
    begun = (await calendly.poll(None, NOW)).cursor
    listed = respx.get(f"{API}/scheduled_events").respond(json=page([], "p2"))
    half = await calendly.poll(begun, NOW)
    listed.respond(status)
    with pytest.raises(NeverAgain):
        await calendly.poll(half.cursor, NOW)


async def test_without_an_organization_nothing_is_polled() -> None:
    begun = (await made(organization=None).poll(None, NOW)).cursor
    assert (await made(organization=None).poll(begun, NOW)).events == []


def told(type: str, *who: tuple[str, str]) -> Told:
    return Told("t-1", type, NOW, "c-1", identities(*who), {})


@respx.mock
async def test_erasure_is_passed_on(calendly: Calendly) -> None:
    route = respx.post(f"{API}/data_compliance/deletion/invitees").respond(202, json={})
    await calendly.tell(told("contact.erased", ("email", "a@example.com"), ("email", "b@example.com"), ("user", "7")))
    assert json.loads(route.calls.last.request.content) == {"emails": ["a@example.com", "b@example.com"]}
    assert route.calls.last.request.headers["authorization"] == "Bearer pat-1"
    assert await calendly.tell(told("contact.erased", ("user", "7"))) is None
    assert route.call_count == 1


async def test_nothing_else_can_be_told(calendly: Calendly) -> None:
    with pytest.raises(NeverAgain, match=r"contact\.updated"):
        await calendly.tell(told("contact.updated", ("email", "a@example.com")))


@pytest.mark.parametrize(
    ("status", "kind", "headers"),
    [(429, TryAgain, {"x-ratelimit-reset": "41"}), (500, TryAgain, {}), (401, NeverAgain, {}), (403, NeverAgain, {})],
)
@respx.mock
async def test_refusals(calendly: Calendly, status: int, kind: type[ConnectorError], headers: dict[str, str]) -> None:
    body = {"title": "Invalid Argument", "message": "a@example.com is unknown", "details": [{"parameter": "emails"}]}
    respx.post(f"{API}/data_compliance/deletion/invitees").respond(status, json=body, headers=headers)
    with pytest.raises(kind) as caught:
        await calendly.tell(told("contact.erased", ("email", "a@example.com")))
    assert caught.value.reason == f"{status} Invalid Argument emails"
    assert "example.com" not in str(caught.value)
    assert "pat-1" not in str(caught.value)
    if isinstance(caught.value, TryAgain) and headers:
        assert caught.value.delay == timedelta(seconds=41)


async def test_without_a_token_nothing_is_asked() -> None:
    with pytest.raises(NeverAgain, match="CALENDLY_ACCESS_TOKEN"):
        await made(access_token=None).tell(told("contact.erased", ("email", "a@example.com")))
