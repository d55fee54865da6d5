"""Make: what scenarios bring, and what their webhook is told."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from connectors import http
from connectors.base import Refused, Request, Sink, Source, Told
from connectors.errors import ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.make import LARGEST, Make, MakeSettings
from contacts.events import Event, identities

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/make"
HOOK = "https://hook.eu2.make.com/tok3n"
TOKEN = "s3cret"
SIGNING = "whsec_" + b64encode(b"a key of our own for scenarios").decode()


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> Make:
    given = {"webhook_secret": TOKEN, "signing_secret": SIGNING, "hook_url": HOOK, **settings}
    return Make(MakeSettings(_env_file=None, **given), client)


MAKE = made()


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    async with http.new_client() as client:
        yield made(client)


def raw(**fields: Any) -> bytes:
    whole = {
        "event_id": "e-1",
        "type": "webinar.attended",
        "occurred_at": "2026-03-02T08:59:00Z",
        "identities": {"email": "Alice@Example.com"},
        "data": {"webinar": "seo"},
        **fields,
    }
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def bearing(token: str, body: bytes | None = None) -> Request:
    return Request("POST", URL, {"authorization": f"Bearer {token}"}, raw() if body is None else body)


def signed(body: bytes, *, secret: str = SIGNING, at: datetime = NOW, **headers: str) -> Request:
    signature = standardwebhooks.Webhook(secret).sign("m-1", at, body.decode())
    own = {"webhook-id": "m-1", "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}
    return Request("POST", URL, {**own, **headers}, body)


def refusal(request: Request, make: Make = MAKE) -> Refused:
    with pytest.raises(Refused) as caught:
        make.verify(request, NOW)
    return caught.value


def only(**fields: Any) -> Event:
    (event,) = MAKE.parse(Request("POST", URL, {}, raw(**fields)), NOW)
    return event


def told(**data: Any) -> Told:
    who = identities(("email", "old@example.com"), ("email", "alice@example.com"), ("user", "42"))
    return Told("0b5a-11", "purchase.completed", NOW, "c-1", who, {"order_id": "o-1", **data})


def test_what_it_is() -> None:
    assert isinstance(MAKE, Source)
    assert isinstance(MAKE, Sink)


def test_a_token() -> None:
    MAKE.verify(bearing(TOKEN), NOW)
    MAKE.verify(Request("POST", URL, {"authorization": f"bearer  {TOKEN} "}, raw()), NOW)
    made(webhook_secret=f"old,{TOKEN}").verify(bearing(TOKEN), NOW)
    for wrong in ("", "s3cre", "s3crets", f"old,{TOKEN}", "ü"):
        assert refusal(bearing(wrong)).status == 401
    for headers in ({}, {"authorization": TOKEN}, {"authorization": f"Basic {TOKEN}"}):
        assert refusal(Request("POST", URL, headers, raw())).status == 401
    assert "no signing secret" in refusal(bearing(TOKEN), made(webhook_secret=None)).reason


def test_a_signature_made_by_another_library() -> None:
    MAKE.verify(signed(raw()), NOW)
    assert refusal(signed(raw(), at=NOW - timedelta(seconds=301))).status == 401
    assert refusal(signed(raw(), at=NOW + timedelta(seconds=301))).status == 401
    altered = Request("POST", URL, signed(raw()).headers, raw(event_id="e-2"))
    assert refusal(altered).status == 401


def test_a_signature_counts_alone() -> None:
    other = "whsec_" + b64encode(b"somebody else's").decode()
    token = {"authorization": f"Bearer {TOKEN}"}
    assert refusal(signed(raw(), secret=other, **token)).status == 401
    assert refusal(signed(raw(), **token), made(signing_secret=None)).status == 401


@given(
    st.dictionaries(
        st.sampled_from(["authorization", "webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()
    )
)
def test_junk_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Refused):
        MAKE.verify(Request("POST", URL, headers, raw()), NOW)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        MAKE.parse(Request("POST", URL, {}, body), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["event_id", "type", "occurred_at", "identities", "data"]), JSON),
    st.dictionaries(st.sampled_from(["email", "phone", "user", "fax"]), JSON),
)
def test_junk_bodies_parse_or_raise_a_value_error(fields: dict[str, Any], who: dict[str, Any]) -> None:
    try:
        MAKE.parse(Request("POST", URL, {}, raw(**{"identities": who, **fields})), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


def test_an_event() -> None:
    event = only(identities={"email": ["Alice@Example.com", "a@example.com"], "user": 42, "phone": "", "hubspot": None})
    assert (event.type, event.source, event.source_id) == ("webinar.attended", "make", "e-1")
    assert (event.occurred_at, event.data) == (NOW - timedelta(minutes=1), {"webinar": "seo"})
    assert [(i.kind, i.value) for i in event.identities] == [
        ("email", "alice@example.com"),
        ("email", "a@example.com"),
        ("user", "42"),
    ]


def test_a_clock_that_is_ahead() -> None:
    assert only(occurred_at="2026-03-02T09:04:00Z").occurred_at == NOW + timedelta(minutes=4)
    assert only(occurred_at="2027-01-01T00:00:00Z").occurred_at == NOW + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"event_id": None}, "event_id: Field required"),
        ({"event_id": ""}, "event_id"),
        ({"event_id": "x" * 256}, "event_id"),
        ({"type": "Webinar attended"}, "dotted lower case"),
        ({"occurred_at": None}, "occurred_at: Field required"),
        ({"occurred_at": "2026-03-02T09:00:00"}, "occurred_at"),
        ({"identities": None}, "identities: Field required"),
        ({"identities": {"email": "nobody"}}, "names nobody"),
        ({"identities": {"fax": "1"}}, "knows no kind 'fax'"),
        ({"type": "purchase.completed", "data": {"order_id": "1", "value": 19.99}}, "data.value"),
        ({"data": {"score": float("inf")}}, "body: the body is not JSON"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        only(**fields)


@respx.mock
async def test_an_event_goes_out(make: Make) -> None:
    route = respx.post(HOOK).respond(200, text="Accepted")
    assert await make.tell(told(value=1999, currency="EUR")) is None
    assert json.loads(route.calls.last.request.content) == {
        "event_id": "0b5a-11",
        "type": "purchase.completed",
        "occurred_at": "2026-03-02T09:00:00+00:00",
        "contact_id": "c-1",
        "identities": {"email": ["old@example.com", "alice@example.com"], "user": ["42"]},
        "data": {"order_id": "o-1", "value": 1999, "currency": "EUR"},
    }
    headers = route.calls.last.request.headers
    assert (headers["content-type"], "x-make-apikey" in headers) == ("application/json", False)
    await made(make._client, hook_api_key="apik3y").tell(told())
    assert route.calls.last.request.headers["x-make-apikey"] == "apik3y"


@pytest.mark.parametrize(
    ("status", "text", "kind", "reason"),
    [
        (400, "Queue is full.", TryAgain, "400 the queue is full"),
        (400, "Bad body of alice@example.com", NeverAgain, "400"),
        (403, "Forbidden", NeverAgain, "403"),
        (404, "Not found", NeverAgain, "404"),
        (410, "Scenario queue is gone", NeverAgain, "410"),
        (429, "Too many", TryAgain, "429"),
        (500, "", Unknown, "500"),
        (503, "", TryAgain, "503"),
    ],
)
@respx.mock
async def test_errors(make: Make, status: int, text: str, kind: type[ConnectorError], reason: str) -> None:
    respx.post(HOOK).respond(status, text=text, headers={"retry-after": "10"} if status == 429 else {})
    with pytest.raises(kind) as caught:
        await make.tell(told())
    assert isinstance(caught.value, kind)
    assert caught.value.reason == reason
    for secret in ("tok3n", "alice"):
        assert secret not in str(caught.value)


@respx.mock
async def test_when_to_ask_again(make: Make) -> None:
    route = respx.post(HOOK).respond(400, text="queue is full")
    with pytest.raises(TryAgain) as full:
        await make.tell(told())
    route.respond(429, headers={"retry-after": "10"})
    with pytest.raises(TryAgain) as limited:
        await make.tell(told())
    assert (full.value.delay, limited.value.delay) == (timedelta(minutes=1), timedelta(seconds=10))


@respx.mock
async def test_a_lost_answer_is_unknown(make: Make) -> None:
    route = respx.post(HOOK).mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(Unknown):
        await make.tell(told())
    assert route.call_count == 1


async def test_what_cannot_be_told() -> None:
    with pytest.raises(NeverAgain, match="MAKE_HOOK_URL"):
        await made(hook_url=None).tell(told())
    with pytest.raises(NeverAgain, match="data: is longer than 5,000,000 bytes"):
        await MAKE.tell(told(**dict.fromkeys("abcdefgh", "x" * (LARGEST // 8))))


@pytest.mark.parametrize("url", ["http://hook.eu2.make.com/tok3n", "hook.eu2.make.com/tok3n", "tok3n"])
def test_the_webhook_must_be_an_https_url(url: str) -> None:
    with pytest.raises(ValueError, match="must be an https URL") as caught:
        made(hook_url=url)
    assert "tok3n" not in str(caught.value)


def test_a_secret_that_is_none() -> None:
    with pytest.raises(ValueError, match="signing_secret"):
        made(signing_secret="whsec_%%%")
