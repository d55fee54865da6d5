"""Intercom: what its inbox tells, and the contacts, notes, tickets, messages and events we write there."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from connectors import http
from connectors.base import Crm, Directory, Message, Person, Refused, Request, Sender, Sink, Source, Task, Told
from connectors.errors import BadAddress, ConnectorError, NeverAgain, NobodyThere, TryAgain, Unknown
from connectors.intercom import Intercom, IntercomSettings
from contacts.events import Event, Identity

SECRET = "c1ient-s3cret"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/intercom"
API = "https://api.intercom.io"
ID = "6762f0dd1bb69f9f2193bb83"
OTHER = "6762f0dd1bb69f9f2193bb84"


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> Intercom:
    given = {"signing_secret": SECRET, "access_token": "tok-1", "admin_id": "7", "ticket_type_id": "44", **settings}
    return Intercom(IntercomSettings(_env_file=None, **given), client)


INTERCOM = made()


@pytest.fixture(autouse=True)
def edge() -> Iterator[None]:
    """Intercom's edge: whatever is not answered for here fails the test."""
    respx.mock.start()
    yield
    respx.mock.stop(quiet=True)


@pytest.fixture
async def intercom() -> AsyncIterator[Intercom]:
    async with http.new_client() as client:
        yield made(client)


def request(body: bytes, signature: str | None = None) -> Request:
    return Request("POST", URL, {} if signature is None else {"x-hub-signature": signature}, body)


def signed(body: bytes, secret: str = SECRET) -> Request:
    return request(body, "sha1=" + hmac.new(secret.encode(), body, hashlib.sha1).hexdigest())


def notice(topic: str, item: Any, **fields: Any) -> bytes:
    body = {
        "type": "notification_event",
        "app_id": "abc123",
        "id": "notif_1",
        "topic": topic,
        "created_at": int(NOW.timestamp()),
        "first_sent_at": int(NOW.timestamp()) + 5,
        "delivery_attempts": 1,
        "data": {"type": "notification_event_data", "item": item},
    }
    return json.dumps({**body, **fields}).encode()


def parsed(topic: str, item: Any, **fields: Any) -> list[Event]:
    return list(INTERCOM.parse(request(notice(topic, item, **fields)), NOW))


def only(topic: str, item: Any, **fields: Any) -> Event:
    (event,) = parsed(topic, item, **fields)
    return event


def who(event: Event) -> set[tuple[str, str]]:
    return {(i.kind, i.value) for i in event.identities}


def types(events: list[Event]) -> list[str]:
    return [event.type for event in events]


def test_what_it_is() -> None:
    for ability in (Source, Crm, Directory, Sender, Sink):
        assert isinstance(INTERCOM, ability)
    assert (INTERCOM.channel, INTERCOM.idempotent, INTERCOM.listed_within) == ("chat", False, None)


def test_a_signature_by_openssl() -> None:
    # printf '{"topic":"ping"}' | openssl dgst -sha1 -hmac c1ient-s3cret
    INTERCOM.verify(request(b'{"topic":"ping"}', "sha1=9a2e059c5f99b181e5219f179f6685c163c152a0"), NOW)


def test_forgeries_are_refused() -> None:
    good = signed(b"{}")
    for arriving in (
        signed(b"{}", "other"),
        request(b"{} ", good.headers["x-hub-signature"]),
        request(b"{}"),
        request(b"{}", ""),
        request(b"{}", good.headers["x-hub-signature"].removeprefix("sha1=")),
        request(b"{}", good.headers["x-hub-signature"].replace("sha1=", "sha256=")),
        request(b"{}", "sha1=é\udcff"),
        request(b"{}", ", ".join([good.headers["x-hub-signature"]] * 2)),
    ):
        with pytest.raises(Refused) as caught:
            INTERCOM.verify(arriving, NOW)
        assert caught.value.status == 401
    INTERCOM.verify(good, NOW)
    made(signing_secret=f"new, {SECRET}").verify(good, NOW)
    for none in (None, "", " , "):
        with pytest.raises(Refused, match="no signing secret"):
            made(signing_secret=none).verify(good, NOW)


@given(st.text(), st.binary())
def test_junk_is_refused(signature: str, body: bytes) -> None:
    with pytest.raises(Refused):
        INTERCOM.verify(request(body, signature), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TOPICS = [
    "contact.user.created",
    "contact.lead.added_email",
    "contact.merged",
    "contact.unsubscribed",
    "contact.user.tag.created",
    "conversation.user.created",
    "conversation.admin.replied",
    "conversation.admin.closed",
    "conversation.rating.added",
    "ticket.created",
    "ticket.state.updated",
]
FIELDS = [
    "id",
    "external_id",
    "email",
    "phone",
    "merge_history",
    "contact",
    "user",
    "tag",
    "source",
    "contacts",
    "conversation_parts",
    "teammates",
    "conversation_rating",
    "ticket_type",
    "ticket_state",
    "ticket_parts",
    "created_at",
    "updated_at",
]


@given(st.sampled_from(TOPICS), st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON, st.binary())
def test_junk_bodies_parse_or_raise_a_value_error(topic: str, item: Any, raw: bytes) -> None:
    whole = {"id": "c-1", **item} if isinstance(item, dict) else item
    for body in (notice(topic, whole), notice(topic, {}, id=item), notice(topic, {}, created_at=item), raw):
        try:
            INTERCOM.parse(request(body), NOW)
        except ValueError as error:
            assert "\n" not in str(error)


CONTACT = {
    "type": "contact",
    "id": ID,
    "external_id": "u-1",
    "role": "user",
    "email": "Zoe@Example.com",
    "phone": "+49 30 901820",
    "name": "Zoë Ash",
}
KNOWN = {("user", "u-1"), ("intercom", ID), ("email", "zoe@example.com"), ("phone", "+4930901820")}


@pytest.mark.parametrize(
    "topic", ["contact.user.created", "contact.lead.created", "contact.email.updated", "contact.user.updated"]
)
def test_a_contact_is_known_and_enrols_nobody(topic: str) -> None:
    event = only(topic, CONTACT)
    assert (event.type, event.source, event.source_id) == ("contact.updated", "intercom", "notif_1")
    assert event.occurred_at == NOW
    assert event.data == {"email": "zoe@example.com", "phone": "+4930901820", "name": "Zoë Ash"}
    assert who(event) == KNOWN


@pytest.mark.parametrize(
    ("topic", "type"),
    [
        ("contact.created", "contact.updated"),
        ("contact.user.created", "contact.updated"),
        ("contact.lead.created", "contact.updated"),
        ("contact.updated", "contact.updated"),
        ("contact.user.updated", "contact.updated"),
        ("contact.lead.updated", "contact.updated"),
        ("contact.email.updated", "contact.updated"),
        ("contact.lead.added_email", "contact.identified"),
        ("contact.lead.signed_up", "contact.merged"),
        ("contact.merged", "contact.merged"),
        ("contact.unsubscribed", "consent.withdrawn"),
        ("contact.subscribed", "custom.intercom_subscribed"),
        ("contact.user.tag.created", "custom.intercom_tag"),
        ("contact.user.tag.deleted", "custom.intercom_tag"),
        ("contact.lead.tag.created", "custom.intercom_tag"),
        ("contact.lead.tag.deleted", "custom.intercom_tag"),
        ("conversation.user.created", "message.replied"),
        ("conversation.user.replied", "message.replied"),
        ("conversation.admin.replied", "conversation.started"),
        ("conversation.admin.closed", "conversation.ended"),
        ("conversation.rating.added", "csat.answered"),
        ("ticket.created", "ticket.opened"),
        ("ticket.state.updated", "ticket.solved"),
    ],
)
def test_every_topic_is_the_event_it_is(topic: str, type: str) -> None:
    item = CONTACT
    if ".tag." in topic:
        item = {"contact": CONTACT, "tag": {"name": "VIP"}}
    elif topic.startswith("conversation"):
        item = conversation(ADMIN, teammates={"admins": [ADMIN]}, conversation_rating={"rating": 5})
    elif topic.startswith("ticket"):
        item = ticket("resolved" if "state" in topic else "submitted")
    assert parsed(topic, item)[0].type == type
    if ".tag." in topic:
        assert only(topic, item).data["change"] == topic.rpartition(".")[2]


def test_empty_texts_and_older_names() -> None:
    old = {"id": ID, "user_id": "u-1", "external_id": "", "email": "", "phone": None, "name": ""}
    event = only("contact.lead.created", old)
    assert (who(event), event.data) == ({("user", "u-1"), ("intercom", ID)}, {})


def test_a_visitor_who_leaves_an_address_is_a_lead() -> None:
    event = only("contact.lead.added_email", {**CONTACT, "role": "lead", "external_id": None})
    assert (event.type, event.data["email"]) == ("contact.identified", "zoe@example.com")


@pytest.mark.parametrize("topic", ["contact.merged", "contact.lead.signed_up"])
def test_two_become_one(topic: str) -> None:
    gone = [{"type": "merge_history", "source_contact_id": OTHER}, {"source_contact_id": ID}]
    merged, traits = parsed(topic, {**CONTACT, "merge_history": gone})
    assert (merged.type, merged.data) == ("contact.merged", {"into": ID, "merged": [OTHER]})
    assert who(merged) == {*KNOWN, ("intercom", OTHER)}
    assert (traits.type, traits.source_id, who(traits)) == ("contact.updated", "notif_1:traits", KNOWN)
    assert parsed(topic, {**CONTACT, "merge_history": None})[0].data["merged"] == []


def test_an_opt_out_counts_and_an_opt_in_is_nobodys_word() -> None:
    out = only("contact.unsubscribed", CONTACT)
    assert (out.type, out.data) == (
        "consent.withdrawn",
        {"channel": "email", "purpose": "all", "evidence": "contact.unsubscribed"},
    )
    assert who(out) == KNOWN
    assert only("contact.subscribed", CONTACT).type == "custom.intercom_subscribed"


@pytest.mark.parametrize("whose", ["contact", "user"])
def test_a_tag(whose: str) -> None:
    item = {"type": "contact_tag", whose: CONTACT, "tag": {"type": "tag", "id": "9", "name": "VIP"}}
    event = only("contact.user.tag.created", item)
    assert (event.type, event.data) == ("custom.intercom_tag", {"tag": "VIP", "change": "created"})
    assert who(event) == KNOWN
    assert only("contact.user.tag.deleted", item).data["change"] == "deleted"


PERSON = {"type": "user", "id": ID, "name": "Zoë Ash", "email": "zoe@example.com"}
ADMIN = {"type": "admin", "id": "7", "name": "Ann", "email": "ann@example.com"}
BOT = {"type": "bot", "id": "9", "name": "Fin"}
SAID_AT = datetime(2026, 3, 2, 8, 59, 58, tzinfo=UTC)


def conversation(
    *authors: dict[str, Any], started_by: dict[str, Any] = PERSON, people: Any = None, **fields: Any
) -> dict[str, Any]:
    parts = [
        {"type": "conversation_part", "id": f"p-{n}", "created_at": int(SAID_AT.timestamp()), "author": author}
        for n, author in enumerate(authors)
    ]
    known = [{"type": "contact", "id": ID, "external_id": "u-1"}] if people is None else people
    return {
        "type": "conversation",
        "id": "555",
        "created_at": int(NOW.timestamp()) - 600,
        "source": {"type": "conversation", "id": "m-1", "delivered_as": "customer_initiated", "author": started_by},
        "contacts": {"type": "contact.list", "contacts": known},
        "conversation_parts": {"type": "conversation_part.list", "conversation_parts": parts},
        "teammates": {"type": "admin.list", "admins": []},
        **fields,
    }


def test_a_contact_writes() -> None:
    replied, hold = parsed("conversation.user.created", conversation())
    assert (replied.type, replied.data) == (
        "message.replied",
        {"channel": "chat", "machine": False, "conversation_id": "555"},
    )
    assert (hold.type, hold.data, hold.source_id) == ("hold.opened", {"hold_id": "intercom-555"}, "notif_1:hold")
    for event in (replied, hold):
        assert who(event) == {("user", "u-1"), ("intercom", ID), ("email", "zoe@example.com")}
        assert event.occurred_at == NOW


def test_a_contact_answers_what_we_sent() -> None:
    replied, hold = parsed("conversation.user.replied", conversation(ADMIN, PERSON, started_by=ADMIN))
    assert (replied.data["message_id"], replied.occurred_at, hold.occurred_at) == ("m-1", SAID_AT, SAID_AT)
    assert ("email", "ann@example.com") not in who(replied)


def test_nobody_of_ours_is_taken_for_the_contact() -> None:
    for author in (ADMIN, BOT):
        replied, _ = parsed("conversation.user.replied", conversation(author, started_by=author, people=[]))
        assert who(replied) == set()


@pytest.mark.parametrize("kind", ["user", "lead", "contact", "visitor"])
def test_whoever_writes_to_us_is_a_contact(kind: str) -> None:
    replied, _ = parsed("conversation.user.created", conversation(started_by={**PERSON, "type": kind}, people=[]))
    assert who(replied) == {("intercom", ID), ("email", "zoe@example.com")}


def test_who_wrote_is_known_when_a_bot_has_answered_since() -> None:
    people = [{"id": ID, "external_id": "u-1"}, {"id": OTHER, "external_id": "u-2"}]
    other = {"type": "user", "id": OTHER, "email": "max@example.com"}
    for last in (BOT, ADMIN):
        replied, _ = parsed("conversation.user.replied", conversation(other, last, people=people))
        assert who(replied) == {("user", "u-2"), ("intercom", OTHER), ("email", "max@example.com")}
        replied, _ = parsed("conversation.user.replied", conversation(last, people=people))
        assert who(replied) == {("user", "u-1"), ("intercom", ID), ("email", "zoe@example.com")}


def test_nobody_gets_the_address_of_somebody_else() -> None:
    """Only one is listed, and another wrote: the list may be short, and their address is their own."""
    stranger = {"type": "user", "id": OTHER, "email": "max@example.com"}
    replied, _ = parsed("conversation.user.replied", conversation(stranger))
    assert ("email", "max@example.com") not in who(replied)


def test_two_people_in_one_conversation_stay_two() -> None:
    people = [{"id": ID, "external_id": "u-1"}, {"id": OTHER, "external_id": "u-2"}]
    replied, _ = parsed("conversation.user.replied", conversation({**PERSON, "id": OTHER}, people=people))
    assert who(replied) == {("user", "u-2"), ("intercom", OTHER), ("email", "zoe@example.com")}
    first, second = parsed("conversation.admin.replied", conversation(ADMIN, people=people))
    assert [who(first), who(second)] == [
        {("user", "u-1"), ("intercom", ID)},
        {("user", "u-2"), ("intercom", OTHER)},
    ]
    assert first.source_id != second.source_id


def test_a_talk_begins_when_a_person_of_ours_answers() -> None:
    event = only("conversation.admin.replied", conversation(PERSON, ADMIN))
    assert (event.type, event.occurred_at) == ("conversation.started", SAID_AT)
    assert event.data == {"conversation_id": "555", "rep": "Ann"}
    assert parsed("conversation.admin.replied", conversation(PERSON, BOT)) == []


def test_a_talk_is_over_when_it_is_closed() -> None:
    ended, released = parsed(
        "conversation.admin.closed", conversation(ADMIN, teammates={"type": "admin.list", "admins": [ADMIN]})
    )
    assert (ended.type, ended.data) == ("conversation.ended", {"conversation_id": "555"})
    assert (released.type, released.data, released.occurred_at) == (
        "hold.released",
        {"hold_id": "intercom-555"},
        SAID_AT,
    )
    assert types(parsed("conversation.admin.closed", conversation(BOT, teammates=None))) == ["hold.released"]
    newer = conversation(ADMIN, teammates={"type": "admin.list", "teammates": [ADMIN]})
    assert types(parsed("conversation.admin.closed", newer)) == ["conversation.ended", "hold.released"]


def test_a_rating() -> None:
    rating = {"rating": 2, "remark": "Slow", "created_at": 1, "contact": {"id": ID}}
    event = only("conversation.rating.added", conversation(conversation_rating=rating))
    assert (event.type, event.data["score"], event.data["mood"], event.data["comment"]) == (
        "csat.answered",
        2,
        "bad",
        "Slow",
    )
    assert who(event) == {("user", "u-1"), ("intercom", ID)}
    assert parsed("conversation.rating.added", conversation(conversation_rating={"rating": None})) == []
    assert parsed("conversation.rating.added", conversation(conversation_rating=None)) == []


def test_a_rating_is_of_whoever_gave_it() -> None:
    people = [{"id": ID, "external_id": "u-1"}, {"id": OTHER, "external_id": "u-2"}]
    for contact, rater in (({"id": OTHER}, OTHER), ({"id": ID}, ID), (None, ID), ({}, ID)):
        said = conversation(people=people, conversation_rating={"rating": 5, "contact": contact})
        assert ("intercom", rater) in who(only("conversation.rating.added", said))
        assert len([pair for pair in who(only("conversation.rating.added", said)) if pair[0] == "intercom"]) == 1


def ticket(state: Any, was: str | None = None, **fields: Any) -> dict[str, Any]:
    part = {"type": "ticket_part", "part_type": "ticket_state_updated_by_admin", "previous_ticket_state": was}
    return {
        "type": "ticket",
        "id": "88",
        "ticket_state": state,
        "ticket_type": {"id": "12", "category": "Customer"},
        "contacts": {"type": "contact.list", "contacts": [{"id": ID, "external_id": "u-1"}]},
        "ticket_parts": {"ticket_parts": [part]},
        "created_at": int(SAID_AT.timestamp()),
        "updated_at": int(NOW.timestamp()),
        **fields,
    }


@pytest.mark.parametrize("state", ["submitted", {"category": "submitted", "internal_label": "Submitted"}])
def test_a_ticket(state: Any) -> None:
    event = only("ticket.created", ticket(state))
    assert (event.type, event.data, event.occurred_at) == ("ticket.opened", {"ticket_id": "88"}, SAID_AT)
    assert who(event) == {("user", "u-1"), ("intercom", ID)}
    solved = "resolved" if isinstance(state, str) else {"category": "resolved"}
    assert parsed("ticket.created", ticket(solved)) == []
    assert only("ticket.state.updated", ticket(solved, "in_progress")).type == "ticket.solved"
    reopened = only("ticket.state.updated", ticket(state, "resolved"))
    assert (reopened.type, reopened.data["reopened"], reopened.occurred_at) == ("ticket.opened", True, NOW)
    assert parsed("ticket.state.updated", ticket(state, "in_progress")) == []
    assert parsed("ticket.state.updated", ticket(solved, "resolved")) == []


def test_the_latest_change_of_a_ticket_counts() -> None:
    parts = [{"previous_ticket_state": "resolved"}, {"previous_ticket_state": "in_progress"}]
    event = only("ticket.state.updated", ticket("resolved", ticket_parts={"ticket_parts": parts}))
    assert (event.type, event.data) == ("ticket.solved", {"ticket_id": "88"})
    assert parsed("ticket.state.updated", ticket("submitted", ticket_parts={"ticket_parts": parts})) == []


def test_a_ticket_of_two_people_is_both_of_theirs() -> None:
    people = {"contacts": [{"id": ID, "external_id": "u-1"}, {"id": OTHER, "external_id": "u-2"}]}
    first, second = parsed("ticket.created", ticket("submitted", contacts=people))
    assert [who(first), who(second)] == [
        {("user", "u-1"), ("intercom", ID)},
        {("user", "u-2"), ("intercom", OTHER)},
    ]
    assert (first.source_id, second.source_id) == ("notif_1", "notif_1:1")


@pytest.mark.parametrize("category", ["Back-office", "Tracker"])
def test_tickets_for_people_who_work_here_hold_nobody_back(category: str) -> None:
    for named in ({"ticket_type": {"category": category}}, {"category": category, "ticket_type": None}):
        assert parsed("ticket.created", ticket("submitted", **named)) == []
        assert parsed("ticket.state.updated", ticket("resolved", "submitted", **named)) == []


@pytest.mark.parametrize(
    "topic", ["ping", "contact.deleted", "contact.archived", "conversation.admin.assigned", "company.created"]
)
def test_other_topics_mean_nothing(topic: str) -> None:
    assert parsed(topic, {"type": "ping", "message": "something something interzen"}, id=None) == []


def test_a_repeat_is_the_same_event() -> None:
    first = parsed("conversation.user.created", conversation())
    again = parsed("conversation.user.created", conversation(), delivery_attempts=2, first_sent_at=1)
    assert again == first
    assert len({e.source_id for e in first}) == 2


def test_an_error_names_the_field_and_keeps_the_value() -> None:
    with pytest.raises(ValueError, match=r"^conversation_rating.rating: ") as caught:
        parsed("conversation.rating.added", conversation(conversation_rating={"rating": "zoe@example.com"}))
    assert "zoe" not in str(caught.value)
    with pytest.raises(ValueError, match=r"^id: "):
        parsed("contact.user.created", CONTACT, id=None)


# What we write there.


def sent(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


def search(*found: dict[str, Any]) -> respx.Route:
    return respx.post(f"{API}/contacts/search").respond(json={"type": "list", "data": list(found)})


async def test_a_new_person(intercom: Intercom) -> None:
    look = search()
    route = respx.post(f"{API}/contacts").respond(json={"id": ID, "role": "user"})
    person = Person("zoe@example.com", "Zoë", "Ash", phone="+4930901820", properties={"tier": "gold"})
    assert await intercom.upsert(person) == ID
    assert sent(look)["query"] == {"field": "email", "operator": "=", "value": "zoe@example.com"}
    assert sent(route) == {
        "role": "user",
        "email": "zoe@example.com",
        "name": "Zoë Ash",
        "phone": "+4930901820",
        "custom_attributes": {"tier": "gold"},
    }
    headers = route.calls.last.request.headers
    assert (headers["authorization"], headers["intercom-version"]) == ("Bearer tok-1", "2.16")


async def test_a_known_person_is_updated_and_a_user_comes_before_a_lead(intercom: Intercom) -> None:
    search(
        {"id": "l-2", "role": "lead", "updated_at": 9},
        {"id": "u-1", "role": "user", "updated_at": None},
        {"id": "u-2", "role": "user", "updated_at": 2},
    )
    route = respx.put(f"{API}/contacts/u-2").respond(json={"id": "u-2"})
    assert await intercom.upsert(Person("zoe@example.com", "Zoë")) == "u-2"
    assert sent(route) == {"name": "Zoë"}
    assert await intercom.upsert(Person("zoe@example.com")) == "u-2"
    assert route.call_count == 1


async def test_a_person_the_search_does_not_know_yet(intercom: Intercom) -> None:
    search()
    said = f"A contact matching those details already exists with id={ID}"
    create = respx.post(f"{API}/contacts").respond(409, json=refused("conflict", said))
    route = respx.put(f"{API}/contacts/{ID}").respond(json={"id": ID})
    assert await intercom.upsert(Person("zoe@example.com", "Zoë")) == ID
    assert sent(route) == {"name": "Zoë"}
    create.respond(409, json=refused("conflict", "zoe@example.com is an archived contact"))
    with pytest.raises(NeverAgain, match="conflict") as caught:
        await intercom.upsert(Person("zoe@example.com", "Zoë"))
    assert "zoe" not in str(caught.value)


def refused(code: str, message: str = "no", **fields: Any) -> dict[str, Any]:
    return {"type": "error.list", "request_id": "r-1", "errors": [{"code": code, "message": message, **fields}]}


async def test_a_note_is_written_once(intercom: Intercom) -> None:
    path = f"{API}/contacts/{ID}/notes"
    look = respx.get(path).respond(json={"type": "list", "data": [{"id": "1", "body": None}]})
    route = respx.post(path).respond(json={"id": "31", "body": "x"})
    assert await intercom.note(ID, "run-1/note", "Saw <pricing>\ntwice", NOW) == "31"
    assert look.calls.last.request.url.params["per_page"] == "150"
    assert sent(route) == {"body": "Saw &lt;pricing&gt;<br>twice<br><br>[perennial run-1/note]", "admin_id": "7"}
    look.respond(json={"data": [{"id": "31", "body": f"<p>{sent(route)['body']}</p>"}]})
    assert await intercom.note(ID, "run-1/note", "Saw <pricing>\ntwice", NOW) == "31"
    assert route.call_count == 1
    assert await intercom.note(ID, "run-2/note", "another", NOW) == "31"
    assert route.call_count == 2


TASK = Task("run-1/task", "Call Zoë", "Saw pricing twice", datetime(2026, 3, 3, 9, 0, tzinfo=UTC))


async def test_a_task_is_a_ticket_and_made_once(intercom: Intercom) -> None:
    look = respx.post(f"{API}/tickets/search").respond(json={"type": "ticket.list", "tickets": []})
    route = respx.post(f"{API}/tickets").respond(json={"type": "ticket", "id": "88"})
    assert await intercom.task(ID, TASK) == "88"
    assert sent(look) == {"query": {"field": "contact_ids", "operator": "=", "value": ID}}
    said = "Saw pricing twice\n\nDue 03 Mar 2026 09:00 UTC\n\n[perennial run-1/task]"
    assert sent(route) == {
        "ticket_type_id": "44",
        "contacts": [{"id": ID}],
        "skip_notifications": True,
        "ticket_attributes": {"_default_title_": "Call Zoë", "_default_description_": said},
    }
    there = {"id": "88", "ticket_attributes": {"_default_description_": f"<p>{said}</p>"}}
    look.respond(json={"tickets": [{"id": "87", "ticket_attributes": {}}, there]})
    assert await intercom.task(ID, TASK) == "88"
    assert route.call_count == 1


@pytest.mark.parametrize("lost", [httpx.Response(500), httpx.ReadTimeout("slow")])
async def test_what_became_of_a_note_or_task_may_be_unknown(intercom: Intercom, lost: Any) -> None:
    """Neither is sent a second time by itself: it may be there already."""
    respx.get(f"{API}/contacts/{ID}/notes").respond(json={"data": []})
    respx.post(f"{API}/tickets/search").respond(json={"tickets": []})
    note = respx.post(f"{API}/contacts/{ID}/notes").mock(side_effect=[lost])
    task = respx.post(f"{API}/tickets").mock(side_effect=[lost])
    with pytest.raises(Unknown):
        await intercom.note(ID, "run-1/note", "Saw pricing", NOW)
    with pytest.raises(Unknown):
        await intercom.task(ID, TASK)
    assert (note.call_count, task.call_count) == (1, 1)


@pytest.mark.parametrize(("owner", "assignee", "named"), [("12", "12", False), ("sales", None, True)])
async def test_who_owns_a_task(intercom: Intercom, owner: str, assignee: str | None, named: bool) -> None:
    respx.post(f"{API}/tickets/search").respond(json={"tickets": []})
    route = respx.post(f"{API}/tickets").respond(json={"id": "88"})
    await intercom.task(ID, Task(TASK.key, TASK.title, TASK.body, TASK.due, owner))
    assert sent(route).get("assignment", {}).get("admin_assignee_id") == assignee
    assert ("For sales" in sent(route)["ticket_attributes"]["_default_description_"]) is named


async def test_a_stage(intercom: Intercom) -> None:
    route = respx.put(f"{API}/contacts/{ID}").respond(json={"id": ID})
    await intercom.stage(ID, "customer")
    assert sent(route) == {"custom_attributes": {"perennial_stage": "customer"}}


async def test_the_address_behind_an_id(intercom: Intercom) -> None:
    route = respx.get(f"{API}/contacts/{ID}").respond(json={"id": ID, "email": "zoe@example.com"})
    assert await intercom.email(ID) == "zoe@example.com"
    route.respond(404, json=refused("not_found"))
    assert await intercom.email(ID) is None
    respx.get(f"{API}/contacts/..%2Fadmins").respond(404, json=refused("not_found"))
    assert await intercom.email("../admins") is None


MESSAGE = Message("run-1/1", ID, "About <pricing>", "Hello <Zoë>\nA question?", purpose="lifecycle")


@pytest.mark.parametrize(("role", "type"), [("user", "user"), ("lead", "lead"), (None, "user")])
async def test_a_message(intercom: Intercom, role: str | None, type: str) -> None:
    respx.get(f"{API}/contacts/{ID}").respond(json={"id": ID, "role": role})
    route = respx.post(f"{API}/messages").respond(json={"type": "admin_message", "id": 2001})
    assert (await intercom.send(MESSAGE)).provider_id == "2001"
    assert sent(route) == {
        "message_type": "inapp",
        "body": "Hello &lt;Zoë&gt;<br>A question?",
        "from": {"type": "admin", "id": "7"},
        "to": {"type": type, "id": ID},
    }


async def test_a_message_to_an_address(intercom: Intercom) -> None:
    look = search({"id": ID, "role": "user"})
    route = respx.post(f"{API}/messages").respond(json={"id": "2001"})
    to = Message("run-1/1", "zoe@example.com", "s", "Hello")
    await intercom.send(to)
    assert sent(route)["to"] == {"type": "user", "id": ID}
    look.respond(json={"data": []})
    with pytest.raises(BadAddress):
        await intercom.send(to)
    respx.get(f"{API}/contacts/{ID}").respond(404, json=refused("not_found"))
    with pytest.raises(BadAddress):
        await intercom.send(MESSAGE)
    assert route.call_count == 1


async def test_what_goes_wrong_with_a_message(intercom: Intercom) -> None:
    respx.get(f"{API}/contacts/{ID}").respond(json={"id": ID, "role": "user"})
    route = respx.post(f"{API}/messages")
    route.respond(404, json=refused("not_found"))
    with pytest.raises(TryAgain) as not_yet:
        await intercom.send(MESSAGE)
    assert not_yet.value.delay == timedelta(minutes=1)
    for status, kind in ((400, NeverAgain), (403, NeverAgain), (429, TryAgain), (500, Unknown), (503, TryAgain)):
        route.respond(status, json=refused("parameter_invalid", "zoe@example.com", field="body"))
        with pytest.raises(kind) as caught:
            await intercom.send(MESSAGE)
        assert type(caught.value) is not BadAddress
        assert "zoe" not in str(caught.value)
    route.mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(Unknown):
        await intercom.send(MESSAGE)
    with pytest.raises(NeverAgain, match="text: "):
        await intercom.send(Message("k", ID, "s", " \n"))
    with pytest.raises(NeverAgain):
        await intercom.look_up("run-1/1")


async def test_a_limit_names_its_delay(intercom: Intercom) -> None:
    route = respx.put(f"{API}/contacts/{ID}")
    for headers, seconds in (
        ({"date": "Mon, 02 Mar 2026 09:00:00 GMT", "x-ratelimit-reset": str(int(NOW.timestamp()) + 7)}, 7),
        ({"date": "Mon, 02 Mar 2026 09:00:00 GMT", "x-ratelimit-reset": str(int(NOW.timestamp()) - 7)}, None),
        ({"date": "Mon, 02 Mar 2026 09:00:00 GMT", "x-ratelimit-reset": "soon"}, None),
        ({"date": "Mon, 02 Mar 2026 09:00:00 GMT", "x-ratelimit-reset": str(int(NOW.timestamp()) + 3601)}, None),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 7)}, None),
        ({"retry-after": "30"}, 30),
    ):
        route.respond(429, json=refused("rate_limit_exceeded"), headers=headers)
        with pytest.raises(TryAgain, match="rate_limit_exceeded") as caught:
            await intercom.stage(ID, "customer")
        assert caught.value.delay == (timedelta(seconds=seconds) if seconds else None)
        assert caught.value.request_id == "r-1"


def told(type: str, *known: tuple[str, str], **data: Any) -> Told:
    return Told("e-1", type, NOW, "c-1", [Identity(*pair) for pair in known], data)


@pytest.mark.parametrize(
    ("known", "named"),
    [
        ([("email", "zoe@example.com"), ("user", "u-1"), ("intercom", ID)], {"id": ID}),
        ([("user", "u-0"), ("email", "zoe@example.com"), ("user", "u-1")], {"user_id": "u-1"}),
        ([("email", "zoe@example.com"), ("stripe", "cus_1")], {"email": "zoe@example.com"}),
    ],
)
async def test_what_happened_is_told(intercom: Intercom, known: list[tuple[str, str]], named: dict[str, str]) -> None:
    route = respx.post(f"{API}/events").respond(202)
    event = told("purchase.completed", *known, value=4900, currency="EUR", items=[1], note="x" * 256)
    assert await intercom.tell(event) is None
    assert sent(route) == {
        "event_name": "purchase-completed",
        "created_at": int(NOW.timestamp()),
        "metadata": {"perennial_id": "e-1", "value": "4900", "currency": "EUR"},
        **named,
    }


async def test_an_event_says_no_more_than_intercom_takes(intercom: Intercom) -> None:
    route = respx.post(f"{API}/events").respond(202)
    await intercom.tell(told("custom.x", ("user", "u-1"), **{f"k{n}": n for n in range(30)}, **{"a.b$c": "d"}))
    assert len(sent(route)["metadata"]) == 10
    assert sent(route)["metadata"]["a_b_c"] == "d"


MERGED = (("user", "u-0"), ("intercom", ID), ("user", "u-1"), ("email", "old@example.com"), ("intercom", OTHER))


async def test_whoever_was_merged_into_another_is_told_of_by_the_name_that_is_left(intercom: Intercom) -> None:
    """The newest id may be the one that is gone: a lead was known last and became a user who was known before."""
    alive: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        event = json.loads(request.content)
        who = {name: event[name] for name in ("id", "user_id", "email") if name in event}
        asked.append(who)
        return httpx.Response(202) if who in alive else httpx.Response(404, json=refused("not_found"))

    respx.post(f"{API}/events").mock(side_effect=answer)
    names = [{"id": OTHER}, {"id": ID}, {"user_id": "u-1"}, {"user_id": "u-0"}, {"email": "old@example.com"}]
    for n, name in enumerate(names, start=1):
        asked: list[dict[str, str]] = []
        alive[:] = [name]
        assert await intercom.tell(told("purchase.completed", *MERGED)) is None
        assert asked == names[:n]
    asked, alive[:] = [], []
    with pytest.raises(NobodyThere, match="by any of the contact's names"):
        await intercom.tell(told("purchase.completed", *MERGED))
    assert asked == names


async def test_an_erasure_is_not_an_event_of_somebody_who_is_to_be_gone(intercom: Intercom) -> None:
    with pytest.raises(NeverAgain, match="Intercom itself"):
        await intercom.tell(told("contact.erased", ("intercom", ID)))
    assert not respx.calls


async def test_whom_intercom_does_not_know_it_is_not_told_of(intercom: Intercom) -> None:
    route = respx.post(f"{API}/events").respond(404, json=refused("not_found"))
    for name in (("user", "u-1"), ("stripe", "cus_1")):
        with pytest.raises(NobodyThere):
            await intercom.tell(told("purchase.completed", name))
    assert route.call_count == 1
    route.respond(400, json=refused("parameter_invalid"))
    with pytest.raises(NeverAgain, match="parameter_invalid") as caught:
        await intercom.tell(told("purchase.completed", ("user", "u-1"), ("user", "u-2")))
    assert not isinstance(caught.value, NobodyThere)
    assert route.call_count == 2
    route.mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(TryAgain):
        await intercom.tell(told("purchase.completed", ("user", "u-1")))


@pytest.mark.parametrize(
    "event",
    [
        told("message.unsubscribed", ("intercom", ID)),
        told("message.unsubscribed", ("intercom", ID), channel="email"),
        told("consent.withdrawn", ("intercom", ID), channel="all", purpose="promotional"),
        told("message.complained", ("intercom", ID), channel="email"),
    ],
)
async def test_an_opt_out_is_passed_on(intercom: Intercom, event: Told) -> None:
    respx.get(f"{API}/contacts/{ID}").respond(json={"id": ID})
    route = respx.put(f"{API}/contacts/{ID}").respond(json={"id": ID})
    assert await intercom.tell(event) == ID
    assert sent(route) == {"unsubscribed_from_emails": True}


async def test_an_opt_out_finds_its_contact_by_whatever_is_known(intercom: Intercom) -> None:
    respx.get(f"{API}/contacts/{ID}").respond(404, json=refused("not_found"))
    by_user = respx.get(f"{API}/contacts/find_by_external_id/u%2F1").respond(json={"id": OTHER})
    route = respx.put(f"{API}/contacts/{OTHER}").respond(json={"id": OTHER})
    look = search({"id": OTHER, "role": "lead"})
    event = told("message.unsubscribed", ("intercom", ID), ("user", "u/1"), ("email", "zoe@example.com"))
    assert await intercom.tell(event) == OTHER
    assert look.call_count == 0
    by_user.respond(404, json=refused("not_found"))
    assert await intercom.tell(event) == OTHER
    look.respond(json={"data": []})
    with pytest.raises(NobodyThere):
        await intercom.tell(event)
    assert route.call_count == 2


async def test_an_opt_out_goes_past_ids_that_are_gone(intercom: Intercom) -> None:
    respx.get(f"{API}/contacts/{OTHER}").respond(404, json=refused("not_found"))
    respx.get(f"{API}/contacts/{ID}").respond(json={"id": ID})
    route = respx.put(f"{API}/contacts/{ID}").respond(json={"id": ID})
    assert await intercom.tell(told("message.unsubscribed", *MERGED)) == ID
    assert sent(route) == {"unsubscribed_from_emails": True}


@pytest.mark.parametrize(("type", "channel"), [("consent.withdrawn", "sms"), ("consent.granted", "email")])
async def test_what_is_no_opt_out_from_mail_is_an_event(intercom: Intercom, type: str, channel: str) -> None:
    route = respx.post(f"{API}/events").respond(202)
    await intercom.tell(told(type, ("intercom", ID), channel=channel))
    assert sent(route)["event_name"] == type.replace(".", "-")


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        ({"access_token": None}, "INTERCOM_ACCESS_TOKEN"),
        ({"admin_id": None}, "INTERCOM_ADMIN_ID"),
        ({"ticket_type_id": None}, "INTERCOM_TICKET_TYPE_ID"),
    ],
)
async def test_without_settings_nothing_is_asked(settings: dict[str, Any], variable: str) -> None:
    respx.post(f"{API}/tickets/search").respond(json={"tickets": []})
    async with http.new_client() as client:
        intercom = made(client, **settings)
        with pytest.raises(ConnectorError, match=variable):
            await (intercom.task(ID, TASK) if "ticket_type_id" in settings else intercom.send(MESSAGE))


async def test_other_regions() -> None:
    route = respx.put(f"https://api.eu.intercom.io/contacts/{ID}").respond(json={"id": ID})
    async with http.new_client() as client:
        await made(client, base_url="https://api.eu.intercom.io").stage(ID, "customer")
    assert route.called


def test_settings_hide_what_they_hold() -> None:
    shown = repr(IntercomSettings(_env_file=None, signing_secret=SECRET, access_token="tok-1"))
    assert SECRET not in shown
    assert "tok-1" not in shown
