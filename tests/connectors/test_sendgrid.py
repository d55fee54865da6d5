"""SendGrid: ECDSA signatures, batches of events, and what goes on the wire."""

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors import http
from connectors.base import Accepted, Message, Refused, Request, Sender, Source
from connectors.errors import BadAddress, ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.mail import message_id
from connectors.sendgrid import SendGrid, SendGridSettings
from contacts.events import Event, PartlyUnderstood

SEND = "https://api.sendgrid.com/v3/mail/send"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/sendgrid"
FROM = "Fernhill Studio <hello@fernhill.example.com>"
MESSAGE = Message(
    key="run-7/greet/1",
    to="alice@example.com",
    subject="Grüße",
    text="Hello\n",
    html="<p>Grüße</p>",
    unsubscribe_url="https://hub.example.com/u/t0ken",
    metadata={"journey": "welcome", "template": "welcome_second"},
)


def shown(key: Any) -> str:
    """A key's public half as SendGrid's console shows it."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(der).decode()


OURS = ec.generate_private_key(ec.SECP256R1())
THEIRS = ec.generate_private_key(ec.SECP256R1())


def settings(**given: Any) -> SendGridSettings:
    return SendGridSettings(_env_file=None, **{"api_key": "SG.t0ken", "verification_key": shown(OURS), **given})


SENDGRID = SendGrid(settings())


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http.new_client() as client:
        yield client


@pytest.fixture
async def sendgrid(client: httpx.AsyncClient) -> SendGrid:
    return SendGrid(settings(), client, from_address=FROM)


def with_headers(body: bytes, signature: str, sent: str) -> Request:
    prefix = "x-twilio-email-event-webhook"
    return Request("POST", URL, {f"{prefix}-signature": signature, f"{prefix}-timestamp": sent}, body)


def signed(body: bytes, *, key: ec.EllipticCurvePrivateKey = OURS, at: datetime = NOW) -> Request:
    sent = str(int(at.timestamp()))
    signature = key.sign(sent.encode() + body, ec.ECDSA(SHA256()))
    return with_headers(body, b64encode(signature).decode(), sent)


def refusal(request: Request, sendgrid: SendGrid = SENDGRID) -> Refused:
    with pytest.raises(Refused) as caught:
        sendgrid.verify(request, NOW)
    return caught.value


def item(kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "email": "Alice@Example.com",
        "timestamp": 1772441998,
        "event": kind,
        "sg_event_id": f"event-{kind}",
        "sg_message_id": "W86EgYT6SQ.recvd-6bd5-abc-1-0.0",
        "smtp-id": "<1@example.com>",
        "category": ["a"],
        "touch": MESSAGE.key,
        **fields,
    }


def batch(*items: Any) -> Request:
    return Request("POST", URL, {}, json.dumps(items).encode() + b"\r\n")


def only(kind: str, **fields: Any) -> Event:
    (event,) = SENDGRID.parse(batch(item(kind, **fields)), NOW)
    return event


def test_it_is_a_source_and_a_sender() -> None:
    assert isinstance(SENDGRID, Source)
    assert isinstance(SENDGRID, Sender)


def test_a_signature_over_time_and_body() -> None:
    SENDGRID.verify(signed('[{"name": "Zoë"}]\r\n'.encode()), NOW)
    SENDGRID.verify(signed(b""), NOW)


def test_a_vector_worked_out_apart_from_this_code() -> None:
    # openssl ecparam -name prime256v1 -genkey, openssl dgst -sha256 -sign over '1772442000[{"event":"processed"}]\r\n'
    key = (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/2XumMup8/UbINeDvzcTG+iRgkU4bPLwB9ULTjC4d428pQO3B7kVzDmbr0LJMuAK09j/"
        "x9lu1CRHfTw5XoYAZg=="
    )
    signature = "MEYCIQDqoVAmm1IxiQRqPgQdhTt/5lhoiqoMXsDIGPOc86BAEAIhANXYifwRAzNpEiDucLuaeATnHwojyAP35ti4KHtThY76"
    arriving = with_headers(b'[{"event":"processed"}]\r\n', signature, "1772442000")
    SendGrid(settings(verification_key=key)).verify(arriving, NOW)
    assert refusal(with_headers(b'[{"event":"processed"}]', signature, "1772442000"), SENDGRID).status == 401


@pytest.mark.parametrize(
    ("seconds", "taken"),
    [(-25 * 3600 - 1, False), (-25 * 3600, True), (-24 * 3600, True), (-301, True), (300, True), (301, False)],
)
def test_a_late_retry_is_taken_and_one_from_the_future_is_not(seconds: int, taken: bool) -> None:
    arriving = signed(b"[]", at=NOW + timedelta(seconds=seconds))
    if taken:
        SENDGRID.verify(arriving, NOW)
    else:
        assert refusal(arriving).status == 401


def test_whatever_is_altered_is_refused() -> None:
    good = signed(b"[]")
    signature = good.headers["x-twilio-email-event-webhook-signature"]
    der = bytearray(b64decode(signature))
    der[-1] ^= 1
    for forged in (
        signed(b"[]", key=THEIRS),
        replace(good, body=b"[] "),
        with_headers(b"[]", signature, str(int(NOW.timestamp()) + 1)),
        with_headers(b"[]", b64encode(bytes(der)).decode(), str(int(NOW.timestamp()))),
        with_headers(b"[]", b64encode(b"not DER").decode(), str(int(NOW.timestamp()))),
        with_headers(b"[]", "", str(int(NOW.timestamp()))),
        replace(good, headers={}),
    ):
        assert refusal(forged).status == 401


@pytest.mark.parametrize("sent", ["", "now", "1772442000.5", "-1772442000", "2" * 12, "١٧٧٢٤٤٢٠٠٠"])
def test_malformed_timestamps(sent: str) -> None:
    assert refusal(with_headers(b"[]", "AAAA", sent)).status == 400


@pytest.mark.parametrize("signature", ["%%%", "ü", "AAA", "AA AA", "AAAA\n"])
def test_malformed_signatures(signature: str) -> None:
    assert refusal(with_headers(b"[]", signature, "1772442000")).status == 400


def test_several_webhooks_have_several_keys() -> None:
    both = SendGrid(settings(verification_key=f"{shown(THEIRS)}, {shown(OURS)}"))
    both.verify(signed(b"[]"), NOW)
    both.verify(signed(b"[]", key=THEIRS), NOW)
    SendGrid(settings(verification_key=None, signing_secret=shown(OURS))).verify(signed(b"[]"), NOW)


def test_without_a_key_everything_is_refused() -> None:
    said = refusal(signed(b"[]"), SendGrid(settings(verification_key=None)))
    assert (said.status, "no signing secret" in said.reason) == (401, True)


@pytest.mark.parametrize(
    "key",
    ["nonsense", "%%%", shown(ed25519.Ed25519PrivateKey.generate()), shown(ec.generate_private_key(ec.SECP384R1()))],
    ids=["nonsense", "no base64", "another kind", "another curve"],
)
def test_a_wrong_key_is_said_at_the_start(key: str) -> None:
    with pytest.raises(ValidationError, match="is not the public key of a signed event webhook") as caught:
        settings(verification_key=f"{shown(OURS)},{key}")
    assert key not in str(caught.value)


@given(st.text(min_size=1), st.text() | st.integers(0, 10**11).map(str), st.binary())
def test_junk_is_refused(signature: str, sent: str, body: bytes) -> None:
    with pytest.raises(Refused):
        SENDGRID.verify(with_headers(body, signature, sent), NOW)


@given(st.binary(max_size=100), st.binary())
def test_junk_signatures_are_refused(signature: bytes, body: bytes) -> None:
    with pytest.raises(Refused):
        SENDGRID.verify(with_headers(body, b64encode(signature).decode(), "1772442000"), NOW)


def test_delivered() -> None:
    event = only("delivered", response="250 alice@example.com ok")
    assert (event.type, event.source, event.source_id) == ("message.delivered", "sendgrid", "event-delivered")
    assert event.occurred_at == datetime(2026, 3, 2, 8, 59, 58, tzinfo=UTC)
    assert [(i.kind, i.value) for i in event.identities] == [("email", "alice@example.com")]
    assert event.data == {
        "touch": MESSAGE.key,
        "channel": "email",
        "machine": False,
        "message_id": "W86EgYT6SQ",
        "address": "Alice@Example.com",
    }


@pytest.mark.parametrize(
    ("kind", "fields", "type", "permanent", "reason"),
    [
        ("bounce", {"type": "bounce", "status": "5.1.1"}, "message.bounced", True, "bounce 5.1.1"),
        ("bounce", {"status": "5.0.0"}, "message.bounced", True, "5.0.0"),
        ("bounce", {"type": "blocked", "status": "5.7.1"}, "message.bounced", False, "blocked 5.7.1"),
        (
            *("bounce", {"type": "bounce", "bounce_classification": "Invalid Address"}),
            *("message.bounced", True, "bounce invalid_address"),
        ),
        (
            *("bounce", {"type": "bounce", "bounce_classification": "Reputation"}),
            *("message.bounced", False, "bounce reputation"),
        ),
        (
            *("bounce", {"type": "bounce", "bounce_classification": "Technical Failure"}),
            *("message.bounced", False, "bounce technical_failure"),
        ),
        ("dropped", {"reason": "Bounced Address"}, "message.bounced", True, "dropped bounced_address"),
        ("dropped", {"reason": "Invalid"}, "message.bounced", True, "dropped invalid"),
        ("dropped", {"reason": "Spam Content"}, "message.bounced", False, "dropped spam_content"),
        ("dropped", {"reason": "no mail for alice@example.com"}, "message.bounced", False, "dropped"),
        ("dropped", {}, "message.bounced", False, "dropped"),
        ("dropped", {"reason": "Unsubscribed Address"}, "message.unsubscribed", None, "dropped unsubscribed_address"),
        (
            *("dropped", {"reason": "Spam Reporting Address"}),
            *("message.complained", None, "dropped spam_reporting_address"),
        ),
        ("deferred", {"response": "450 alice later", "attempt": "3"}, "message.bounced", False, "deferred"),
    ],
)
def test_what_did_not_arrive(kind: str, fields: dict[str, Any], type: str, permanent: bool | None, reason: str) -> None:
    event = only(kind, **fields)
    assert (event.type, event.data.get("permanent"), event.data["reason"]) == (type, permanent, reason)


def test_who_opened_and_what_was_clicked() -> None:
    assert "machine" not in only("open").data
    assert only("open", sg_machine_open=False).data["machine"] is False
    assert only("open", sg_machine_open=True).data["machine"] is True
    assert only("open", sg_machine_open=True).type == "message.opened"
    clicked = only("click", url="https://fernhill.example.com/pricing", url_offset={"index": 0, "type": "html"})
    assert (clicked.type, clicked.data["url"]) == ("message.clicked", "https://fernhill.example.com/pricing")


def test_whoever_wants_no_more() -> None:
    assert only("spamreport").type == "message.complained"
    assert only("unsubscribe").type == "message.unsubscribed"
    left = only("group_unsubscribe", asm_group_id=10)
    assert (left.type, left.data["group"]) == ("message.unsubscribed", "10")
    assert "purpose" not in left.data  # which purposes a group means we cannot know: all of them are withdrawn


@pytest.mark.parametrize("kind", ["processed", "group_resubscribe", "account_status_change", ""])
def test_other_events_mean_nothing(kind: str) -> None:
    assert SENDGRID.parse(batch(item(kind)), NOW) == []
    assert SENDGRID.parse(batch({"event": kind}), NOW) == []


def test_repeats_are_the_same_event_in_any_order_and_company() -> None:
    opened, clicked = item("open"), item("click", url="https://example.com/")
    once = SENDGRID.parse(batch(opened, clicked), NOW)
    again = SENDGRID.parse(batch(clicked, opened, opened), NOW)
    assert {event.source_id for event in once} == {event.source_id for event in again} == {"event-open", "event-click"}
    assert {event.source_id: event for event in once} == {event.source_id: event for event in again}


def test_an_event_without_an_id_or_with_a_long_one_gets_a_stable_one() -> None:
    bare = item("unsubscribe")
    del bare["sg_event_id"], bare["sg_message_id"], bare["touch"]
    (first,) = SENDGRID.parse(batch(bare), NOW)
    (again,) = SENDGRID.parse(batch(bare), NOW)
    (later,) = SENDGRID.parse(batch({**bare, "timestamp": bare["timestamp"] + 1}), NOW)
    long = only("open", sg_event_id="x" * 256)
    assert first.source_id == again.source_id
    assert len({first.source_id, later.source_id, long.source_id}) == 3
    assert all(len(event.source_id) <= 255 and "alice" not in event.source_id for event in (first, long))
    assert "touch" not in first.data


def test_milliseconds_are_told_from_seconds() -> None:
    assert only("open", timestamp=1772441998123).occurred_at.year == 2026


@pytest.mark.parametrize(
    ("id", "short"),
    [
        ("14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0", "14c5d75ce93.dfd.64b469"),
        ("W86EgYT6SQ.recvd-6bd5-abc-1-0.0", "W86EgYT6SQ"),
        ("W86EgYT6SQ", "W86EgYT6SQ"),
    ],
)
def test_the_id_that_the_call_was_answered_with(id: str, short: str) -> None:
    assert only("delivered", sg_message_id=id).data["message_id"] == short


def test_one_bad_item_does_not_cost_the_others() -> None:
    good = item("delivered")
    bad = [{"event": "open"}, "nonsense", {**item("open"), "timestamp": "alice@example.com"}]
    with pytest.raises(PartlyUnderstood) as caught:
        SENDGRID.parse(batch(bad[0], good, *bad[1:]), NOW)
    assert [event.source_id for event in caught.value.events] == ["event-delivered"]
    assert str(caught.value) == "item 0: timestamp: Field required (3 of 4 items do not parse)"


@given(st.binary())
def test_junk_bytes_raise_a_value_error(raw: bytes) -> None:
    try:
        events = SENDGRID.parse(Request("POST", URL, {}, raw), NOW)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert events == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    *("email", "timestamp", "sg_event_id", "sg_message_id", "touch", "type", "reason", "status", "url"),
    *("bounce_classification", "asm_group_id", "sg_machine_open"),
]
KINDS = [
    *("delivered", "bounce", "dropped", "deferred", "open", "click", "spamreport", "unsubscribe"),
    "group_unsubscribe",
]


@given(st.lists(JSON | st.tuples(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(FIELDS), JSON)), max_size=3))
def test_junk_bodies_parse_or_raise_a_value_error(parts: list[Any]) -> None:
    items = [item(part[0], **part[1]) if isinstance(part, tuple) else part for part in parts]
    try:
        SENDGRID.parse(batch(*items), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


def sent(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


@respx.mock
async def test_a_mail_on_the_wire(sendgrid: SendGrid) -> None:
    route = respx.post(SEND).respond(202, headers={"x-message-id": "W86EgYT6SQ"})
    assert await sendgrid.send(MESSAGE) == Accepted("W86EgYT6SQ")
    assert sent(route) == {
        "personalizations": [{"to": [{"email": "alice@example.com"}]}],
        "from": {"email": "hello@fernhill.example.com", "name": "Fernhill Studio"},
        "subject": "Grüße",
        "content": [
            {"type": "text/plain", "value": "Hello\n"},
            {"type": "text/html", "value": "<p>Grüße</p>"},
        ],
        "headers": {
            "Message-ID": message_id(MESSAGE.key, "fernhill.example.com"),
            "Auto-Submitted": "auto-generated",
            "Feedback-ID": "welcome_second:welcome:promotional:fernhill.example.com",
            "List-Unsubscribe": "<https://hub.example.com/u/t0ken>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
        "custom_args": {"touch": MESSAGE.key},
        "tracking_settings": {
            "open_tracking": {"enable": False},
            "click_tracking": {"enable": False, "enable_text": False},
            "subscription_tracking": {"enable": False},
            "ganalytics": {"enable": False},
        },
        "mail_settings": {"footer": {"enable": False}},
    }
    assert route.calls.last.request.headers["authorization"] == "Bearer SG.t0ken"


@respx.mock
async def test_a_receipt_in_text_alone_from_the_eu_with_tracking(client: httpx.AsyncClient) -> None:
    route = respx.post("https://api.eu.sendgrid.com/v3/mail/send").respond(202, headers={"x-message-id": "1"})
    chosen = settings(base_url="https://api.eu.sendgrid.com", track_opens=True, track_clicks=True)
    sendgrid = SendGrid(chosen, client, from_address="hello@fernhill.example.com")
    await sendgrid.send(replace(MESSAGE, html=None, unsubscribe_url=None, purpose="transactional"))
    body = sent(route)
    assert body["content"] == [{"type": "text/plain", "value": "Hello\n"}]
    assert body["from"] == {"email": "hello@fernhill.example.com"}
    assert not any(name.startswith("List-") for name in body["headers"])
    assert body["tracking_settings"]["open_tracking"] == {"enable": True}
    assert body["tracking_settings"]["click_tracking"]["enable"] is True
    assert "asm" not in body


@pytest.mark.parametrize(
    ("status", "field", "kind"),
    [
        (400, "personalizations.0.to.0.email", BadAddress),
        (400, "from.email", NeverAgain),
        (400, None, NeverAgain),
        (401, None, NeverAgain),
        (403, "personalizations.0.to.0.email", NeverAgain),
        (413, None, NeverAgain),
        (429, None, TryAgain),
        (503, None, TryAgain),
        (500, None, Unknown),
        (504, None, Unknown),
        (202, None, Unknown),
    ],
)
@respx.mock
async def test_refusals(sendgrid: SendGrid, status: int, field: str | None, kind: type[ConnectorError]) -> None:
    errors = [{"message": "alice@example.com is wrong, SG.t0ken", "field": field, "help": None}]
    route = respx.post(SEND).respond(status, json={"errors": errors, "id": "req-1"})
    with pytest.raises(kind) as caught:
        await sendgrid.send(MESSAGE)
    assert isinstance(caught.value, BadAddress) is (kind is BadAddress)
    assert caught.value.request_id == "req-1"
    if status != 202:
        assert caught.value.reason == f"{status} {field or ''}".strip()
    assert "alice" not in str(caught.value)
    assert "t0ken" not in str(caught.value)
    assert route.call_count == 1


@respx.mock
async def test_a_lost_answer_is_unknown_and_not_repeated(sendgrid: SendGrid) -> None:
    route = respx.post(SEND).mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(Unknown):
        await sendgrid.send(MESSAGE)
    assert route.call_count == 1


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        ({"retry-after": "7", "x-ratelimit-reset": "99999999999"}, timedelta(seconds=7)),
        ({"x-ratelimit-reset": "99999999999"}, timedelta(hours=1)),
        ({"x-ratelimit-reset": "1000000000"}, None),
        ({"x-ratelimit-reset": "soon"}, None),
        ({}, None),
    ],
)
@respx.mock
async def test_a_limit_names_its_delay(sendgrid: SendGrid, headers: dict[str, str], delay: timedelta | None) -> None:
    respx.post(SEND).respond(429, headers=headers)
    with pytest.raises(TryAgain) as caught:
        await sendgrid.send(MESSAGE)
    assert caught.value.delay == delay


@pytest.mark.parametrize(
    ("change", "kind", "field"),
    [
        ({"subject": "a\r\nBcc: eve@example.com"}, NeverAgain, "subject"),
        ({"subject": " "}, NeverAgain, "subject is empty"),
        ({"text": "", "html": None}, NeverAgain, "text is empty"),
        ({"unsubscribe_url": "ftp://example.com"}, NeverAgain, "unsubscribe_url"),
        ({"html": "ü" * (15 * 1024 * 1024)}, NeverAgain, "html"),
        ({"to": "a@example.com,b@example.com"}, BadAddress, "recipient"),
    ],
)
async def test_what_may_not_go_out_is_named(
    sendgrid: SendGrid, change: dict[str, Any], kind: type[NeverAgain], field: str
) -> None:
    with respx.mock, pytest.raises(kind, match=field):  # no route: a call would fail the test
        await sendgrid.send(replace(MESSAGE, **change))


async def test_without_settings_nothing_is_asked() -> None:
    with respx.mock:
        with pytest.raises(NeverAgain, match="SENDGRID_API_KEY"):
            await SendGrid(settings(api_key=None), from_address=FROM).send(MESSAGE)
        with pytest.raises(NeverAgain, match="PERENNIAL_MAIL_FROM"):
            await SENDGRID.send(MESSAGE)
    with pytest.raises(ValueError, match="is not a sender"):
        SendGrid(settings(), from_address="nobody")


async def test_it_cannot_be_asked_what_became_of_a_message(sendgrid: SendGrid) -> None:
    assert sendgrid.listed_within is None
    with pytest.raises(NeverAgain):
        await sendgrid.look_up(MESSAGE.key)
