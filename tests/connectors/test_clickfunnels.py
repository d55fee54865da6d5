"""ClickFunnels: signatures, both versions of bodies, orders told by any of them, and what goes out."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from connectors import http
from connectors.base import Refused, Request, Sink, Source, Told
from connectors.clickfunnels import ClickFunnels, ClickFunnelsSettings
from connectors.errors import ConnectorError, NeverAgain, NobodyThere, TryAgain
from contacts.events import Event, identities

SECRET = "webhook-secret-shown-once"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/clickfunnels"
API = "https://shop.example.com/api/v2"


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> ClickFunnels:
    given = {
        "signing_secret": SECRET,
        "access_token": "tok-1",
        "base_url": API,
        "workspace_id": 7,
        "tags": {"purchase.completed": 314},
        **settings,
    }
    return ClickFunnels(ClickFunnelsSettings(_env_file=None, **given), client)


CLICKFUNNELS = made()


def signed(body: bytes, *, secret: str = SECRET, at: datetime = NOW) -> Request:
    sent = str(int(at.timestamp()))
    mac = hmac.new(secret.encode(), sent.encode() + b"." + body, hashlib.sha256).hexdigest()
    headers = {"x-webhook-clickfunnels-signature": mac, "x-webhook-clickfunnels-timestamp": sent}
    return Request("POST", URL, headers, body)


def refusal(request: Request, clickfunnels: ClickFunnels = CLICKFUNNELS) -> Refused:
    with pytest.raises(Refused) as caught:
        clickfunnels.verify(request, NOW)
    return caught.value


CONTACT = {
    "id": 41,
    "public_id": "AbC",
    "email_address": "Zoe@Example.com",
    "first_name": "Zoë",
    "last_name": "Ash",
    "phone_number": "+49 30 901820",
    "unsubscribed_at": None,
    "tags": [],
}


def second(kind: str, data: dict[str, Any], **fields: Any) -> Request:
    """A body of version 2."""
    body = {
        "id": None,
        "public_id": "EvT",
        "workspace_id": 7,
        "uuid": "u-1",
        "event_type_id": kind,
        "subject_id": data.get("id"),
        "subject_type": "Contact",
        "data": data,
        "created_at": "2026-03-02T08:59:00.000Z",
        **fields,
    }
    return Request("POST", URL, {}, json.dumps(body).encode())


def first(kind: str, attributes: dict[str, Any], id: str = "9") -> Request:
    """A body of version 1."""
    data = {"id": id, "type": "thing", "attributes": attributes}
    body = {"data": data, "event_id": "e-1", "event_type": kind, "subject_id": 9, "subject_type": "Thing"}
    return Request("POST", URL, {}, json.dumps(body).encode())


def parsed(request: Request) -> list[Event]:
    return list(CLICKFUNNELS.parse(request, NOW))


def only(request: Request) -> Event:
    (event,) = parsed(request)
    return event


def who(event: Event) -> set[tuple[str, str]]:
    return {(i.kind, i.value) for i in event.identities}


ZOE = {("email", "zoe@example.com"), ("clickfunnels", "41"), ("phone", "+4930901820")}


def test_what_it_is() -> None:
    assert isinstance(CLICKFUNNELS, Source)
    assert isinstance(CLICKFUNNELS, Sink)


def test_a_vector_worked_out_apart_from_this_code() -> None:
    # printf %s '1772442000.{}' | openssl dgst -sha256 -hmac webhook-secret-shown-once
    headers = {
        "x-webhook-clickfunnels-signature": "2e71d89a8c5cb53d3af16dd174400017009134eb64626b5fdcae1c8ec24d4aa1",
        "x-webhook-clickfunnels-timestamp": "1772442000",
    }
    CLICKFUNNELS.verify(Request("POST", URL, headers, b"{}"), NOW)


@pytest.mark.parametrize(("seconds", "taken"), [(-601, False), (-600, True), (300, True), (301, False)])
def test_age_counts_both_ways(seconds: int, taken: bool) -> None:
    arriving = signed(b"{}", at=NOW + timedelta(seconds=seconds))
    if taken:
        CLICKFUNNELS.verify(arriving, NOW)
    else:
        assert refusal(arriving).status == 401


def test_whatever_is_altered_is_refused() -> None:
    good = signed(b"{}")
    later = {**good.headers, "x-webhook-clickfunnels-timestamp": "1772442001"}
    for forged in (
        signed(b"{}", secret="other"),
        Request("POST", URL, good.headers, b"{} "),
        Request("POST", URL, later, b"{}"),
        Request("POST", URL, {}, b"{}"),
    ):
        assert refusal(forged).status == 401


def test_several_secrets_and_none() -> None:
    made(signing_secret=f"other,{SECRET}").verify(signed(b"{}"), NOW)
    assert "no signing secret" in refusal(signed(b"{}"), made(signing_secret=None)).reason


@pytest.mark.parametrize("sent", ["", "soon", "-1", "1.5", "١", "9" * 12])
def test_malformed_timestamps(sent: str) -> None:
    headers = {**signed(b"{}").headers, "x-webhook-clickfunnels-timestamp": sent}
    assert refusal(Request("POST", URL, headers, b"{}")).status == 400


@given(st.text(min_size=1), st.text() | st.integers().map(str), st.binary())
def test_junk_is_refused(signature: str, sent: str, body: bytes) -> None:
    headers = {"x-webhook-clickfunnels-signature": signature, "x-webhook-clickfunnels-timestamp": sent}
    with pytest.raises(Refused):
        CLICKFUNNELS.verify(Request("POST", URL, headers, body), NOW)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        CLICKFUNNELS.parse(Request("POST", URL, {}, body), NOW)
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KINDS = [
    "contact.created",
    "contact.identified",
    "contact.unsubscribed",
    "contact/applied_tag.created",
    "order.updated",
    "appointments/scheduled_event.created",
    "appointments/scheduled_event.canceled",
    "form/submission.created",
]
FIELDS = ["id", "email_address", "unsubscribed_at", "contact", "contact_id", "tag", "billing_status", "total_amount"]
FIELDS += ["currency", "line_items", "start_on", "primary_contact", "event_type", "data", "form_id", "activated_at"]
AMOUNTS = st.sampled_from(["NaN", "Infinity", "1e999999", "-1", "", "12,50", "12.505"])


@given(
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(FIELDS), JSON),
    st.dictionaries(st.sampled_from(["total_amount"]), AMOUNTS),
    st.booleans(),
)
def test_junk_data_parses_or_raises_a_value_error(
    kind: str, data: dict[str, Any], amount: dict[str, str], new: bool
) -> None:
    base = {"id": 5, "billing_status": "paid", "total_amount": "12.50", "currency": "EUR", **data, **amount}
    try:
        parsed(second(kind, base) if new else first(kind, base))
    except ValueError as error:
        assert "\n" not in str(error)


def test_who_comes_by_themselves_is_welcomed_and_who_is_put_in_is_not() -> None:
    event = only(second("contact.identified", CONTACT))
    assert (event.type, event.source, event.source_id) == (
        "contact.identified",
        "clickfunnels",
        "contact.identified/u-1",
    )
    assert event.occurred_at == datetime(2026, 3, 2, 8, 59, tzinfo=UTC)
    assert who(event) == ZOE
    assert event.data == {"email": "zoe@example.com", "first_name": "Zoë", "last_name": "Ash"}
    for kind in ("contact.created", "contact.updated"):
        assert only(second(kind, CONTACT)).type == "contact.updated"


def test_a_visitor_without_an_address_is_nobody_yet() -> None:
    assert parsed(second("contact.created", {**CONTACT, "email_address": None})) == []


def test_version_one_has_its_attributes_inside_and_no_time() -> None:
    event = only(first("contact.identified", {k: v for k, v in CONTACT.items() if k != "id"}, id="41"))
    assert (event.source_id, event.occurred_at) == ("contact.identified/e-1", NOW)
    assert who(event) == ZOE


def test_an_unsubscription_is_one_whichever_body_tells_it() -> None:
    left = {**CONTACT, "unsubscribed_at": "2026-03-02T08:00:00Z"}
    told = only(second("contact.unsubscribed", left))
    assert (told.type, told.occurred_at) == ("consent.withdrawn", datetime(2026, 3, 2, 8, 0, tzinfo=UTC))
    assert (told.data["channel"], told.data["purpose"]) == ("email", "all")
    assert who(told) == ZOE
    updated, again = parsed(second("contact.updated", left, uuid="u-2"))
    assert (updated.type, again.source_id) == ("contact.updated", told.source_id)
    without = only(second("contact.unsubscribed", CONTACT))
    assert (without.type, without.occurred_at) == ("consent.withdrawn", datetime(2026, 3, 2, 8, 59, tzinfo=UTC))


@pytest.mark.parametrize(
    ("kind", "type"),
    [
        ("contact/applied_tag.created", "custom.tag_added"),
        ("contact/applied_tag.deleted", "custom.tag_removed"),
        ("contacts/applied_tag.created", "custom.tag_added"),
    ],
)
def test_tags(kind: str, type: str) -> None:
    tag = {"id": 77, "contact_id": 41, "tag_id": 314, "tag": {"name": "buyer", "color": "red"}}
    event = only(second(kind, {**tag, "contact": {"id": 41, "email_address": "zoe@example.com"}}))
    assert (event.type, event.data) == (type, {"tag": "buyer", "tag_id": "314"})
    assert who(event) == {("email", "zoe@example.com"), ("clickfunnels", "41")}
    assert who(only(second(kind, tag))) == {("clickfunnels", "41")}


def order(**fields: Any) -> dict[str, Any]:
    return {
        "id": 501,
        "contact_id": 41,
        "contact": CONTACT,
        "billing_status": "paid",
        "total_amount": "129.50",
        "currency": "eur",
        "order_type": "one-time-order",
        "live_mode": True,
        "activated_at": "2026-03-02T08:58:30Z",
        "line_items": [{"description": "Course", "quantity": 2}],
        **fields,
    }


def test_an_order_that_is_paid() -> None:
    event = only(second("one-time-order.completed", order()))
    assert (event.type, event.source_id) == ("purchase.completed", "order/501/paid")
    assert event.occurred_at == datetime(2026, 3, 2, 8, 58, 30, tzinfo=UTC)
    assert who(event) == ZOE
    assert event.data == {
        "order_id": "501",
        "value": 12950,
        "currency": "EUR",
        "items": [{"name": "Course", "quantity": 2}],
        "order_type": "one-time-order",
        "livemode": True,
    }


def test_a_purchase_is_one_whichever_body_tells_it() -> None:
    kinds = ("order.created", "order.updated", "order.completed", "one-time-order.completed")
    told = [only(second(kind, order(), uuid=f"u-{kind}")) for kind in kinds] + [only(first("order.updated", order()))]
    assert {(e.type, e.source_id) for e in told} == {("purchase.completed", "order/501/paid")}


@pytest.mark.parametrize("status", ["pending", "draft", "unpaid", "partially-refunded", "voided", "past-due", None])
def test_an_order_that_is_not_paid_says_nothing(status: str | None) -> None:
    assert parsed(second("order.updated", order(billing_status=status))) == []


def test_what_was_given_back_whole() -> None:
    event = only(second("order.updated", order(billing_status="refunded"), created_at="2026-03-05T10:00:00Z"))
    assert (event.type, event.source_id) == ("purchase.refunded", "order/501/refunded")
    assert (event.data["value"], event.data["full"]) == (12950, True)
    assert event.occurred_at == datetime(2026, 3, 5, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("amount", "currency", "value"),
    [("129.50", "USD", 12950), ("1500", "JPY", 1500), ("1.234", "KWD", 1234), ("0.0", "USD", 0), (19.99, "USD", 1999)],
)
def test_money_in_minor_units(amount: Any, currency: str, value: int) -> None:
    assert only(second("order.updated", order(total_amount=amount, currency=currency))).data["value"] == value


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("12.505", "USD"),
        ("1500.5", "JPY"),
        ("a lot", "USD"),
        ("NaN", "USD"),
        ("sNaN", "USD"),
        ("1e999999", "USD"),
        ("1e30", "USD"),
    ],
)
def test_an_amount_that_is_none_is_named(amount: str, currency: str) -> None:
    with pytest.raises(ValueError, match=r"^data\.total_amount: "):
        parsed(second("order.updated", order(total_amount=amount, currency=currency)))


APPOINTMENT = {
    "id": 88,
    "start_on": "2026-03-09T14:00:00Z",
    "end_on": "2026-03-09T14:30:00Z",
    "tzid": "Europe/Berlin",
    "event_type": {"name": "Consultation"},
    "primary_contact": {k: CONTACT[k] for k in ("id", "email_address", "phone_number")},
}


def test_a_meeting_is_booked_moved_and_canceled_under_one_id() -> None:
    kind = "appointments/scheduled_event"
    booked = only(second(f"{kind}.created", APPOINTMENT))
    moved = only(second(f"{kind}.rescheduled", {**APPOINTMENT, "start_on": "2026-03-10T14:00:00Z"}, uuid="u-2"))
    gone = only(second(f"{kind}.canceled", APPOINTMENT, uuid="u-3"))
    assert [e.type for e in (booked, moved, gone)] == ["meeting.booked", "meeting.booked", "meeting.canceled"]
    assert {e.data["meeting_id"] for e in (booked, moved, gone)} == {"clickfunnels-88"}
    assert len({e.source_id for e in (booked, moved, gone)}) == 3
    assert booked.data["starts_at"] == "2026-03-09T14:00:00+00:00"
    assert moved.data["starts_at"] == "2026-03-10T14:00:00+00:00"
    assert (booked.data["name"], booked.data["timezone"]) == ("Consultation", "Europe/Berlin")
    assert who(booked) == ZOE


def test_a_form() -> None:
    typed = {"contact": {"id": 41, "email_address": "zoe@example.com"}, "goal": "more buyers", "nested": {"a": 1}}
    event = only(first("form/submission.created", {"form_id": 12, "data": typed, "created_at": "2026-03-02T08:00:00Z"}))
    assert (event.type, event.source_id) == ("form.submitted", "form/submission.created/e-1")
    assert event.data == {"form": "12", "answers": {"goal": "more buyers"}}
    assert who(event) == {("email", "zoe@example.com"), ("clickfunnels", "41")}
    assert parsed(first("form/submission.created", {"form_id": 12, "data": {"goal": "x"}})) == []


@pytest.mark.parametrize("kind", ["contact.deleted", "courses/enrollment.created", "subscription.canceled", "new.kind"])
def test_other_kinds_mean_nothing(kind: str) -> None:
    assert parsed(second(kind, CONTACT)) == []


@pytest.mark.parametrize(
    "body", [{}, {"event_type_id": "contact.created"}, {"uuid": "u"}, {"event_type": 4, "uuid": ""}]
)
def test_a_body_without_kind_or_id(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^(kind|id): "):
        parsed(Request("POST", URL, {}, json.dumps(body).encode()))


@pytest.fixture
async def clickfunnels() -> AsyncIterator[ClickFunnels]:
    async with http.new_client() as client:
        yield made(client)


def told(type: str = "purchase.completed", *who: tuple[str, str], **data: Any) -> Told:
    known = who or (("email", "old@example.com"), ("email", "zoe@example.com"), ("phone", "+4930901820"))
    return Told("t-1", type, NOW, "c-1", identities(*known), {"first_name": "Zoë", **data})


UPSERT = f"{API}/workspaces/7/contacts/upsert"
TAGS = f"{API}/contacts/41/applied_tags"


@respx.mock
async def test_a_contact_is_kept_and_tagged(clickfunnels: ClickFunnels) -> None:
    kept = respx.post(UPSERT).respond(201, json={"id": 41, "tags": [{"id": 1, "name": "x"}]})
    tagged = respx.post(TAGS).respond(201, json={"id": 77})
    assert await clickfunnels.tell(told()) == "41"
    assert json.loads(kept.calls.last.request.content) == {
        "contact": {"email_address": "zoe@example.com", "first_name": "Zoë", "phone_number": "+4930901820"}
    }
    assert json.loads(tagged.calls.last.request.content) == {"contacts_applied_tag": {"tag_id": 314}}
    headers = kept.calls.last.request.headers
    assert (headers["authorization"], headers["user-agent"]) == ("Bearer tok-1", "Perennial")


@respx.mock
async def test_a_tag_it_has_is_not_applied_again(clickfunnels: ClickFunnels) -> None:
    respx.post(UPSERT).respond(json={"id": 41, "tags": [{"id": 314, "name": "buyer"}]})
    tagged = respx.post(TAGS).respond(201, json={"id": 77})
    assert await clickfunnels.tell(told()) == "41"
    assert await clickfunnels.tell(told("contact.updated")) == "41"
    assert not tagged.called


@respx.mock
async def test_what_says_who_somebody_is_keeps_them_without_a_tag(clickfunnels: ClickFunnels) -> None:
    kept = respx.post(UPSERT).respond(201, json={"id": 41})
    for type in ("contact.identified", "contact.updated"):
        assert await clickfunnels.tell(told(type)) == "41"
    assert kept.call_count == 2


@pytest.mark.parametrize(
    ("type", "reason"),
    [
        ("contact.erased", "erased in ClickFunnels itself"),
        ("page.viewed", r"no tag is set for page.viewed \(CLICKFUNNELS_TAGS\)"),
        ("consent.withdrawn", "no tag is set for consent.withdrawn"),
        ("message.complained", "no tag is set for message.complained"),
    ],
)
@respx.mock
async def test_nothing_else_is_taken(type: str, reason: str) -> None:
    async with http.new_client() as client:
        with pytest.raises(NeverAgain, match=reason):
            await made(client, tags={"contact.erased": 7, "purchase.completed": 314}).tell(told(type))
    assert not respx.calls


NOES = ["consent.withdrawn", "message.unsubscribed", "message.complained"]


@pytest.mark.parametrize("type", NOES)
@respx.mock
async def test_a_no_tags_whoever_is_there_and_makes_nobody(type: str) -> None:
    there = [
        {"id": 40, "email_address": "other@example.com"},
        {"id": 41, "email_address": "Zoe@example.com", "tags": [{"id": 1}]},
    ]
    look = respx.get(f"{API}/workspaces/7/contacts", params={"filter[email_address]": "zoe@example.com"})
    look.respond(json=there)
    tagged = respx.post(TAGS).respond(201, json={"id": 77})
    async with http.new_client() as client:
        clickfunnels = made(client, tags={type: 9})
        assert await clickfunnels.tell(told(type)) == "41"
        assert json.loads(tagged.calls.last.request.content) == {"contacts_applied_tag": {"tag_id": 9}}
        look.respond(json=there[:1])
        with pytest.raises(NobodyThere):
            await clickfunnels.tell(told(type))
    assert tagged.call_count == 1


async def test_a_contact_without_an_address_cannot_be_kept(clickfunnels: ClickFunnels) -> None:
    with pytest.raises(NeverAgain, match="e-mail address"):
        await clickfunnels.tell(told("contact.updated", ("phone", "+4930901820")))


@pytest.mark.parametrize("missing", ["access_token", "base_url", "workspace_id"])
async def test_without_settings_nothing_is_asked(missing: str) -> None:
    with pytest.raises(NeverAgain, match="CLICKFUNNELS_ACCESS_TOKEN"):
        await made(**{missing: None}).tell(told())


@pytest.mark.parametrize(("status", "kind"), [(429, TryAgain), (500, TryAgain), (401, NeverAgain), (422, NeverAgain)])
@respx.mock
async def test_refusals(clickfunnels: ClickFunnels, status: int, kind: type[ConnectorError]) -> None:
    said = {"errors": {"email_address": ["zoe@example.com is taken"], "base": ["x"]}}
    respx.post(UPSERT).respond(status, json=said, headers={"x-request-id": "r-1"})
    with pytest.raises(kind) as caught:
        await clickfunnels.tell(told())
    assert caught.value.reason == f"{status} base email_address"
    assert caught.value.request_id == "r-1"
    assert "zoe" not in str(caught.value)
    assert "tok-1" not in str(caught.value)
