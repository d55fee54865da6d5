"""CloudEvents in three modes, signed; the reference libraries write the requests."""

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from standardwebhooks import Webhook

from connectors.base import Refused, Request
from connectors.batch import Problem, Reading
from connectors.cloudevents import BATCH_EVENTS, CloudEvents
from contacts.events import Identity

NOW = datetime(2026, 3, 2, 9, 0, 0, tzinfo=UTC)
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
SOURCE = CloudEvents(SecretStr(SECRET))
ATTRIBUTES = {
    "id": "d-7",
    "source": "https://shop.example.com",
    "type": "resource.downloaded",
    "time": datetime(2026, 3, 1, tzinfo=UTC),
}
DATA = {"identities": {"email": "Alice@example.com", "user": 42}, "resource": "guide"}
STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"


def signed(body: bytes, headers: dict[str, str], at: datetime = NOW, secret: str = SECRET) -> Request:
    names = {name.lower(): value for name, value in headers.items()}
    names["webhook-id"] = "msg_1"
    names["webhook-timestamp"] = str(int(at.timestamp()))
    try:
        names["webhook-signature"] = Webhook(secret).sign("msg_1", at, body.decode())
    except UnicodeDecodeError:
        names["webhook-signature"] = "v1,AAAA"
    return Request("POST", "https://hub.example.com/events", names, body)


def structured(**changes: Any) -> Request:
    envelope = {"specversion": "1.0", **ATTRIBUTES, "time": "2026-03-01T00:00:00Z", "data": DATA, **changes}
    return signed(
        json.dumps({k: v for k, v in envelope.items() if v != "absent"}).encode(), {"content-type": STRUCTURED}
    )


def refusal(request: Request, source: CloudEvents = SOURCE) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        source.verify(request, NOW)
    return refused.value.status, refused.value.reason


@pytest.mark.parametrize("write", [to_binary, to_structured])
def test_both_modes_as_the_reference_library_writes_them(write: Any) -> None:
    attributes = {**ATTRIBUTES, "datacontenttype": "application/json", "subject": "user:43"}
    message = write(CloudEvent(dict(attributes), DATA), JSONFormat())
    request = signed(message.body, message.headers)
    SOURCE.verify(request, NOW)
    [event] = SOURCE.parse(request, NOW)
    assert (event.type, event.source, event.source_id) == (
        "resource.downloaded", "cloudevents:https://shop.example.com", "d-7",
    )  # fmt: skip
    assert event.occurred_at == ATTRIBUTES["time"]
    assert event.data == {"resource": "guide"}
    assert event.identities == (Identity("email", "alice@example.com"), Identity("user", "42"), Identity("user", "43"))


def binary(body: bytes = b'{"identities":{"user":"1"}}', **attributes: str) -> Request:
    given = {"specversion": "1.0", "id": "d-7", "source": "s", "type": "call.missed", **attributes}
    named = {f"ce-{name}": value for name, value in given.items() if value != "absent"}
    return signed(body, {**named, "content-type": "Application/JSON; charset=utf-8"})


@pytest.mark.parametrize(
    ("encoded", "text"),
    [("a%20b%C3%A9", "a bé"), ("a+b%2B", "a+b+"), ("100%", "100%"), ("a%00b", "a\ufffdb"), ("%ED%A0%80", "\ufffd" * 3)],
)
def test_percent_encoded_headers_are_decoded(encoded: str, text: str) -> None:
    [event] = SOURCE.parse(binary(id=encoded, source=encoded), NOW)
    assert (event.source_id, event.source) == (text, f"cloudevents:{text}")


def test_no_header_takes_the_place_of_what_is_signed() -> None:
    forged = b64encode(b'{"identities":{"user":"forged"}}').decode()
    request = binary(data="forged", data_base64=forged)
    SOURCE.verify(request, NOW)
    assert SOURCE.parse(request, NOW)[0].identities == (Identity("user", "1"),)


@pytest.mark.parametrize("name", ["id", "source", "type"])
def test_a_binary_event_lacks_none_of_its_names(name: str) -> None:
    for value, reason in (("absent", "Field required"), ("", "String should have at least 1 character")):
        assert refusal(binary(**{name: value})) == (400, f"{name}: {reason}")


def test_a_binary_event_may_have_no_body() -> None:
    named = binary(b"", subject="user:1")
    bare = signed(b"", {name: value for name, value in named.headers.items() if name != "content-type"})
    for request in (named, bare):
        SOURCE.verify(request, NOW)
        [event] = SOURCE.parse(request, NOW)
        assert (event.identities, event.data) == ((Identity("user", "1"),), {})


def test_a_binary_event_may_be_json_of_its_own_kind() -> None:
    given = binary()
    SOURCE.verify(signed(given.body, {**given.headers, "content-type": "application/vnd.shop+json"}), NOW)


def test_a_batch_keeps_the_good_and_names_the_bad() -> None:
    good = {"specversion": "1.0", "id": "1", "source": "s", "type": "call.missed", "subject": "email:a@example.com"}
    items = [good, {**good, "id": ""}, {**good, "data": {"identities": {"shoe": "1"}}}, 5]
    request = signed(json.dumps(items).encode(), {"content-type": BATCHED})
    SOURCE.verify(request, NOW)
    reading = SOURCE.read(request, NOW)
    assert [e.source_id for e in reading.events] == ["1"]
    assert [p.index for p in reading.problems] == [1, 2, 3]
    assert reading.problems[1] == Problem(2, "data.identities: knows no kind 'shoe'")


def test_an_empty_batch_is_nothing_and_a_long_one_too_much() -> None:
    assert SOURCE.parse(signed(b"[]", {"content-type": BATCHED}), NOW) == ()
    full = signed(json.dumps([0] * BATCH_EVENTS).encode(), {"content-type": BATCHED})
    SOURCE.verify(full, NOW)
    assert len(SOURCE.read(full, NOW).problems) == BATCH_EVENTS
    for value in ([0] * (BATCH_EVENTS + 1), {}):
        assert refusal(signed(json.dumps(value).encode(), {"content-type": BATCHED}))[0] == 400


def test_data_in_base64() -> None:
    request = structured(data="absent", data_base64="eyJpZGVudGl0aWVzIjp7InVzZXIiOiIxIn0sInJlc291cmNlIjoiciJ9")
    assert SOURCE.parse(request, NOW)[0].data == {"resource": "r"}
    assert refusal(structured(data="absent", data_base64="*")) == (400, "data_base64: must be JSON in base64")
    assert refusal(structured(data="absent", data_base64=5))[0] == 400


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": "absent"}, "id: Field required"),
        ({"id": "i" * 256}, "id: String should have at most 255 characters"),
        ({"source": "absent"}, "source: Field required"),
        ({"source": ""}, "source: String should have at least 1 character"),
        ({"source": "s" * 89}, "source: String should have at most 88 characters"),
        ({"type": "absent"}, "type: Field required"),
        ({"specversion": "0.3"}, "specversion: Input should be '1.0'"),
        ({"time": "yesterday"}, "time: "),
        ({"time": "2026-03-01T00:00:00"}, "time: "),
        ({"data": [1]}, "data: Input should be a valid dictionary"),
    ],
)
def test_a_malformed_envelope_is_400(changes: dict[str, Any], reason: str) -> None:
    status, said = refusal(structured(**changes))
    assert (status, said[: len(reason)]) == (400, reason)


def test_the_longest_names_are_taken() -> None:
    [event] = SOURCE.parse(structured(id="i" * 255, source="s" * 88), NOW)
    assert (len(event.source_id), event.source) == (255, "cloudevents:" + "s" * 88)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "custom.Thing"},
        {"type": f"custom.{'x' * 100}"},
        {"data": {}},
        {"data": {"identities": "alice"}},
        {"data": {"identities": {"email": "alice"}}},
        {"data": {"identities": {"user": True}}},
        {"type": "purchase.completed", "data": {"identities": {"user": 1}, "order_id": "1", "value": 19.99}},
    ],
)
def test_an_event_we_cannot_understand_is_kept_for_later(changes: dict[str, Any]) -> None:
    request = structured(**changes)
    SOURCE.verify(request, NOW)
    with pytest.raises(ValueError, match=":"):
        SOURCE.parse(request, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "com.example.OrderPlaced"},
        {"type": "com.example.OrderPlaced", "data": None},
        {"type": "com.example.OrderPlaced", "data": [1]},
        {"type": "com.example.OrderPlaced", "data": "<order/>"},
        {"type": "com.example.OrderPlaced", "data": "absent", "data_base64": "PG9yZGVyLz4="},
        {"type": "c" * 200},
        {"type": "shop.visited", "data": {"shop": 7}},
        {"type": "customer.created", "data": {"shop": 7}},
        {"type": "shop.visited", "data": {"identities": {"shoe": 7}}},
    ],
)
def test_an_event_of_anothers_kind_means_nothing_and_is_no_fault(changes: dict[str, Any]) -> None:
    request = structured(**changes)
    SOURCE.verify(request, NOW)
    assert SOURCE.read(request, NOW) == Reading((), ())
    assert SOURCE.parse(request, NOW) == ()


def test_a_kind_we_do_not_know_that_names_somebody_is_kept() -> None:
    [event] = SOURCE.parse(structured(type="shop.visited", data={"identities": {"user": 42}, "shop": 7}), NOW)
    assert (event.type, event.data) == ("shop.visited", {"shop": 7})


def test_a_subject_about_something_else_is_no_fault() -> None:
    assert len(SOURCE.parse(structured(subject="orders/17"), NOW)) == 1


def test_time_is_ours_where_none_is_given_and_never_far_ahead() -> None:
    assert SOURCE.parse(structured(time="absent"), NOW)[0].occurred_at == NOW
    assert SOURCE.parse(structured(time="2030-01-01T00:00:00Z"), NOW)[0].occurred_at == NOW + timedelta(minutes=5)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/html"},
        {"content-type": "application/json"},
        {"content-type": "application/cloudevents+xml"},
        {"content-type": "text/plain", "ce-specversion": "1.0"},
    ],
)
def test_other_media_types_are_415(headers: dict[str, str]) -> None:
    assert refusal(signed(b"{}", headers))[0] == 415


class TestSignature:
    @pytest.mark.parametrize("seconds", [-299, 0, 299])
    def test_in_time(self, seconds: int) -> None:
        SOURCE.verify(signed(structured().body, {"content-type": STRUCTURED}, NOW + timedelta(seconds=seconds)), NOW)

    @pytest.mark.parametrize("seconds", [-301, 301])
    def test_stale_or_early(self, seconds: int) -> None:
        request = signed(structured().body, {"content-type": STRUCTURED}, NOW + timedelta(seconds=seconds))
        assert refusal(request)[0] == 401

    def test_another_secret(self) -> None:
        request = signed(structured().body, {"content-type": STRUCTURED}, secret="whsec_" + "A" * 32)
        assert refusal(request) == (401, "the signature does not match")

    @pytest.mark.parametrize("part", ["webhook-id", "webhook-timestamp", "webhook-signature", "body"])
    def test_nothing_signed_can_be_changed(self, part: str) -> None:
        request = structured()
        headers = {**request.headers, **({part: "1"} if part != "body" else {})}
        body = request.body + b" " if part == "body" else request.body
        assert refusal(Request(request.method, request.url, headers, body))[0] == 401

    @pytest.mark.parametrize("signature", ["", "v1", "v1,", "v1,é", "v2,abc", "garbage", "v1,%%%", ", ,"])
    def test_junk(self, signature: str) -> None:
        request = structured()
        headers = {**request.headers, "webhook-signature": signature}
        assert refusal(Request(request.method, request.url, headers, request.body))[0] == 401

    @pytest.mark.parametrize("sent", ["now", "-1", "1e9", "²", "9" * 400])
    def test_a_timestamp_that_is_none(self, sent: str) -> None:
        request = structured()
        headers = {**request.headers, "webhook-timestamp": sent}
        assert refusal(Request(request.method, request.url, headers, request.body))[0] == 400

    def test_any_of_several_signatures_and_secrets_will_do(self) -> None:
        request = structured()
        headers = {**request.headers, "webhook-signature": f"v1a,xyz v1,AAAA {request.headers['webhook-signature']}"}
        rolled = CloudEvents(SecretStr(f"whsec_{'A' * 32},{SECRET}"))
        rolled.verify(Request(request.method, request.url, headers, request.body), NOW)

    def test_without_a_secret_the_door_is_closed(self) -> None:
        assert refusal(structured(), CloudEvents(None))[0] == 401

    def test_a_secret_that_is_not_base64_is_said_at_the_start(self) -> None:
        with pytest.raises(ValueError, match="base64") as error:
            CloudEvents(SecretStr("whsec_a"))
        assert "whsec_a" not in str(error.value)

    def test_a_bearer_key_where_one_is_allowed(self) -> None:
        body = structured().body
        headers = {"content-type": STRUCTURED, "authorization": "Bearer dev-key"}
        request = Request("POST", "https://hub.example.com/events", headers, body)
        CloudEvents(None, [SecretStr("dev-key")]).verify(request, NOW)
        assert refusal(request)[0] == 401
        assert refusal(request, CloudEvents(None, [SecretStr("other")]))[0] == 401


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_NEAR = st.fixed_dictionaries(
    {
        "specversion": st.just("1.0"),
        "id": st.text(max_size=5),
        "source": st.text(max_size=5),
        "type": st.text(max_size=9),
    },
    optional={"time": _JSON, "subject": _JSON, "data": _JSON, "data_base64": _JSON, "x": _JSON},
)


@given(_JSON | _NEAR | st.lists(_NEAR), st.sampled_from([STRUCTURED, BATCHED, "application/json"]))
def test_any_json_is_read_or_refused(value: Any, content_type: str) -> None:
    headers = {"content-type": content_type, "ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "a.b"}
    request = signed(json.dumps(value).encode(), headers)
    try:
        SOURCE.verify(request, NOW)
        reading = SOURCE.read(request, NOW)
    except Refused as refused:
        assert refused.status == 400
        assert "\n" not in refused.reason
    else:
        assert all("\n" not in problem.reason for problem in reading.problems)


@given(
    st.dictionaries(st.sampled_from(["ce-specversion", "ce-id", "ce-time", "content-type", "webhook-id"]), st.text())
)
def test_any_headers_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Refused):
        SOURCE.verify(Request("POST", "https://hub.example.com/events", headers, b"\xff{"), NOW)
