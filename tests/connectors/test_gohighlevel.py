"""GoHighLevel: signatures, bodies, the poll, and what goes out."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from connectors import http
from connectors.base import Crm, Person, Poller, Refused, Request, Sink, Source, Task, Told
from connectors.errors import ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.gohighlevel import PAGE, GoHighLevel, GoHighLevelSettings
from contacts.events import Event, identities

ED = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/gohighlevel"
API = "https://services.leadconnectorhq.com"


def pem(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> GoHighLevel:
    given = {"public_keys": f"{pem(ED)},{pem(RSA)}", "location_id": "loc1", "access_token": "pit-1", **settings}
    return GoHighLevel(GoHighLevelSettings(_env_file=None, **given), client)


GHL = made()


@pytest.fixture
async def ghl() -> AsyncIterator[GoHighLevel]:
    async with http.new_client() as client:
        yield made(client)


def raw(type: str | None = "ContactUpdate", **fields: Any) -> bytes:
    whole = {"type": type, "locationId": "loc1", "timestamp": "2026-03-02T09:00:00Z", "webhookId": "w-1", **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def ed_signed(body: bytes, key: ed25519.Ed25519PrivateKey = ED, **headers: str) -> Request:
    signature = base64.b64encode(key.sign(body)).decode()
    return Request("POST", URL, {"x-ghl-signature": signature, **headers}, body)


def rsa_signature(body: bytes, key: rsa.RSAPrivateKey = RSA) -> str:
    return base64.b64encode(key.sign(body, padding.PKCS1v15(), SHA256())).decode()


def refusal(request: Request, ghl: GoHighLevel = GHL) -> Refused:
    with pytest.raises(Refused) as caught:
        ghl.verify(request, NOW)
    return caught.value


def parsed(type: str | None, **fields: Any) -> list[Event]:
    return list(GHL.parse(Request("POST", URL, {}, raw(type, **fields)), NOW))


def told(type: str, *who: tuple[str, object], at: datetime = NOW, **data: Any) -> Told:
    return Told("0b5a-11", type, at, "c-1", identities(*(who or (("gohighlevel", "con1"),))), data)


def sent(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


CONTACT = {
    "id": "con1",
    "email": "Alice@Example.com",
    "phone": "+4930901820",
    "firstName": "Alice",
    "lastName": "Ash",
    "companyName": "Ash & Co",
    "dateAdded": "2026-03-01T10:00:00.000Z",
    "tags": ["guide"],
}


def test_what_it_is() -> None:
    for ability in (Source, Crm, Sink, Poller):
        assert isinstance(GHL, ability)


def test_either_signature() -> None:
    GHL.verify(ed_signed(raw()), NOW)
    GHL.verify(Request("POST", URL, {"x-wh-signature": rsa_signature(raw())}, raw()), NOW)


def test_the_newer_signature_counts_alone() -> None:
    good = rsa_signature(raw())
    other = ed25519.Ed25519PrivateKey.generate()
    assert refusal(ed_signed(raw(), other, **{"x-wh-signature": good})).status == 401
    assert refusal(Request("POST", URL, {"x-ghl-signature": "N/A", "x-wh-signature": good}, raw())).status == 401
    only_rsa = made(public_keys=pem(RSA))
    assert "no public key" in refusal(ed_signed(raw(), **{"x-wh-signature": good}), only_rsa).reason
    GHL.verify(ed_signed(raw(), **{"x-wh-signature": "junk"}), NOW)


def test_whatever_is_altered_is_refused() -> None:
    good = ed_signed(raw())
    older = {"x-wh-signature": rsa_signature(raw())}
    for forged in (
        Request("POST", URL, good.headers, raw() + b" "),
        Request("POST", URL, older, raw() + b" "),
        Request("POST", URL, {"x-wh-signature": good.headers["x-ghl-signature"]}, raw()),
        Request("POST", URL, {}, raw()),
    ):
        assert refusal(forged).status == 401


def test_several_keys_at_once_in_any_form() -> None:
    new = ed25519.Ed25519PrivateKey.generate()
    bare = "".join(pem(new).splitlines()[1:-1])
    folded = pem(ED).replace("\n", "\\n")
    rolled = made(public_keys=f"{folded}, {bare}")
    for key in (ED, new):
        rolled.verify(ed_signed(raw(), key), NOW)
    assert refusal(ed_signed(raw(), ed25519.Ed25519PrivateKey.generate()), rolled).status == 401


@pytest.mark.parametrize(
    "keys",
    [
        "nonsense",
        "AAAA",
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),  # noqa: S505
    ],
    ids=["text", "base64", "elliptic", "short"],
)
def test_keys_that_prove_nothing_are_refused_at_the_start(keys: str) -> None:
    with pytest.raises(ValueError, match="public_keys") as caught:
        made(public_keys=keys)
    assert keys not in str(caught.value)


def test_without_keys_or_location_everything_is_refused() -> None:
    assert "no public key" in refusal(ed_signed(raw()), made(public_keys=None)).reason
    assert "no location" in refusal(ed_signed(raw()), made(location_id=None)).reason


def test_the_body_must_be_about_our_location() -> None:
    for elsewhere in (raw(locationId="loc2"), raw(locationId=None), raw(locationId=None, altId="loc1")):
        assert "another location" in refusal(ed_signed(elsewhere)).reason
    GHL.verify(ed_signed(raw(locationId=None, altId="loc1", altType="location")), NOW)


@pytest.mark.parametrize(("seconds", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_age_counts_both_ways(seconds: int, taken: bool) -> None:
    arriving = ed_signed(raw(timestamp=(NOW + timedelta(seconds=seconds)).isoformat()))
    if taken:
        GHL.verify(arriving, NOW)
    else:
        assert refusal(arriving).status == 401


def test_a_body_without_a_timestamp_is_taken_and_the_same_again_is_the_same_event() -> None:
    bare = ed_signed(raw(timestamp=None, webhookId=None, **CONTACT))
    GHL.verify(bare, NOW)
    (first,) = GHL.parse(bare, NOW)
    (again,) = GHL.parse(bare, NOW + timedelta(days=3))
    assert first.source_id == again.source_id
    (other,) = parsed("ContactUpdate", timestamp=None, webhookId=None, **{**CONTACT, "firstName": "Zoë"})
    assert other.source_id != first.source_id


@pytest.mark.parametrize("body", [b"", b"{", b"[]", raw(timestamp="yesterday"), raw(timestamp="2026-03-02T09:00:00")])
def test_malformed_bodies(body: bytes) -> None:
    assert refusal(ed_signed(body)).status == 400


@given(st.dictionaries(st.sampled_from(["x-ghl-signature", "x-wh-signature"]), st.text()), st.binary())
def test_junk_is_refused(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(Refused):
        GHL.verify(Request("POST", URL, headers, body), NOW)


@given(st.binary())
def test_signed_junk_is_refused(body: bytes) -> None:
    with pytest.raises(Refused):
        GHL.verify(ed_signed(body), NOW)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        GHL.parse(Request("POST", URL, {}, body), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KINDS = [
    "ContactCreate",
    "ContactDndUpdate",
    "ContactTagUpdate",
    "InboundMessage",
    "OpportunityStageUpdate",
    "AppointmentUpdate",
    "InvoicePaid",
    "TaskComplete",
]
FIELDS = [
    "id", "_id", "email", "phone", "dnd", "dndSettings", "tags", "dateAdded", "contactId", "direction", "messageType",
    "appointment", "monetaryValue", "amountPaid", "currency", "contactDetails", "webhookId", "timestamp", "type",
]  # fmt: skip


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_junk_bodies_parse_or_raise_a_value_error(kind: str, fields: dict[str, Any]) -> None:
    base = {"type": kind, "id": "1", "_id": "1", "contactId": "c", "direction": "inbound", "currency": "EUR"}
    body = json.dumps({**base, "appointment": {"id": "1"}, "amountPaid": 1, **fields}).encode()
    try:
        GHL.parse(Request("POST", URL, {}, body), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


def test_a_new_contact() -> None:
    (event,) = parsed("ContactCreate", **CONTACT, source="guide form")
    assert (event.type, event.source, event.source_id) == ("contact.identified", "gohighlevel", "created:con1")
    assert event.occurred_at == datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
    assert event.data == {
        "email": "alice@example.com",
        "phone": "+4930901820",
        "first_name": "Alice",
        "last_name": "Ash",
        "company": "Ash & Co",
        "lead_source": "guide form",
        "tags": ["guide"],
    }
    assert {(i.kind, i.value) for i in event.identities} == {
        ("gohighlevel", "con1"),
        ("email", "alice@example.com"),
        ("phone", "+4930901820"),
    }


def test_a_changed_contact() -> None:
    (event,) = parsed("ContactUpdate", **CONTACT)
    assert (event.type, event.source_id, event.occurred_at) == ("contact.updated", "w-1", NOW)


DND = {"SMS": {"status": "inactive"}, "Email": {"status": "active"}, "FB": {"status": "permanent"}}


@pytest.mark.parametrize(
    ("fields", "channels"),
    [
        ({"dnd": True, "dndSettings": DND}, ["email", "social"]),
        ({"dnd": True, "dndSettings": {**DND, "WhatsApp": {"status": "active"}}}, ["email", "social"]),
        ({"dnd": True}, ["all"]),
        ({"dnd": False}, []),
        ({"dnd": False, "dndSettings": {"Email": {"status": "inactive"}}}, []),
        ({"dndSettings": {"Email": None, "Call": {"status": "active"}, "Fax": {"status": "active"}}}, ["call"]),
    ],
)
def test_do_not_disturb(fields: dict[str, Any], channels: list[str]) -> None:
    events = parsed("ContactDndUpdate", **CONTACT, **fields)
    assert [(e.type, e.data["channel"], e.data["purpose"]) for e in events] == [
        ("consent.withdrawn", channel, "all") for channel in channels
    ]
    assert [e.source_id for e in events] == [f"w-1:{channel}" for channel in channels]
    assert [e.type for e in parsed("ContactCreate", **CONTACT, **fields)[1:]] == ["consent.withdrawn"] * len(channels)


def test_tags() -> None:
    (event,) = parsed("ContactTagUpdate", **CONTACT)
    assert (event.type, event.data) == ("custom.gohighlevel_tags", {"tags": ["guide"]})


@pytest.mark.parametrize(
    ("type", "message_type", "fields", "expected"),
    [
        ("InboundMessage", "SMS", {"direction": "inbound"}, ("message.replied", "sms")),
        ("InboundMessage", "Email", {}, ("message.replied", "email")),
        ("InboundMessage", "IG", {"direction": "inbound"}, ("message.replied", "social")),
        ("InboundMessage", "Live_Chat", {"direction": "inbound"}, ("message.replied", "chat")),
        ("InboundMessage", "CALL", {"direction": "inbound", "callStatus": "no-answer"}, ("call.missed", None)),
        ("OutboundMessage", "CALL", {"direction": "inbound", "callStatus": "voicemail"}, ("call.missed", None)),
        ("InboundMessage", "CALL", {"direction": "inbound", "callStatus": "completed"}, None),
        ("OutboundMessage", "SMS", {"direction": "outbound"}, None),
        ("OutboundMessage", "SMS", {}, None),
    ],
)
def test_messages(type: str, message_type: str, fields: dict[str, Any], expected: Any) -> None:
    at = "2026-03-02T08:58:00Z"
    events = parsed(type, contactId="con1", messageType=message_type, conversationId="v1", dateAdded=at, **fields)
    assert [(e.type, e.data.get("channel")) for e in events] == ([expected] if expected else [])
    for event in events:
        assert event.occurred_at == NOW - timedelta(minutes=2)
        assert event.data["conversation_id"] == "v1"


@pytest.mark.parametrize("type", ["OpportunityCreate", "OpportunityStageUpdate", "OpportunityStatusUpdate"])
def test_deals(type: str) -> None:
    fields = {"id": "opp1", "contactId": "con1", "pipelineId": "p1", "pipelineStageId": "s1", "status": "open"}
    (event,) = parsed(type, **fields, monetaryValue=40)
    assert (event.type, event.occurred_at) == ("deal.stage_changed", NOW)
    assert event.data == {"deal_id": "opp1", "stage": "s1", "pipeline": "p1", "status": "open", "monetary_value": 40.0}


@pytest.mark.parametrize(
    ("type", "status", "expected"),
    [
        ("AppointmentCreate", "confirmed", "meeting.booked"),
        ("AppointmentUpdate", "confirmed", "meeting.booked"),
        ("AppointmentUpdate", "cancelled", "meeting.canceled"),
        ("AppointmentUpdate", "noshow", "meeting.no_show"),
        ("AppointmentUpdate", "showed", "meeting.completed"),
        ("AppointmentDelete", "confirmed", "meeting.canceled"),
    ],
)
def test_appointments(type: str, status: str, expected: str) -> None:
    appointment = {
        "id": "app1",
        "contactId": "con1",
        "appointmentStatus": status,
        "address": "https://meet.example.com/1",
        "startTime": "2026-03-09T10:00:00+01:00",
        "dateUpdated": "2026-03-02T08:59:00Z",
    }
    (event,) = parsed(type, appointment=appointment)
    assert (event.type, event.occurred_at) == (expected, NOW - timedelta(minutes=1))
    assert event.data == {
        "meeting_id": "app1",
        "starts_at": "2026-03-09T10:00:00+01:00",
        "url": "https://meet.example.com/1",
    }


@pytest.mark.parametrize(("currency", "value"), [("EUR", 1999), ("JPY", 20), ("KWD", 19990)])
def test_a_paid_invoice(currency: str, value: int) -> None:
    fields = {
        "_id": "inv1",
        "status": "paid",
        "invoiceNumber": "19",
        "amountPaid": 19.99,
        "currency": currency,
        "contactDetails": {"id": "con1", "email": "alice@example.com", "phoneNo": "+49 30 901820"},
        "updatedAt": "2026-03-02T08:59:00Z",
    }
    for type in ("InvoicePaid", None):
        (event,) = parsed(type, **fields)
        assert (event.type, event.occurred_at) == ("invoice.paid", NOW - timedelta(minutes=1))
        assert event.data == {"invoice_id": "inv1", "value": value, "currency": currency}
    assert parsed(None, **{**fields, "status": "sent"}) == []


def test_a_task_that_is_done() -> None:
    (event,) = parsed("TaskComplete", id="task1", contactId="con1", title="Call Alice")
    assert (event.type, event.data) == ("custom.gohighlevel_task_completed", {"task_id": "task1"})


@pytest.mark.parametrize("type", ["ContactDelete", "NoteCreate", "AppInstall", "LCEmailStats", "OrderCreate", None])
def test_what_means_nothing_to_us(type: str | None) -> None:
    assert parsed(type, **CONTACT) == []


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match="id: Field required"):
        parsed("ContactUpdate")


@respx.mock
async def test_a_poll_begins_now_and_asks_nothing(ghl: GoHighLevel) -> None:
    first = await ghl.poll(None, NOW)
    assert (first.events, first.more) == ((), False)
    route = respx.post(f"{API}/contacts/search").respond(json={"contacts": [], "total": 0})
    again = await ghl.poll(first.cursor, NOW + timedelta(minutes=5))
    assert sent(route) == {
        "locationId": "loc1",
        "pageLimit": 100,
        "filters": [{"field": "dateUpdated", "operator": "range", "value": {"gte": "2026-03-02T09:00:00.000Z"}}],
        "sort": [{"field": "dateUpdated", "direction": "asc"}],
    }
    assert again.cursor == first.cursor


@respx.mock
async def test_a_poll_finds_what_changed_and_looks_back_next_time(ghl: GoHighLevel) -> None:
    old = {**CONTACT, "dateUpdated": "2026-03-02T09:10:00Z", "dnd": True}
    new = {"id": "con2", "email": "bob@example.com", "dateAdded": "2026-03-02T09:20:00Z"}
    new["dateUpdated"] = new["dateAdded"]
    junk = [7, {"id": "con3", "tags": 7}, {"id": "con4"}]
    route = respx.post(f"{API}/contacts/search").respond(json={"contacts": [old, new, *junk]})
    start = (await ghl.poll(None, NOW)).cursor
    page = await ghl.poll(start, NOW + timedelta(minutes=30))
    assert [(e.type, e.source_id) for e in page.events] == [
        ("contact.updated", "polled:con1:2026-03-02T09:10:00.000Z"),
        ("consent.withdrawn", "polled:con1:2026-03-02T09:10:00.000Z:all"),
        ("contact.identified", "created:con2"),
        ("contact.updated", "polled:con2:2026-03-02T09:20:00.000Z"),
    ]
    (created,) = parsed("ContactCreate", **new)
    assert created == page.events[2]
    again = await ghl.poll(page.cursor, NOW + timedelta(minutes=35))
    assert sent(route)["filters"][0]["value"] == {"gte": "2026-03-02T09:15:00.000Z"}
    assert again.events[-1] == page.events[-1]


@respx.mock
async def test_a_poll_goes_through_pages(ghl: GoHighLevel) -> None:
    full = [
        {"id": f"con{n}", "dateUpdated": "2026-03-02T09:10:00Z", "searchAfter": [1772442600000, f"con{n}"]}
        for n in range(PAGE)
    ]
    route = respx.post(f"{API}/contacts/search").respond(json={"contacts": full})
    page = await ghl.poll((await ghl.poll(None, NOW)).cursor, NOW)
    assert (len(page.events), page.more) == (PAGE, True)
    route.respond(json={"contacts": full[:1]})
    last = await ghl.poll(page.cursor, NOW)
    assert sent(route)["searchAfter"] == [1772442600000, "con99"]
    assert sent(route)["filters"][0]["value"] == {"gte": "2026-03-02T09:00:00.000Z"}
    assert last.more is False
    await ghl.poll(last.cursor, NOW)
    assert "searchAfter" not in sent(route)
    assert sent(route)["filters"][0]["value"] == {"gte": "2026-03-02T09:05:00.000Z"}


@respx.mock
async def test_a_poll_that_cannot_page_still_goes_on(ghl: GoHighLevel) -> None:
    full = [{"id": f"con{n}", "dateUpdated": "2026-03-02T09:10:00Z"} for n in range(PAGE)]
    route = respx.post(f"{API}/contacts/search").respond(json={"contacts": full})
    page = await ghl.poll((await ghl.poll(None, NOW)).cursor, NOW)
    await ghl.poll(page.cursor, NOW)
    assert sent(route)["filters"][0]["value"] == {"gte": "2026-03-02T09:10:00.000Z"}


@respx.mock
async def test_a_contact_goes_out(ghl: GoHighLevel) -> None:
    route = respx.post(f"{API}/contacts/upsert").respond(201, json={"new": True, "contact": {"id": "con1"}})
    person = Person("alice@example.com", first_name="Alice", phone="+4930901820", company="Ash")
    assert await ghl.upsert(person) == "con1"
    assert sent(route) == {
        "locationId": "loc1",
        "email": "alice@example.com",
        "firstName": "Alice",
        "phone": "+4930901820",
        "companyName": "Ash",
    }
    headers = route.calls.last.request.headers
    assert (headers["authorization"], headers["version"]) == ("Bearer pit-1", "2021-07-28")


@respx.mock
async def test_a_property_goes_out_by_the_id_of_its_field(ghl: GoHighLevel) -> None:
    route = respx.post(f"{API}/contacts/upsert").respond(201, json={"new": True, "contact": {"id": "con1"}})
    await made(ghl._client, custom_fields={"plan": "f2"}).upsert(
        Person("alice@example.com", properties={"plan": "pro"})
    )
    assert sent(route)["customFields"] == [{"id": "f2", "field_value": "pro"}]


@respx.mock
async def test_a_property_without_a_field_is_refused_before_the_call(ghl: GoHighLevel) -> None:
    with pytest.raises(NeverAgain, match=r"no custom field is set for plan \(GOHIGHLEVEL_CUSTOM_FIELDS\)"):
        await ghl.upsert(Person("alice@example.com", properties={"plan": "pro"}))


TASK = Task("run-1/call", "Call Alice", "She saw pricing", datetime(2026, 3, 3, 9, 0, tzinfo=UTC), "Bo")


@respx.mock
async def test_a_key_makes_one_task(ghl: GoHighLevel) -> None:
    kept: list[dict[str, Any]] = [{"id": "t0", "body": None}]
    respx.get(f"{API}/contacts/con1/tasks").mock(side_effect=lambda _: httpx.Response(200, json={"tasks": kept}))
    route = respx.post(f"{API}/contacts/con1/tasks").respond(201, json={"task": {"id": "t1"}})
    assert await ghl.task("con1", TASK) == "t1"
    assert sent(route) == {
        "title": "Call Alice",
        "dueDate": "2026-03-03T09:00:00.000Z",
        "completed": False,
        "body": "She saw pricing\n\nFor Bo\n\n[perennial run-1/call]",
    }
    kept.append({"id": "t1", **sent(route)})
    assert await ghl.task("con1", TASK) == "t1"
    assert route.call_count == 1


@respx.mock
async def test_a_user_is_assigned(ghl: GoHighLevel) -> None:
    respx.get(f"{API}/contacts/con1/tasks").respond(json={"tasks": []})
    route = respx.post(f"{API}/contacts/con1/tasks").respond(201, json={"task": {"id": "t1"}})
    await ghl.task("con1", Task("k", "Call", "x", NOW, "hxHGVRb1YJUscrCB8eXK"))
    assert (sent(route)["assignedTo"], sent(route)["body"]) == ("hxHGVRb1YJUscrCB8eXK", "x\n\n[perennial k]")


@respx.mock
async def test_a_key_makes_one_note(ghl: GoHighLevel) -> None:
    kept: list[dict[str, Any]] = []
    respx.get(f"{API}/contacts/con1/notes").mock(side_effect=lambda _: httpx.Response(200, json={"notes": kept}))
    route = respx.post(f"{API}/contacts/con1/notes").respond(201, json={"note": {"id": "n1"}})
    assert await ghl.note("con1", "run-1/note", "Read the guide", NOW) == "n1"
    assert sent(route) == {"body": "Read the guide\n\n2026-03-02 09:00 UTC\n\n[perennial run-1/note]"}
    kept.append({"id": "n1", **sent(route)})
    assert await ghl.note("con1", "run-1/note", "Read the guide", NOW) == "n1"
    assert route.call_count == 1


@pytest.mark.parametrize("fault", [{"side_effect": httpx.ReadTimeout("slow")}, {"return_value": httpx.Response(500)}])
@respx.mock
async def test_a_create_without_an_answer_is_unknown(ghl: GoHighLevel, fault: dict[str, Any]) -> None:
    respx.get(f"{API}/contacts/con1/notes").respond(json={"notes": []})
    respx.post(f"{API}/contacts/con1/notes").mock(**fault)
    with pytest.raises(Unknown):
        await ghl.note("con1", "k", "x", NOW)
    respx.post(f"{API}/contacts/con1/notes").respond(201, json={"notes": {}})
    with pytest.raises(Unknown):
        await ghl.note("con1", "k", "x", NOW)


@respx.mock
async def test_a_stage_is_a_tag_in_place_of_the_last(ghl: GoHighLevel) -> None:
    tags = ["guide", "perennial stage lead"]
    respx.get(f"{API}/contacts/con1").mock(
        side_effect=lambda _: httpx.Response(200, json={"contact": {"id": "con1", "tags": tags}})
    )
    put = respx.post(f"{API}/contacts/con1/tags").respond(201, json={})
    gone = respx.delete(f"{API}/contacts/con1/tags").respond(json={})
    await ghl.stage("con1", "customer")
    assert (sent(put), sent(gone)) == ({"tags": ["perennial stage customer"]}, {"tags": ["perennial stage lead"]})
    tags[:] = ["guide", "perennial stage customer"]
    await ghl.stage("con1", "customer")
    assert (put.call_count, gone.call_count) == (1, 1)


@respx.mock
async def test_a_stage_is_a_field_where_one_is_set(ghl: GoHighLevel) -> None:
    route = respx.put(f"{API}/contacts/con1").respond(json={})
    await made(ghl._client, stage_field="f1").stage("con1", "customer")
    assert sent(route) == {"customFields": [{"id": "f1", "field_value": "customer"}]}


@respx.mock
async def test_a_person_is_told(ghl: GoHighLevel) -> None:
    route = respx.post(f"{API}/contacts/upsert").respond(json={"contact": {"id": "con1"}})
    assert await ghl.tell(told("contact.updated", ("email", "a@example.com"), first_name="A", plan="pro")) == "con1"
    assert sent(route) == {"locationId": "loc1", "email": "a@example.com", "firstName": "A"}


@respx.mock
async def test_segments_are_tags(ghl: GoHighLevel) -> None:
    joined = respx.post(f"{API}/contacts/con1/tags").respond(201, json={})
    left = respx.delete(f"{API}/contacts/con1/tags").respond(json={})
    await ghl.tell(told("segment.joined", segment="regulars"))
    await ghl.tell(told("segment.left", segment="regulars"))
    assert sent(joined) == sent(left) == {"tags": ["regulars"]}


def holding(settings: dict[str, Any]) -> respx.Route:
    contact = {"contact": {"id": "con1", "dndSettings": settings}}
    respx.get(f"{API}/contacts/con1").respond(json=contact)
    return respx.put(f"{API}/contacts/con1").respond(json={})


OURS = {"status": "active", "code": "perennial", "message": "2026-03-02T09:00:00.000Z"}


@pytest.mark.parametrize(
    ("type", "data", "shut"),
    [
        ("consent.withdrawn", {"channel": "email", "purpose": "promotional"}, {"Email"}),
        ("consent.withdrawn", {"channel": "social"}, {"WhatsApp", "FB", "GMB"}),
        ("consent.withdrawn", {"channel": "all"}, {"Email", "SMS", "Call", "WhatsApp", "FB", "GMB"}),
        ("message.unsubscribed", {"channel": "sms"}, {"SMS"}),
        ("message.complained", {"channel": "email"}, {"Email", "SMS", "Call", "WhatsApp", "FB", "GMB"}),
    ],
)
@respx.mock
async def test_a_no_is_told(ghl: GoHighLevel, type: str, data: dict[str, Any], shut: set[str]) -> None:
    route = holding({"Fax": {"status": "active"}})
    assert await ghl.tell(told(type, **data)) == "con1"
    assert sent(route) == {"dndSettings": {"Fax": {"status": "active"}, **dict.fromkeys(shut, OURS)}}


@respx.mock
async def test_a_no_leaves_a_no_as_it_is(ghl: GoHighLevel) -> None:
    route = holding({"Email": {"status": "permanent", "code": "101"}})
    await ghl.tell(told("consent.withdrawn", channel="email"))
    await ghl.tell(told("consent.withdrawn", channel="email", purpose="transactional"))
    await ghl.tell(told("consent.withdrawn", channel="push"))
    assert not route.called


@respx.mock
async def test_a_no_makes_no_contact(ghl: GoHighLevel) -> None:
    search = respx.get(f"{API}/contacts/search/duplicate").respond(json={"contact": None})
    assert await ghl.tell(told("consent.withdrawn", ("email", "a@example.com"), channel="email")) is None
    assert dict(search.calls.last.request.url.params) == {"email": "a@example.com", "locationId": "loc1"}
    route = holding({})
    search.respond(json={"contact": {"id": "con1"}})
    assert await ghl.tell(told("consent.withdrawn", ("phone", "+4930901820"), channel="sms")) == "con1"
    assert (search.calls.last.request.url.params["number"], route.called) == ("+4930901820", True)


@respx.mock
async def test_a_contact_that_is_gone_is_looked_for_by_address(ghl: GoHighLevel) -> None:
    respx.get(f"{API}/contacts/old").respond(404)
    respx.get(f"{API}/contacts/search/duplicate").respond(json={"contact": {"id": "con1"}})
    route = holding({})
    who = (("gohighlevel", "old"), ("email", "a@example.com"))
    assert await ghl.tell(told("consent.withdrawn", *who, channel="email")) == "con1"
    assert route.called


@pytest.mark.parametrize(
    ("kept", "data", "lifted"),
    [
        (OURS, {"channel": "email", "purpose": "promotional"}, True),
        (OURS, {"channel": "all"}, True),
        ({**OURS, "message": "2026-03-02T10:00:01.000Z"}, {"channel": "email"}, False),
        ({**OURS, "code": "101"}, {"channel": "email"}, False),
        ({"status": "active"}, {"channel": "email"}, False),
        ({**OURS, "status": "permanent"}, {"channel": "email"}, False),
        (OURS, {"channel": "sms"}, False),
        (OURS, {"channel": "email", "purpose": "lifecycle"}, False),
    ],
)
@respx.mock
async def test_a_yes_lifts_only_an_older_no_of_ours(
    ghl: GoHighLevel, kept: dict[str, Any], data: dict[str, Any], lifted: bool
) -> None:
    route = holding({"Email": kept, "Call": {"status": "active"}})
    await ghl.tell(told("consent.granted", at=NOW + timedelta(hours=1), **data))
    assert route.called is lifted
    if lifted:
        assert sent(route) == {"dndSettings": {"Email": {"status": "inactive"}, "Call": {"status": "active"}}}


@pytest.mark.parametrize(
    ("telling", "match"),
    [
        (told("purchase.completed", order_id="1"), "purchase.completed is nothing"),
        (told("contact.updated", ("user", "42")), "no e-mail address and no phone"),
    ],
)
async def test_what_cannot_be_told(telling: Told, match: str) -> None:
    with pytest.raises(NeverAgain, match=match):
        await GHL.tell(telling)


@pytest.mark.parametrize(
    ("status", "headers", "kind", "delay"),
    [
        (400, {}, NeverAgain, None),
        (401, {}, NeverAgain, None),
        (422, {}, NeverAgain, None),
        (429, {}, TryAgain, timedelta(seconds=10)),
        (429, {"x-ratelimit-daily-remaining": "0"}, TryAgain, timedelta(hours=1)),
        (429, {"retry-after": "7"}, TryAgain, timedelta(seconds=7)),
        (503, {}, TryAgain, timedelta(seconds=10)),
    ],
)
@respx.mock
async def test_errors(
    ghl: GoHighLevel, status: int, headers: dict[str, str], kind: type[ConnectorError], delay: timedelta | None
) -> None:
    body = {
        "statusCode": status,
        "message": ["alice@example.com pit-1"],
        "error": "Unprocessable Entity",
        "traceId": "tr1",
    }
    respx.post(f"{API}/contacts/upsert").respond(status, json=body, headers=headers)
    with pytest.raises(kind) as caught:
        await ghl.upsert(Person("alice@example.com"))
    assert (caught.value.reason, caught.value.request_id) == (f"{status} Unprocessable Entity", "tr1")
    assert "alice" not in str(caught.value)
    assert getattr(caught.value, "delay", None) == delay


@pytest.mark.parametrize(
    ("missing", "match"),
    [({"access_token": None}, "GOHIGHLEVEL_ACCESS_TOKEN"), ({"location_id": None}, "GOHIGHLEVEL_LOCATION_ID")],
)
async def test_without_settings_nothing_is_asked(missing: dict[str, Any], match: str) -> None:
    with pytest.raises(NeverAgain, match=match):
        await made(**missing).upsert(Person("alice@example.com"))
