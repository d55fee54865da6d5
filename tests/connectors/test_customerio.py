"""Customer.io: signatures, metrics, and what it is told."""

import hashlib
import hmac
import json
import re
from base64 import b64decode
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
from connectors.customerio import CustomerIo, CustomerIoSettings, ulid
from connectors.errors import ConnectorError, NeverAgain, TryAgain
from contacts.events import Event, identities

SECRET = "signing-key"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/customerio"
API = "https://track.customer.io/api/v1/customers"


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> CustomerIo:
    given = {"signing_secret": SECRET, "site_id": "site", "api_key": "key", **settings}
    return CustomerIo(CustomerIoSettings(_env_file=None, **given), client)


CUSTOMERIO = made()


@pytest.fixture
async def customerio() -> AsyncIterator[CustomerIo]:
    async with http.new_client() as client:
        yield made(client)


def signed(body: bytes, *, secret: str = SECRET, sent: str = "1772442000") -> Request:
    mac = hmac.new(secret.encode(), f"v0:{sent}:".encode() + body, hashlib.sha256).hexdigest()
    return Request("POST", URL, {"x-cio-signature": mac, "x-cio-timestamp": sent}, body)


def refusal(request: Request, customerio: CustomerIo = CUSTOMERIO) -> Refused:
    with pytest.raises(Refused) as caught:
        customerio.verify(request, NOW)
    return caught.value


def report(object_type: str, metric: str, **data: Any) -> Request:
    who = {"customer_id": "42", "identifiers": {"id": "42", "email": "alice@example.com", "cio_id": "03000001"}}
    whole = {
        "event_id": "01E4C4CT6YDC7Y5M7FE1GWWPQJ",
        "object_type": object_type,
        "metric": metric,
        "timestamp": 1772441940,
        "data": {**who, **data},
    }
    return Request("POST", URL, {}, json.dumps(whole).encode())


def only(request: Request) -> Event:
    (event,) = CUSTOMERIO.parse(request, NOW)
    return event


def told(type: str, *who: tuple[str, object], id: str = "0b5a-11", **data: Any) -> Told:
    return Told(id, type, NOW, "c-1", identities(*(who or (("user", "42"),))), data)


def sent(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


def test_what_it_is() -> None:
    assert isinstance(CUSTOMERIO, Source)
    assert isinstance(CUSTOMERIO, Sink)


def test_a_vector_worked_out_apart_from_this_code() -> None:
    # printf %s 'v0:1772442000:{}' | openssl dgst -sha256 -hmac signing-key
    headers = {
        "x-cio-signature": "76ed5071eaa41b9b7ca3a29eb6a8d2121508b71089cef77acd42fc7db143c80f",
        "x-cio-timestamp": "1772442000",
    }
    CUSTOMERIO.verify(Request("POST", URL, headers, b"{}"), NOW)


@pytest.mark.parametrize(("seconds", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_age_counts_both_ways(seconds: int, taken: bool) -> None:
    arriving = signed(b"{}", sent=str(1772442000 + seconds))
    if taken:
        CUSTOMERIO.verify(arriving, NOW)
    else:
        assert refusal(arriving).status == 401


def test_whatever_is_altered_is_refused() -> None:
    good = signed(b"{}")
    for forged in (
        signed(b"{}", secret="other"),
        Request("POST", URL, good.headers, b"{} "),
        Request("POST", URL, {**good.headers, "x-cio-timestamp": "1772442001"}, b"{}"),
        Request("POST", URL, {}, b"{}"),
    ):
        assert refusal(forged).status == 401


def test_secrets() -> None:
    made(signing_secret=f"other, {SECRET}").verify(signed(b"{}"), NOW)
    said = refusal(signed(b"{}"), made(signing_secret=None))
    assert (said.status, "no signing secret" in said.reason) == (401, True)


@pytest.mark.parametrize("sent", ["", "yesterday", "-1", "1.5", "٢", "9" * 12])
def test_malformed_timestamps(sent: str) -> None:
    assert refusal(signed(b"{}", sent=sent)).status == 400


@given(st.text(min_size=1), st.text() | st.integers(min_value=0).map(str), st.binary())
def test_junk_is_refused(signature: str, sent: str, raw: bytes) -> None:
    with pytest.raises(Refused):
        CUSTOMERIO.verify(Request("POST", URL, {"x-cio-signature": signature, "x-cio-timestamp": sent}, raw), NOW)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        CUSTOMERIO.parse(Request("POST", URL, {}, raw), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(["email", "sms", "customer"]),
    st.sampled_from(["bounced", "unsubscribed", "cio_subscription_preferences_changed"]),
    st.dictionaries(st.sampled_from(["event_id", "timestamp", "data", "metric", "object_type"]), JSON),
    st.dictionaries(st.sampled_from(["customer_id", "identifiers", "recipient", "content", "href"]), JSON),
)
def test_junk_bodies_parse_or_raise_a_value_error(
    kind: str, metric: str, fields: dict[str, Any], data: dict[str, Any]
) -> None:
    whole = {"event_id": "1", "object_type": kind, "metric": metric, "timestamp": 1, "data": data, **fields}
    try:
        CUSTOMERIO.parse(Request("POST", URL, {}, json.dumps(whole).encode()), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


def test_a_click() -> None:
    request = report("email", "clicked", delivery_id="D1", href="https://example.com/guide", recipient="a@example.com")
    event = only(request)
    assert (event.type, event.source, event.source_id) == (
        "message.clicked",
        "customerio",
        "01E4C4CT6YDC7Y5M7FE1GWWPQJ",
    )
    assert event.occurred_at == NOW - timedelta(minutes=1)
    assert event.data == {
        "channel": "email",
        "machine": False,
        "message_id": "D1",
        "url": "https://example.com/guide",
    }
    assert {(i.kind, i.value) for i in event.identities} == {
        ("user", "42"),
        ("customerio", "03000001"),
        ("email", "alice@example.com"),
        ("email", "a@example.com"),
    }
    assert only(request) == event


@pytest.mark.parametrize(
    ("object_type", "metric", "type", "data"),
    [
        ("email", "delivered", "message.delivered", {"channel": "email"}),
        ("email", "opened", "message.opened", {"channel": "email"}),
        ("push", "opened", "message.opened", {"channel": "push"}),
        ("sms", "clicked", "message.clicked", {"channel": "sms"}),
        ("email", "unsubscribed", "message.unsubscribed", {"channel": "email"}),
        (
            "email",
            "bounced",
            "message.bounced",
            {"channel": "email", "permanent": True, "address": "alice@example.com"},
        ),
        ("sms", "bounced", "message.bounced", {"channel": "sms", "permanent": False, "address": "alice@example.com"}),
        ("email", "spammed", "message.complained", {"channel": "email", "address": "alice@example.com"}),
    ],
)
def test_what_becomes_of_messages(object_type: str, metric: str, type: str, data: dict[str, Any]) -> None:
    event = only(report(object_type, metric, recipient="alice@example.com"))
    # Whether a person opened a mail, Customer.io does not tell.
    tells = {} if (object_type, metric) == ("email", "opened") else {"machine": False}
    assert (event.type, event.data) == (type, {**tells, **data})


def test_the_recipient_of_a_text_message_is_a_phone() -> None:
    named = only(report("sms", "delivered", recipient="+4930901820", identifiers=None)).identities
    assert [(i.kind, i.value) for i in named] == [("user", "42"), ("phone", "+4930901820")]


def test_the_switch() -> None:
    off, on = only(report("customer", "unsubscribed")), only(report("customer", "subscribed"))
    assert (off.type, off.data) == ("consent.withdrawn", {"channel": "all", "purpose": "all"})
    assert (on.type, on.data) == ("consent.granted", {"channel": "email", "purpose": "promotional"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"channels": {"email": False}}, [("consent.withdrawn", "email", "all", ":email")]),
        (
            {"channels": {"email": True, "sms": False, "in_app": False}},
            [("consent.granted", "email", "promotional", ":email"), ("consent.withdrawn", "sms", "all", ":sms")],
        ),
        ({"topics": {"topic_7": False, "topic_8": False}}, [("consent.withdrawn", "email", "all", ":topics")]),
        ({"topics": {"topic_7": False, "topic_8": True}}, []),
        (
            {"topics": {"topic_7": False}, "channels": {"email": False}},
            [("consent.withdrawn", "email", "all", ":email")],
        ),
        ({}, []),
    ],
)
def test_preferences(content: dict[str, Any], said: list[tuple[str, str, str, str]]) -> None:
    events = CUSTOMERIO.parse(
        report("customer", "cio_subscription_preferences_changed", content=json.dumps(content)), NOW
    )
    id = "01E4C4CT6YDC7Y5M7FE1GWWPQJ"
    assert [(e.type, e.data["channel"], e.data["purpose"], e.source_id.removeprefix(id)) for e in events] == said


@pytest.mark.parametrize(
    ("object_type", "metric"),
    [("email", "sent"), ("email", "dropped"), ("email", "converted"), ("slack", "clicked"), ("customer", "renamed")],
)
def test_what_means_nothing_to_us(object_type: str, metric: str) -> None:
    assert CUSTOMERIO.parse(report(object_type, metric), NOW) == []


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match="event_id: Field required"):
        CUSTOMERIO.parse(Request("POST", URL, {}, b'{"object_type": "email", "metric": "opened"}'), NOW)


def test_an_id_as_a_ulid() -> None:
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", ulid("0b5a-11", NOW))
    assert ulid("0b5a-11", NOW) == ulid("0b5a-11", NOW)
    assert ulid("0b5a-11", NOW) != ulid("0b5a-12", NOW)
    # The first ten characters are the milliseconds since 1970.
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    milliseconds = 0
    for character in ulid("0b5a-11", NOW)[:10]:
        milliseconds = milliseconds * 32 + alphabet.index(character)
    assert milliseconds == 1772442000000
    assert ulid("x", datetime(1960, 1, 1, tzinfo=UTC)).startswith("0" * 10)


@respx.mock
async def test_an_event_goes_out(customerio: CustomerIo) -> None:
    route = respx.post(f"{API}/42/events").respond(json={})
    assert await customerio.tell(told("page.viewed", page="pricing")) is None
    assert sent(route) == {
        "name": "page.viewed",
        "data": {"page": "pricing"},
        "timestamp": 1772442000,
        "id": ulid("0b5a-11", NOW),
    }
    scheme, _, pair = route.calls.last.request.headers["authorization"].partition(" ")
    assert (scheme, b64decode(pair)) == ("Basic", b"site:key")


@pytest.mark.parametrize(
    ("who", "path"),
    [
        ([("email", "a+b@example.com")], "a%2Bb%40example.com"),
        ([("email", "a@example.com"), ("customerio", "0300")], "cio_0300"),
        ([("customerio", "0300"), ("user", "a/b")], "a%2Fb"),
    ],
)
@respx.mock
async def test_a_person_goes_out(customerio: CustomerIo, who: Any, path: str) -> None:
    route = respx.put(url__startswith=API).respond(json={})
    await customerio.tell(told("contact.updated", *who, first_name="Alice", last_name=None))
    assert route.calls.last.request.url.raw_path == f"/api/v1/customers/{path}".encode()
    assert sent(route)["first_name"] == "Alice"
    assert "last_name" not in sent(route)


@respx.mock
async def test_another_region(customerio: CustomerIo) -> None:
    route = respx.put("https://track-eu.customer.io/api/v1/customers/42").respond(json={})
    eu = made(customerio._client, base_url="https://track-eu.customer.io")
    await eu.tell(told("contact.identified", ("user", "42"), ("email", "alice@example.com")))
    assert sent(route) == {"email": "alice@example.com"}


@pytest.mark.parametrize(
    ("type", "data"),
    [
        ("consent.withdrawn", {"channel": "email", "purpose": "lifecycle"}),
        ("message.unsubscribed", {"channel": "sms"}),
        ("message.complained", {}),
    ],
)
@respx.mock
async def test_a_no_goes_out(customerio: CustomerIo, type: str, data: dict[str, Any]) -> None:
    route = respx.put(f"{API}/42").respond(json={})
    await customerio.tell(told(type, **data))
    assert sent(route) == {"unsubscribed": True}


@respx.mock
async def test_a_yes_is_an_event_and_lifts_nothing(customerio: CustomerIo) -> None:
    attributes, events = respx.put(f"{API}/42"), respx.post(f"{API}/42/events").respond(json={})
    await customerio.tell(told("consent.granted", channel="email", purpose="promotional"))
    assert (attributes.called, sent(events)["name"]) == (False, "consent.granted")
    await customerio.tell(told("consent.withdrawn", channel="email", purpose="transactional"))
    assert not attributes.called


@respx.mock
async def test_an_erasure_goes_out(customerio: CustomerIo) -> None:
    route = respx.delete(f"{API}/42").respond(json={})
    await customerio.tell(told("contact.erased"))
    assert route.called


@pytest.mark.parametrize(
    ("status", "kind"), [(400, NeverAgain), (401, NeverAgain), (404, NeverAgain), (429, TryAgain), (500, TryAgain)]
)
@respx.mock
async def test_errors(customerio: CustomerIo, status: int, kind: type[ConnectorError]) -> None:
    respx.post(f"{API}/42/events").respond(status, json={"meta": {"error": "alice@example.com: bad key"}})
    with pytest.raises(kind) as caught:
        await customerio.tell(told("page.viewed", page="x"))
    assert caught.value.reason == str(status)


@respx.mock
async def test_a_lost_answer_is_asked_for_again(customerio: CustomerIo) -> None:
    respx.post(f"{API}/42/events").mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(TryAgain):
        await customerio.tell(told("page.viewed", page="x"))


async def test_what_cannot_be_told() -> None:
    with pytest.raises(NeverAgain, match="no user id"):
        await CUSTOMERIO.tell(told("page.viewed", ("phone", "+4930901820"), page="x"))
    for missing in ({"site_id": None}, {"api_key": None}):
        with pytest.raises(NeverAgain, match="CUSTOMERIO_SITE_ID"):
            await made(**missing).tell(told("page.viewed", page="x"))
