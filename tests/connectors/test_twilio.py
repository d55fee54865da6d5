"""Twilio: signatures over URL and form, statuses in any order, STOP and START, and what is sent."""

import base64
import hashlib
import hmac
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors import http
from connectors.base import Accepted, Message, Refused, Replies, Request, Sender, Source
from connectors.errors import BadAddress, ConnectorError, NeverAgain, OptedOut, TryAgain, Unknown
from connectors.twilio import LONGEST_TEXT, RANKS, Twilio, TwilioSettings
from contacts.events import Event

ACCOUNT = "AC" + "0" * 32
SERVICE = "MG" + "1" * 32
SID = "SM" + "2" * 32
TOKEN = "auth-token-of-the-account"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/twilio"
KEY = "0b5a-11/greet_them/2"
MESSAGES = f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
MESSAGE = Message(KEY, "+4930901820", "Reminder", "Your call with Fernhill is at 10:00.")


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> Twilio:
    given = {"account_sid": ACCOUNT, "auth_token": TOKEN, "from_number": "+4930901800", **settings}
    return Twilio(TwilioSettings(_env_file=None, **given), client)


TWILIO = made()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http.new_client() as client:
        yield client


def mac(text: str, token: str = TOKEN) -> str:
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def request(fields: dict[str, Any] | list[tuple[str, str]], url: str = URL, signature: str | None = None) -> Request:
    return Request("POST", url, {"x-twilio-signature": signature} if signature else {}, urlencode(fields).encode())


def signed(fields: dict[str, str], url: str = URL, token: str = TOKEN, signed_url: str | None = None) -> Request:
    text = (signed_url or url) + "".join(name + fields[name] for name in sorted(fields))
    return request(fields, url, mac(text, token))


def refusal(given: Request, twilio: Twilio = TWILIO) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        twilio.verify(given, NOW)
    return caught.value.status, caught.value.reason


def status(status: str, url: str = f"{URL}?touch=0b5a-11--greet_them--2", **more: str) -> Request:
    head = {"MessageSid": SID, "SmsSid": SID, "SmsStatus": status, "MessageStatus": status, "To": "+4930901820"}
    return request({**head, "From": "+4930901800", "AccountSid": ACCOUNT, "ApiVersion": "2010-04-01", **more}, url)


def inbound(body: str, **more: str) -> Request:
    head = {"MessageSid": SID, "SmsStatus": "received", "From": "+4930901820", "To": "+4930901800", "Body": body}
    return request({**head, "NumMedia": "0", "AccountSid": ACCOUNT, **more})


def only(given: Request) -> Event:
    (event,) = TWILIO.parse(given, NOW)
    return event


def who(event: Event) -> set[tuple[str, str]]:
    return {(i.kind, i.value) for i in event.identities}


def test_what_it_is() -> None:
    assert isinstance(TWILIO, Source)
    assert isinstance(TWILIO, Sender)
    assert isinstance(TWILIO, Replies)
    assert (TWILIO.idempotent, TWILIO.listed_within) == (False, None)


FIELDS = {"To": "+4930901800", "From": "+4930901820", "Body": "Grüße & mehr", "NumMedia": "0", "City": ""}


class TestSignature:
    def test_over_the_address_and_the_sorted_fields(self) -> None:
        TWILIO.verify(signed(FIELDS), NOW)
        TWILIO.verify(signed(dict(reversed(FIELDS.items())), f"{URL}?touch=a--b--1"), NOW)
        TWILIO.verify(signed({}), NOW)

    def test_a_vector_worked_out_apart_from_this_code(self) -> None:
        # printf %s '<URL>BodyHiFrom+49A' | openssl dgst -sha1 -hmac <TOKEN> -binary | base64
        vector = "mDC8Ci1tBfdJVyyOmje7K8ZJSXY="
        TWILIO.verify(request({"From": "+49A", "Body": "Hi"}, signature=vector), NOW)

    @pytest.mark.parametrize(
        ("called", "signed_url"),
        [
            ("https://hub.example.com/x", "https://hub.example.com:443/x"),
            ("https://hub.example.com:443/x", "https://hub.example.com/x"),
            ("http://hub.example.com/x?a=b", "http://hub.example.com:80/x?a=b"),
            ("https://hub.example.com:8443/x", "https://hub.example.com/x"),
            ("https://hub.example.com:8443/x", "https://hub.example.com:8443/x"),
        ],
    )
    def test_with_and_without_the_port(self, called: str, signed_url: str) -> None:
        TWILIO.verify(signed(FIELDS, called, signed_url=signed_url), NOW)

    def test_a_name_with_several_values(self) -> None:
        pairs = [("Media", "b"), ("Media", "a"), ("Media", "b"), ("Body", "")]
        TWILIO.verify(request(pairs, signature=mac(f"{URL}BodyMediaaMediab")), NOW)

    def test_whatever_is_altered_is_refused(self) -> None:
        good = signed(FIELDS, f"{URL}?touch=a")
        for forged in (
            signed(FIELDS, token="other"),
            Request("POST", f"{URL}?touch=b", good.headers, good.body),
            Request("POST", "https://other.example.com/webhooks/twilio?touch=a", good.headers, good.body),
            Request("POST", good.url, good.headers, good.body + b"&a=b"),
            Request("POST", good.url, good.headers, good.body.replace(b"City=", b"")),
            Request("POST", good.url, good.headers, b""),
            Request("POST", good.url, {}, good.body),
            signed(FIELDS, signed_url="https://hub.example.com:80/webhooks/twilio"),
        ):
            assert refusal(forged)[0] == 401

    def test_json_is_covered_by_a_digest_in_the_address(self) -> None:
        body = json.dumps({"MessageSid": SID, "MessageStatus": "delivered", "To": "+4930901820"}).encode()
        url = f"{URL}?bodySHA256={hashlib.sha256(body).hexdigest()}"
        good = Request("POST", url, {"x-twilio-signature": mac(url)}, body)
        TWILIO.verify(good, NOW)
        assert only(good).type == "message.delivered"
        assert refusal(Request("POST", url, good.headers, body + b" ")) == (
            401,
            "the body is not the one bodySHA256 names",
        )
        # A digest that is not signed covers nothing, and a body without a digest is a form whatever it says it is.
        plain = Request("POST", URL, {"x-twilio-signature": mac(URL), "content-type": "application/json"}, body)
        assert refusal(plain)[0] == 401
        assert refusal(Request("POST", url, {"x-twilio-signature": mac(URL)}, body))[0] == 401

    def test_both_tokens_while_one_replaces_the_other(self) -> None:
        made(auth_token=f"other, {TOKEN}").verify(signed(FIELDS), NOW)
        Twilio(TwilioSettings(_env_file=None, signing_secret=TOKEN)).verify(signed(FIELDS), NOW)

    def test_without_a_token_everything_is_refused(self) -> None:
        said = refusal(signed(FIELDS), made(auth_token=None, api_key="SK1", api_key_secret=TOKEN))
        assert (said[0], "no signing secret" in said[1]) == (401, True)

    @pytest.mark.parametrize("body", [b"Body=%ff", b"&".join(b"a=b" for _ in range(501)), b"Body=\xff"])
    def test_a_body_that_is_no_form(self, body: bytes) -> None:
        status, reason = refusal(Request("POST", URL, {"x-twilio-signature": "x"}, body))
        assert status in (400, 401)
        assert "form" in reason or "signature" in reason


TEXT = st.text(alphabet=st.characters(), max_size=40)


@given(TEXT, TEXT, st.binary(max_size=60))
def test_junk_is_refused(query: str, signature: str, body: bytes) -> None:
    for raw in (body, quote(body).encode(), b"MessageStatus=" + body, b"Body=" + body + b"&From=" + body):
        with pytest.raises(Refused):
            TWILIO.verify(Request("POST", f"{URL}?{query}", {"x-twilio-signature": signature}, raw), NOW)


NAMES = st.sampled_from(
    ["MessageSid", "MessageStatus", "Body", "From", "To", "ErrorCode", "OptOutType", "NumMedia", "x"]
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(
    st.dictionaries(NAMES, st.sampled_from(["failed", "STOP", "21610", "whatsapp:+4930901820"]) | st.text()),
    st.dictionaries(NAMES, ANY) | ANY,
    st.binary(),
    TEXT,
)
def test_junk_bodies_parse_or_raise_a_value_error(form: dict[str, str], document: Any, raw: bytes, query: str) -> None:
    digest = f"{URL}?bodySHA256=0"
    for arriving in (
        request({name: value.encode(errors="replace") for name, value in form.items()}),
        Request("POST", digest, {}, json.dumps(document).encode()),
        Request("POST", digest, {}, raw),
        Request("POST", f"{URL}?{query}", {}, raw),
    ):
        try:
            TWILIO.parse(arriving, NOW)
        except ValueError as error:
            assert "\n" not in str(error)


def test_a_message_was_delivered() -> None:
    event = only(status("delivered", RawDlrDoneDate="2603020859"))
    assert (event.type, event.source, event.source_id) == ("message.delivered", "twilio", f"{SID}:delivered")
    assert event.occurred_at == NOW
    assert event.data == {
        "touch": KEY, "channel": "sms", "machine": False, "message_id": SID, "status": "delivered", "rank": 6,
    }  # fmt: skip
    assert who(event) == {("phone", "+4930901820")}


@pytest.mark.parametrize(
    ("code", "permanent"),
    [("30005", True), ("21211", True), ("21614", True), ("30003", False), ("30006", False), ("30007", False)],
)
@pytest.mark.parametrize("word", ["failed", "undelivered"])
def test_a_message_was_not_delivered(word: str, code: str, permanent: bool) -> None:
    event = only(status(word, ErrorCode=code))
    assert event.type == "message.bounced"
    assert (event.data["permanent"], event.data["reason"], event.data["address"]) == (permanent, code, "+4930901820")
    assert (event.data["touch"], event.data["channel"]) == (KEY, "sms")


def test_a_failure_without_a_code_is_not_for_ever() -> None:
    event = only(status("failed"))
    assert event.data["permanent"] is False
    assert "reason" not in event.data


def test_a_failure_because_the_person_had_opted_out() -> None:
    bounced, withdrawn = TWILIO.parse(status("failed", ErrorCode="21610"), NOW)
    assert (bounced.type, bounced.data["permanent"]) == ("message.bounced", False)
    assert (withdrawn.type, withdrawn.data["channel"], withdrawn.data["purpose"]) == ("consent.withdrawn", "sms", "all")
    assert len({bounced.source_id, withdrawn.source_id}) == 2
    assert who(withdrawn) == {("phone", "+4930901820")}


@pytest.mark.parametrize("word", sorted(RANKS))
def test_every_status_is_an_event_of_its_own(word: str) -> None:
    event = only(status(word))
    named = {"delivered": "message.delivered", "read": "message.opened"}
    bounced = dict.fromkeys(("failed", "undelivered"), "message.bounced")
    assert event.type == {**named, **bounced}.get(word, "custom.sms_status")
    assert (event.source_id, event.data["status"], event.data["touch"]) == (f"{SID}:{word}", word, KEY)


def test_no_order_of_arrival_matters() -> None:
    words = ["queued", "sending", "sent", "delivered", "read"]
    for order in itertools.permutations(words):
        events = {e.source_id: e for word in (*order, *order) for e in TWILIO.parse(status(word), NOW)}
        assert len(events) == len(words)
        assert max(events.values(), key=lambda e: e.data["rank"]).data["status"] == "read"
    assert RANKS["sent"] < RANKS["failed"] < RANKS["delivered"] < RANKS["read"]
    assert RANKS["queued"] < RANKS["sending"] < RANKS["sent"]


def test_what_is_none_of_ours_or_unknown() -> None:
    assert "touch" not in only(status("delivered", URL)).data
    assert TWILIO.parse(status("levitated"), NOW) == []
    assert TWILIO.parse(request({"CallSid": "CA1", "CallStatus": "completed"}), NOW) == []
    assert who(only(status("sent", To="rcs:+4930901820"))) == {("phone", "+4930901820")}
    assert who(only(status("sent", To="12345"))) == set()


def test_an_answer() -> None:
    event = only(inbound("Can we do 11 instead?"))
    assert (event.type, event.source_id, event.occurred_at) == ("message.replied", SID, NOW)
    assert event.data == {"channel": "sms", "machine": False, "message_id": SID, "text": "Can we do 11 instead?"}
    assert who(event) == {("phone", "+4930901820")}
    assert only(inbound("", NumMedia="2")).data["media"] == "2"


@pytest.mark.parametrize(
    ("body", "named", "type"),
    [
        ("STOP", "STOP", "consent.withdrawn"),
        ("stop", "", "consent.withdrawn"),
        (" Stop. ", "", "consent.withdrawn"),
        ("Unsubscribe", "", "consent.withdrawn"),
        ("opt out", "", "consent.withdrawn"),
        ("quit", "", "consent.withdrawn"),
        ("Abbestellen", "STOP", "consent.withdrawn"),
        ("START", "START", "consent.granted"),
        ("unstop", "", "consent.granted"),
        ("HELP", "HELP", "custom.sms_help"),
        ("info", "", "custom.sms_help"),
        ("YES", "", "message.replied"),
        ("stop by at ten?", "", "message.replied"),
        ("", "", "message.replied"),
    ],
)
def test_keywords(body: str, named: str, type: str) -> None:
    event = only(inbound(body, **({"OptOutType": named} if named else {})))
    assert event.type == type
    assert event.source_id == SID
    assert event.data["channel"] == "sms"
    if type.startswith("consent."):
        assert event.data["purpose"] == "all"
        assert SID in event.data["evidence"]
        assert "+49" not in event.data["evidence"]


def test_on_another_channel_a_no_counts_and_a_yes_does_not() -> None:
    withdrawn = only(inbound("STOP", From="whatsapp:+4930901820"))
    assert (withdrawn.type, withdrawn.data["channel"]) == ("consent.withdrawn", "sms")
    assert who(withdrawn) == {("phone", "+4930901820")}
    assert TWILIO.parse(inbound("START", From="whatsapp:+4930901820"), NOW) == []


def test_a_field_that_comes_twice_cannot_be_told_apart() -> None:
    pairs = [("MessageSid", SID), ("MessageStatus", "sent"), ("To", "+4930901820"), ("To", "+4930901821")]
    with pytest.raises(ValueError, match=r"^To: has two values$"):
        TWILIO.parse(request(pairs), NOW)
    assert only(request([*pairs[:3], pairs[2]])).type == "custom.sms_status"


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"^MessageSid: "):
        TWILIO.parse(request({"MessageStatus": "sent"}), NOW)
    with pytest.raises(ValueError, match=r"^From: "):
        TWILIO.parse(request({"MessageSid": SID, "Body": "x"}), NOW)


def test_the_answer_sends_nothing_back() -> None:
    reply = TWILIO.reply(inbound("Hello"))
    assert (reply.status, reply.media_type) == (200, "text/xml")
    assert reply.body.endswith(b"<Response/>")


CALLBACK = "https://hub.example.com/webhooks/twilio"


def form(route: respx.Route) -> dict[str, list[str]]:
    return parse_qs(route.calls.last.request.content.decode(), keep_blank_values=True)


@respx.mock
async def test_a_message_goes_out(client: httpx.AsyncClient) -> None:
    route = respx.post(MESSAGES).respond(201, json={"sid": SID, "status": "queued"})
    twilio = made(client, status_callback=CALLBACK, validity_seconds=600)
    assert await twilio.send(MESSAGE) == Accepted(SID)
    assert form(route) == {
        "To": ["+4930901820"],
        "Body": [MESSAGE.text],
        "From": ["+4930901800"],
        "ValidityPeriod": ["600"],
        "StatusCallback": [f"{CALLBACK}?touch=0b5a-11--greet_them--2#rc=5&rp=all"],
    }
    pair = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
    assert route.calls.last.request.headers["authorization"] == f"Basic {pair}"


@respx.mock
async def test_the_key_comes_back_with_every_status(client: httpx.AsyncClient) -> None:
    route = respx.post(MESSAGES).respond(201, json={"sid": SID})
    await made(client, status_callback=CALLBACK).send(replace(MESSAGE, key="run 7/grüße&co/0"))
    called = form(route)["StatusCallback"][0].partition("#")[0]
    assert only(status("sent", called)).data["touch"] == "run 7/grüße&co/0"


@respx.mock
async def test_a_service_sends_and_an_api_key_calls(client: httpx.AsyncClient) -> None:
    route = respx.post(MESSAGES).respond(201, json={"sid": SID})
    given = {"messaging_service_sid": SERVICE, "from_number": None, "api_key": "SK9", "api_key_secret": "key-secret"}
    await made(client, **given).send(MESSAGE)
    sent = form(route)
    assert sent["MessagingServiceSid"] == [SERVICE]
    assert not {"From", "StatusCallback"} & sent.keys()
    assert route.calls.last.request.headers["authorization"] == "Basic " + base64.b64encode(b"SK9:key-secret").decode()
    await made(client, auth_token=f"{TOKEN},old-token").send(MESSAGE)
    assert base64.b64decode(route.calls.last.request.headers["authorization"][6:]).decode() == f"{ACCOUNT}:{TOKEN}"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, 21211, BadAddress),
        (400, 21614, BadAddress),
        (400, 21610, OptedOut),
        (400, 21408, NeverAgain),
        (400, 21606, NeverAgain),
        (401, 20003, NeverAgain),
        (404, 20404, NeverAgain),
        (429, 20429, TryAgain),
        (500, 20500, Unknown),
        (503, 20503, Unknown),
    ],
)
@respx.mock
async def test_each_refusal(client: httpx.AsyncClient, status: int, code: int, kind: type[ConnectorError]) -> None:
    prose = "The number +4930901820 is not one we like"
    headers = {"twilio-request-id": "RQ1", **({"retry-after": "7"} if status == 429 else {})}
    respx.post(MESSAGES).respond(status, json={"code": code, "message": prose, "status": status}, headers=headers)
    with pytest.raises(kind) as caught:
        await made(client).send(MESSAGE)
    assert type(caught.value) in (kind, http.Rejected)
    assert (caught.value.reason, caught.value.request_id) == (f"{status} {code}", "RQ1")
    for secret in (TOKEN, "+4930901820", MESSAGE.text):
        assert secret not in repr(caught.value) + str(caught.value)
    if isinstance(caught.value, TryAgain):
        assert caught.value.delay is not None
        assert caught.value.delay.total_seconds() == 7


@respx.mock
async def test_an_answer_that_says_nothing(client: httpx.AsyncClient) -> None:
    respx.post(MESSAGES).mock(side_effect=[httpx.ReadTimeout(""), httpx.Response(201, json={"sid": None})])
    for _ in range(2):
        with pytest.raises(Unknown):
            await made(client).send(MESSAGE)
    respx.post(MESSAGES).respond(400, text="<html>")
    with pytest.raises(NeverAgain) as caught:
        await made(client).send(MESSAGE)
    assert caught.value.reason == "400"


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"to": "030901820"}, BadAddress, "phone number"),
        ({"to": ""}, BadAddress, "phone number"),
        ({"to": "whatsapp:+4930901820"}, BadAddress, "phone number"),
        ({"to": "+4930901820\n"}, BadAddress, "phone number"),
        ({"text": " \n"}, NeverAgain, "text is empty"),
        ({"text": "a\x07b"}, NeverAgain, "text holds a control character"),
        ({"text": "half an emoji \ud83d"}, NeverAgain, "text: holds a character that cannot be sent"),
        ({"text": "x" * (LONGEST_TEXT + 1)}, NeverAgain, "text: is longer than 1,600 characters of UTF-16"),
        ({"text": "😀" * 801}, NeverAgain, "text: is longer than 1,600 characters of UTF-16"),
    ],
)
@respx.mock
async def test_what_is_refused_before_a_call(
    client: httpx.AsyncClient, changes: dict[str, str], kind: type[NeverAgain], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        await made(client).send(replace(MESSAGE, **changes))
    assert type(caught.value) is kind
    assert not respx.calls


@respx.mock
async def test_the_longest_text(client: httpx.AsyncClient) -> None:
    route = respx.post(MESSAGES).respond(201, json={"sid": SID})
    for text in ("x" * LONGEST_TEXT, "😀" * 800, "two\nlines"):
        await made(client).send(replace(MESSAGE, text=text))
        assert form(route)["Body"] == [text]


@pytest.mark.parametrize(
    ("without", "variable"),
    [("account_sid", "TWILIO_ACCOUNT_SID"), ("auth_token", "TWILIO_AUTH_TOKEN"), ("from_number", "TWILIO_FROM_NUMBER")],
)
async def test_what_is_not_set_is_named(without: str, variable: str) -> None:
    with pytest.raises(NeverAgain, match=variable):
        await made(**{without: None}).send(MESSAGE)


async def test_it_never_says_whether_it_has_a_message() -> None:
    with pytest.raises(NeverAgain):
        await TWILIO.look_up(KEY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("account_sid", "SK" + "0" * 32),
        ("messaging_service_sid", "MG1"),
        ("from_number", "+49 30 901820"),
        ("status_callback", "https://hub_1.example.com/webhooks/twilio"),
        ("status_callback", f"{CALLBACK}?a=b"),
        ("status_callback", f"{CALLBACK}#rc=1"),
        ("validity_seconds", 0),
        ("validity_seconds", 36_001),
    ],
)
def test_settings_that_twilio_would_not_take(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name) as caught:
        made(**{name: value})
    assert TOKEN not in str(caught.value)
