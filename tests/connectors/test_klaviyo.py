"""Klaviyo: signatures, topics, and what it is told of events, profiles and consent."""

import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from connectors import http
from connectors.base import Refused, Request, Sink, Source, Told
from connectors.errors import ConnectorError, NeverAgain, TryAgain
from connectors.klaviyo import BATCH_EVENTS, Klaviyo, KlaviyoSettings
from contacts.events import Event, PartlyUnderstood, identities

SECRET = "a-secret-of-sixteen-or-more"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/klaviyo"
API = "https://a.klaviyo.com"


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> Klaviyo:
    given = {"signing_secret": SECRET, "api_key": "pk_1", **settings}
    return Klaviyo(KlaviyoSettings(_env_file=None, **given), client)


KLAVIYO = made()


@pytest.fixture
async def klaviyo() -> AsyncIterator[Klaviyo]:
    async with http.new_client() as client:
        yield made(client)


def signed(body: bytes, *, secret: str = SECRET, sent: str | None = None) -> Request:
    sent = format_datetime(NOW, usegmt=True) if sent is None else sent
    mac = hmac.new(secret.encode(), body + sent.encode(), hashlib.sha256).hexdigest()
    return Request("POST", URL, {"klaviyo-signature": mac, "klaviyo-timestamp": sent}, body)


def refusal(request: Request, klaviyo: Klaviyo = KLAVIYO, now: datetime = NOW) -> Refused:
    with pytest.raises(Refused) as caught:
        klaviyo.verify(request, now)
    return caught.value


def item(topic: str, id: str = "6Kz1", *, attributes: dict[str, Any] | None = None, **said: Any) -> dict[str, Any]:
    what = {"datetime": "2026-03-02T08:59:00+00:00", "event_properties": said, **(attributes or {})}
    profile = {"email": "Alice@Example.com", "phone_number": "+4930901820", "external_id": "42"}
    return {
        "external_id": id,
        "topic": f"event:klaviyo.{topic}",
        "payload": {
            "data": {
                "type": "event",
                "id": id,
                "attributes": what,
                "relationships": {"profile": {"data": {"type": "profile", "id": "01GP"}}},
            },
            "included": [
                {"type": "metric", "id": "M1", "attributes": {"name": "Opened Email"}},
                {"type": "profile", "id": "01GP", "attributes": profile},
            ],
        },
    }


def body(*items: Any, **meta: Any) -> Request:
    whole = {"data": items, "meta": {"klaviyo_webhook_id": "W1", "timestamp": "2026-03-02T09:00:00+00:00", **meta}}
    return Request("POST", URL, {}, json.dumps(whole).encode())


def only(request: Request) -> Event:
    (event,) = KLAVIYO.parse(request, NOW)
    return event


def told(type: str, *who: tuple[str, object], id: str = "0b5a-11", **data: Any) -> Told:
    who = who or (("email", "alice@example.com"),)
    return Told(id, type, NOW, "c-1", identities(*who), data)


def sent(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


def test_what_it_is() -> None:
    assert isinstance(KLAVIYO, Source)
    assert isinstance(KLAVIYO, Sink)


def test_a_signature_over_body_and_then_time() -> None:
    KLAVIYO.verify(signed('{"name": "Zoë"}'.encode()), NOW)
    KLAVIYO.verify(signed(b""), NOW)


def test_a_vector_worked_out_apart_from_this_code() -> None:
    # printf %s '{}Mon, 02 Mar 2026 09:00:00 GMT' | openssl dgst -sha256 -hmac <SECRET>
    headers = {
        "klaviyo-signature": "eacaac5f1fede2464cf0a2fdafb950f9262085cf6ebc7811bbe47a4a7fa2e669",
        "klaviyo-timestamp": "Mon, 02 Mar 2026 09:00:00 GMT",
    }
    KLAVIYO.verify(Request("POST", URL, headers, b"{}"), NOW)


@pytest.mark.parametrize("sent", ["1772442000", "2026-03-02T09:00:00Z", "Mon, 02 Mar 2026 09:00:00 GMT"])
def test_a_time_in_any_form(sent: str) -> None:
    KLAVIYO.verify(signed(b"{}", sent=sent), NOW)
    assert refusal(signed(b"{}", sent=sent), now=NOW + timedelta(hours=1)).status == 401


@pytest.mark.parametrize(("seconds", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_age_counts_both_ways(seconds: int, taken: bool) -> None:
    arriving = signed(b"{}", sent=format_datetime(NOW + timedelta(seconds=seconds), usegmt=True))
    if taken:
        KLAVIYO.verify(arriving, NOW)
    else:
        assert refusal(arriving).status == 401


def test_a_header_of_another_time_zone_does_not_cost_the_request() -> None:
    elsewhere = format_datetime(NOW + timedelta(hours=5), usegmt=True)
    KLAVIYO.verify(signed(body().body, sent=elsewhere), NOW)
    assert refusal(signed(body().body, sent=elsewhere), now=NOW + timedelta(minutes=6)).status == 401
    KLAVIYO.verify(signed(body(timestamp="2026-03-01T09:00:00Z").body), NOW)


def test_whatever_is_altered_is_refused() -> None:
    good = signed(body().body)
    later = {**good.headers, "klaviyo-timestamp": "Mon, 02 Mar 2026 09:00:01 GMT"}
    for forged in (
        signed(good.body, secret="other"),
        Request("POST", URL, good.headers, good.body + b" "),
        Request("POST", URL, later, good.body),
        Request("POST", URL, {}, good.body),
        Request("POST", URL, {"klaviyo-signature": good.headers["klaviyo-signature"]}, good.body),
    ):
        assert refusal(forged).status == 401


def test_several_webhooks_have_several_secrets() -> None:
    made(signing_secret=f"other, {SECRET}").verify(signed(b"{}"), NOW)


def test_without_a_secret_everything_is_refused() -> None:
    said = refusal(signed(b"{}"), made(signing_secret=None))
    assert (said.status, "no signing secret" in said.reason) == (401, True)


@pytest.mark.parametrize("sent", ["yesterday", "2026-03-02T09:00:00", "Mon, 99 Mar 2026 09:00:00 GMT", "٢"])
def test_malformed_timestamps(sent: str) -> None:
    assert refusal(signed(b"{}", sent=sent)).status == 400


@given(st.text(), st.text(), st.binary())
def test_junk_is_refused(signature: str, sent: str, raw: bytes) -> None:
    with pytest.raises(Refused):
        KLAVIYO.verify(Request("POST", URL, {"klaviyo-signature": signature, "klaviyo-timestamp": sent}, raw), NOW)


@given(st.text(min_size=1), st.binary())
def test_junk_that_is_signed_is_refused_or_taken(sent: str, raw: bytes) -> None:
    mac = hmac.new(SECRET.encode(), raw + sent.encode(errors="replace"), hashlib.sha256).hexdigest()
    try:
        KLAVIYO.verify(Request("POST", URL, {"klaviyo-signature": mac, "klaviyo-timestamp": sent}, raw), NOW)
    except Refused as refused:
        assert refused.reason


@given(st.binary())
def test_junk_bytes_raise_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        KLAVIYO.parse(Request("POST", URL, {}, raw), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(["opened_email", "bounced_email", "subscribed_to_sms_marketing"]),
    st.dictionaries(st.sampled_from(["external_id", "payload", "topic"]), JSON),
    st.dictionaries(st.sampled_from(["datetime", "timestamp", "event_properties"]), JSON),
    st.dictionaries(st.sampled_from(["email_address", "machine_open", "Bounce Type", "URL", "$message"]), JSON),
)
def test_junk_bodies_parse_or_raise_a_value_error(
    topic: str, fields: dict[str, Any], attributes: dict[str, Any], said: dict[str, Any]
) -> None:
    try:
        KLAVIYO.parse(body({**item(topic, attributes=attributes, **said), **fields}), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


def test_an_open() -> None:
    request = body(item("opened_email", machine_open=True, **{"$message": "MSG1", "Campaign Name": "Spring"}))
    event = only(request)
    assert (event.type, event.source, event.source_id) == ("message.opened", "klaviyo", "6Kz1")
    assert event.occurred_at == datetime(2026, 3, 2, 8, 59, tzinfo=UTC)
    assert event.data == {"channel": "email", "machine": True, "message_id": "MSG1", "campaign": "Spring"}
    assert {(i.kind, i.value) for i in event.identities} == {
        ("user", "42"),
        ("klaviyo", "01GP"),
        ("email", "alice@example.com"),
        ("phone", "+4930901820"),
    }
    assert only(request) == event


@pytest.mark.parametrize(
    ("topic", "said", "type", "data"),
    [
        ("subscribed_to_email_marketing", {}, "consent.granted", {"channel": "email", "purpose": "promotional"}),
        ("subscribed_to_sms_marketing", {}, "consent.granted", {"channel": "sms", "purpose": "promotional"}),
        ("unsubscribed_from_email_marketing", {}, "consent.withdrawn", {"channel": "email", "purpose": "all"}),
        ("unsubscribed_from_sms_marketing", {}, "consent.withdrawn", {"channel": "sms", "purpose": "all"}),
        ("manually_suppressed_from_email_marketing", {}, "consent.withdrawn", {"channel": "email", "purpose": "all"}),
        ("marked_email_as_spam", {}, "message.complained", {"channel": "email", "machine": False}),
        ("received_email", {}, "message.delivered", {"channel": "email", "machine": False}),
        ("opened_email", {"machine_open": False}, "message.opened", {"channel": "email", "machine": False}),
        (
            "clicked_email",
            {"URL": "https://example.com/guide"},
            "message.clicked",
            {"channel": "email", "machine": False, "url": "https://example.com/guide"},
        ),
        ("clicked_sms", {}, "message.clicked", {"channel": "sms", "machine": False}),
        (
            "bounced_email",
            {"Bounce Type": "Hard", "Recipient Email Address": "alice@example.com"},
            "message.bounced",
            {"channel": "email", "machine": False, "permanent": True, "address": "alice@example.com"},
        ),
        (
            "bounced_email",
            {"Bounce Type": "Soft"},
            "message.bounced",
            {"channel": "email", "machine": False, "permanent": False},
        ),
        ("bounced_email", {}, "message.bounced", {"channel": "email", "machine": False, "permanent": False}),
        (
            "failed_to_deliver_sms",
            {},
            "message.bounced",
            {"channel": "sms", "machine": False, "permanent": False},
        ),
    ],
)
def test_topics(topic: str, said: dict[str, Any], type: str, data: dict[str, Any]) -> None:
    event = only(body(item(topic, **said)))
    assert (event.type, event.data) == (type, data)


@pytest.mark.parametrize("topic", ["received_sms", "sent_sms", "submitted_review", "manually_unsuppressed_from_email"])
def test_what_means_nothing_to_us(topic: str) -> None:
    assert KLAVIYO.parse(body(item(topic)), NOW) == []
    assert KLAVIYO.parse(body({"topic": "event:shopify.opened_email"}), NOW) == []


def test_when_it_happened() -> None:
    assert only(body(item("opened_email", attributes={"datetime": None, "timestamp": 1772441900}))).occurred_at == (
        datetime(2026, 3, 2, 8, 58, 20, tzinfo=UTC)
    )
    unsaid = item("opened_email", attributes={"datetime": None})
    assert only(body(unsaid, timestamp="2026-03-02T08:30:00Z")).occurred_at == NOW - timedelta(minutes=30)
    assert only(body(unsaid, timestamp=None)).occurred_at == NOW


def test_a_payload_without_the_profile_still_names_it() -> None:
    bare = item("opened_email", email_address="bob@example.com")
    bare["payload"]["included"] = []
    assert [(i.kind, i.value) for i in only(body(bare)).identities] == [
        ("klaviyo", "01GP"),
        ("email", "bob@example.com"),
    ]


def test_a_bad_event_does_not_cost_the_others() -> None:
    request = body(item("opened_email", "A"), {"topic": "event:klaviyo.opened_email"}, 7, item("clicked_email", "B"))
    with pytest.raises(PartlyUnderstood, match=r"data\.1: external_id: Field required \(2 of 4 events") as caught:
        KLAVIYO.parse(request, NOW)
    assert [event.source_id for event in caught.value.events] == ["A", "B"]


def test_a_batch_of_a_thousand_and_no_more() -> None:
    many = [item("opened_email", str(number)) for number in range(BATCH_EVENTS)]
    assert len({event.source_id for event in KLAVIYO.parse(body(*many), NOW)}) == BATCH_EVENTS
    with pytest.raises(ValueError, match="data"):
        KLAVIYO.parse(body(*many, many[0]), NOW)


@respx.mock
async def test_an_event_goes_out(klaviyo: Klaviyo) -> None:
    route = respx.post(f"{API}/api/events").respond(202)
    buying = told("purchase.completed", order_id="o-1", value=1999, currency="EUR", items=[])
    assert await klaviyo.tell(buying) is None
    assert sent(route) == {
        "data": {
            "type": "event",
            "attributes": {
                "metric": {"data": {"type": "metric", "attributes": {"name": "purchase.completed"}}},
                "profile": {"data": {"type": "profile", "attributes": {"email": "alice@example.com"}}},
                "properties": {"order_id": "o-1", "value": 1999, "currency": "EUR", "items": []},
                "time": "2026-03-02T09:00:00+00:00",
                "unique_id": "0b5a-11",
                "value": 19.99,
                "value_currency": "EUR",
            },
        }
    }
    headers = route.calls.last.request.headers
    assert headers["authorization"] == "Klaviyo-API-Key pk_1"
    assert headers["revision"] == "2026-07-15"
    assert headers["content-type"] == headers["accept"] == "application/vnd.api+json"


@respx.mock
async def test_the_revision_is_a_setting(klaviyo: Klaviyo) -> None:
    route = respx.post(f"{API}/api/events").respond(202)
    await made(klaviyo._client, revision="2026-10-15").tell(told("page.viewed", page="pricing"))
    assert route.calls.last.request.headers["revision"] == "2026-10-15"
    with pytest.raises(ValueError, match="revision"):
        made(revision="newest")


@pytest.mark.parametrize(
    ("who", "profile"),
    [
        ([("email", "a@example.com"), ("klaviyo", "01GP")], {"id": "01GP", "attributes": {}}),
        ([("phone", "+4930901820"), ("user", "42")], {"attributes": {"phone_number": "+4930901820"}}),
        ([("user", "42")], {"attributes": {"external_id": "42"}}),
        ([("anonymous", "anon-1")], {"attributes": {"anonymous_id": "anon-1"}}),
    ],
)
@respx.mock
async def test_an_event_names_its_profile_once(klaviyo: Klaviyo, who: Any, profile: dict[str, Any]) -> None:
    route = respx.post(f"{API}/api/events").respond(202)
    await klaviyo.tell(told("page.viewed", *who, page="pricing"))
    assert sent(route)["data"]["attributes"]["profile"]["data"] == {"type": "profile", **profile}


@respx.mock
async def test_a_profile_goes_out(klaviyo: Klaviyo) -> None:
    route = respx.post(f"{API}/api/profile-import").respond(201, json={"data": {"type": "profile", "id": "01GP"}})
    who = [("email", "old@example.com"), ("phone", "+4930901820"), ("email", "alice@example.com"), ("user", "42")]
    traits = {"first_name": "Alice", "last_name": None, "company": "Ash", "timezone": "Europe/Berlin", "plan": "pro"}
    assert await klaviyo.tell(told("contact.updated", *who, **traits)) == "01GP"
    assert sent(route) == {
        "data": {
            "type": "profile",
            "attributes": {
                "email": "alice@example.com",
                "phone_number": "+4930901820",
                "external_id": "42",
                "first_name": "Alice",
                "organization": "Ash",
                "location": {"timezone": "Europe/Berlin"},
                "properties": {"plan": "pro"},
            },
        }
    }
    await klaviyo.tell(told("contact.identified", ("email", "a@example.com"), ("klaviyo", "01GP")))
    assert sent(route)["data"]["id"] == "01GP"


def profiles(**marketing: Any) -> dict[str, Any]:
    return {"data": [{"id": "01GP", "attributes": {"subscriptions": {"email": {"marketing": marketing}}}}]}


@respx.mock
async def test_a_yes_goes_out(klaviyo: Klaviyo) -> None:
    asked = respx.get(f"{API}/api/profiles").respond(json=profiles(consent="NEVER_SUBSCRIBED", suppression=[]))
    route = respx.post(f"{API}/api/profile-subscription-bulk-create-jobs").respond(202)
    await klaviyo.tell(told("consent.granted", channel="email", purpose="promotional"))
    assert asked.calls.last.request.url.params["filter"] == 'equals(email,"alice@example.com")'
    assert asked.calls.last.request.url.params["additional-fields[profile]"] == "subscriptions"
    yes = {"email": {"marketing": {"consent": "SUBSCRIBED"}}}
    assert sent(route) == {
        "data": {
            "type": "profile-subscription-bulk-create-job",
            "attributes": {
                "custom_source": "Perennial",
                "profiles": {
                    "data": [
                        {"type": "profile", "attributes": {"email": "alice@example.com", "subscriptions": yes}},
                    ]
                },
            },
        }
    }
    await made(klaviyo._client, list_id="L1").tell(told("consent.granted", channel="email"))
    assert sent(route)["data"]["relationships"] == {"list": {"data": {"type": "list", "id": "L1"}}}


@respx.mock
async def test_a_yes_on_every_channel_asks_for_each(klaviyo: Klaviyo) -> None:
    asked = respx.get(f"{API}/api/profiles").respond(json={"data": []})
    route = respx.post(f"{API}/api/profile-subscription-bulk-create-jobs").respond(202)
    who = (("email", "alice@example.com"), ("phone", "+4930901820"))
    await klaviyo.tell(told("consent.granted", *who, channel="all"))
    assert asked.calls.last.request.url.params["filter"] == 'equals(phone_number,"+4930901820")'
    assert route.call_count == 2


@pytest.mark.parametrize(
    ("marketing", "lifted"),
    [
        ({"consent": "UNSUBSCRIBED", "consent_timestamp": "2026-03-02T08:59:00Z"}, True),
        ({"consent": "UNSUBSCRIBED", "consent_timestamp": "2026-03-02T09:00:01Z"}, False),
        ({"consent": "UNSUBSCRIBED"}, False),
        ({"suppression": [{"reason": "SPAM_COMPLAINT", "timestamp": "2026-03-01T00:00:00Z"}]}, True),
        ({"suppression": [{"reason": "SPAM_COMPLAINT", "timestamp": "2026-03-03T00:00:00Z"}]}, False),
        ({"suppression": [{"reason": "UNSUBSCRIBE", "timestamp": "2026-03-03T00:00:00"}]}, False),
        ({"suppression": [{"reason": "HARD_BOUNCE", "timestamp": "2026-03-03T00:00:00Z"}]}, True),
    ],
)
@respx.mock
async def test_a_yes_never_lifts_a_later_no(klaviyo: Klaviyo, marketing: dict[str, Any], lifted: bool) -> None:
    respx.get(f"{API}/api/profiles").respond(json=profiles(**marketing))
    route = respx.post(f"{API}/api/profile-subscription-bulk-create-jobs").respond(202)
    if lifted:
        await klaviyo.tell(told("consent.granted", channel="email"))
    else:
        with pytest.raises(NeverAgain, match="later word counts"):
            await klaviyo.tell(told("consent.granted", channel="email"))
    assert route.called is lifted


@pytest.mark.parametrize(
    ("type", "data"),
    [
        ("contact.identified", {"consent": {"email": ["promotional"]}}),
        ("contact.updated", {"consent": {"email": ["promotional"]}}),
        ("form.submitted", {"form": "newsletter", "consent": {"email": ["promotional"]}}),
        ("consent.granted", {"channel": "email", "purpose": "lifecycle"}),
        ("consent.granted", {"channel": "email", "purpose": "transactional"}),
        ("consent.granted", {"channel": "social", "purpose": "promotional"}),
    ],
)
@respx.mock
async def test_nothing_else_is_a_yes(klaviyo: Klaviyo, type: str, data: dict[str, Any]) -> None:
    respx.post(f"{API}/api/profile-import").respond(200, json={"data": {"id": "01GP"}})
    respx.post(f"{API}/api/events").respond(202)
    route = respx.post(f"{API}/api/profile-subscription-bulk-create-jobs").respond(202)
    await klaviyo.tell(told(type, **data))
    assert not route.called


@pytest.mark.parametrize(
    ("type", "data", "fields"),
    [
        ("consent.withdrawn", {"channel": "email", "purpose": "promotional"}, ["email", "email"]),
        ("consent.withdrawn", {"channel": "email", "purpose": "lifecycle"}, ["email", "email"]),
        ("consent.withdrawn", {"channel": "all"}, ["email", "email", "phone_number"]),
        ("message.unsubscribed", {"channel": "sms"}, ["phone_number"]),
        ("message.unsubscribed", {}, ["email", "email"]),
        ("message.complained", {"channel": "email"}, ["email", "email", "phone_number"]),
    ],
)
@respx.mock
async def test_a_no_goes_out(klaviyo: Klaviyo, type: str, data: dict[str, Any], fields: list[str]) -> None:
    route = respx.post(f"{API}/api/profile-subscription-bulk-delete-jobs").respond(202)
    who = (("email", "old@example.com"), ("email", "alice@example.com"), ("phone", "+4930901820"))
    await klaviyo.tell(told(type, *who, **data))
    job = sent(route)["data"]
    assert (job["type"], "relationships" in job) == ("profile-subscription-bulk-delete-job", False)
    found = [profile["attributes"] for profile in job["attributes"]["profiles"]["data"]]
    assert [next(name for name in each if name != "subscriptions") for each in found] == fields
    for each in found:
        ((channel, said),) = each["subscriptions"].items()
        assert channel == ("sms" if "phone_number" in each else "email")
        assert said == {"marketing": {"consent": "UNSUBSCRIBED"}}


@respx.mock
async def test_a_no_of_many_addresses_goes_out_in_jobs_of_a_hundred(klaviyo: Klaviyo) -> None:
    route = respx.post(f"{API}/api/profile-subscription-bulk-delete-jobs").respond(202)
    await klaviyo.tell(
        told("consent.withdrawn", *[("email", f"a{n}@example.com") for n in range(101)], channel="email")
    )
    counts = [len(json.loads(c.request.content)["data"]["attributes"]["profiles"]["data"]) for c in route.calls]
    assert counts == [100, 1]


@pytest.mark.parametrize(
    ("telling", "match"),
    [
        (told("contact.erased"), "erased in Klaviyo itself"),
        (told("contact.updated", ("anonymous", "x")), "no e-mail address"),
        (told("page.viewed", ("zendesk", "9"), page="x"), "no name"),
        (told("consent.withdrawn", ("user", "42"), channel="sms"), "no address on sms"),
        (told("consent.granted", ("user", "42"), channel="all"), "no address on email or sms"),
        (told("contact.updated", bio="x" * 100_000), "profile: is longer than 100,000 bytes"),
    ],
)
@respx.mock
async def test_what_cannot_be_told_is_said_before_any_call(klaviyo: Klaviyo, telling: Told, match: str) -> None:
    with pytest.raises(NeverAgain, match=match) as caught:
        await klaviyo.tell(telling)
    assert "example.com" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, NeverAgain), (401, NeverAgain), (409, NeverAgain), (429, TryAgain), (500, TryAgain), (503, TryAgain)],
)
@respx.mock
async def test_errors(klaviyo: Klaviyo, status: int, kind: type[ConnectorError]) -> None:
    error = {
        "id": "req-1",
        "code": "invalid",
        "detail": "alice@example.com is not pk_1",
        "source": {"pointer": "/data/attributes/email"},
    }
    respx.post(f"{API}/api/events").respond(status, json={"errors": [error]}, headers={"retry-after": "7"})
    with pytest.raises(kind) as caught:
        await klaviyo.tell(told("page.viewed", page="x"))
    assert caught.value.reason == f"{status} invalid /data/attributes/email"
    assert caught.value.request_id == "req-1"
    assert "alice" not in str(caught.value)
    assert "pk_1" not in str(caught.value)
    if isinstance(caught.value, TryAgain):
        assert caught.value.delay == timedelta(seconds=7)


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"errors": 7}', b'{"errors": [{"source": "x", "id": 7}]}'])
@respx.mock
async def test_errors_of_any_shape(klaviyo: Klaviyo, answer: bytes) -> None:
    respx.post(f"{API}/api/events").respond(400, content=answer)
    with pytest.raises(NeverAgain, match="400"):
        await klaviyo.tell(told("page.viewed", page="x"))


@respx.mock
async def test_a_lost_answer_is_asked_for_again(klaviyo: Klaviyo) -> None:
    respx.post(f"{API}/api/events").mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(TryAgain):
        await klaviyo.tell(told("page.viewed", page="x"))


async def test_without_a_key_nothing_is_asked() -> None:
    with pytest.raises(NeverAgain, match="KLAVIYO_API_KEY"):
        await made(api_key=None).tell(told("page.viewed", page="x"))


def test_the_page_has_a_request_for_a_webhook_of_all_that_is_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "connectors" / "klaviyo.md").read_text(encoding="utf-8")
    _, _, request = page.partition("POST https://a.klaviyo.com/api/webhooks")
    webhook = json.loads(request.partition("```")[0].partition("\n\n")[2])["data"]
    assert (webhook["type"], set(webhook["attributes"])) == ("webhook", {"name", "endpoint_url", "secret_key"})
    topics = webhook["relationships"]["webhook-topics"]["data"]
    assert {topic["type"] for topic in topics} == {"webhook-topic"}
    asked = {topic["id"].removeprefix("event:klaviyo.") for topic in topics}
    assert [topic for topic in asked if not KLAVIYO.parse(body(item(topic)), NOW)] == []
    _, _, table = page.partition("## What comes in")
    read = set(re.findall(r"`([a-z]+_[a-z_]+)`", "".join(re.findall(r"^\|(.*?)\|", table.partition("##")[0], re.M))))
    assert asked >= read - {"received_sms", "sent_sms"}
    assert len(asked) == len(topics) == 12
