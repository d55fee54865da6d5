"""Postmark: its login, its notices, what goes on the wire, and what it says when it is looked up."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors import http
from connectors.base import Accepted, Message, Refused, Request, Sender, Sink, Source, Told
from connectors.errors import BadAddress, ConnectorError, NeverAgain, OptedOut, TryAgain, Unknown
from connectors.mail import message_id
from connectors.postmark import SETTLED, Postmark, PostmarkSettings
from contacts.events import Event, identities

API = "https://api.postmarkapp.com"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/postmark"
FROM = "Fernhill Studio <hello@fernhill.example.com>"
LOGIN = "perennial:s3cret-of-this-hook"
MESSAGE = Message(
    key="5c1b6f0e-0000-4000-8000-000000000001/greet/1",
    to="alice@example.com",
    subject="Grüße",
    text="Hello\n",
    html="<p>Grüße</p>",
    unsubscribe_url="https://hub.example.com/u/t0ken",
    metadata={"journey": "welcome", "template": "welcome_second"},
)


def settings(**given: Any) -> PostmarkSettings:
    return PostmarkSettings(_env_file=None, **{"server_token": "server-t0ken", "webhook_login": LOGIN, **given})


POSTMARK = Postmark(settings())


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http.new_client() as client:
        yield client


@pytest.fixture
async def postmark(client: httpx.AsyncClient) -> Postmark:
    return Postmark(settings(), client, from_address=FROM)


def arriving(login: str | None = LOGIN, body: bytes = b"{}", scheme: str = "Basic") -> Request:
    headers = {} if login is None else {"authorization": f"{scheme} {base64.b64encode(login.encode()).decode()}"}
    return Request("POST", URL, headers, body)


def refusal(request: Request, postmark: Postmark = POSTMARK) -> Refused:
    with pytest.raises(Refused) as caught:
        postmark.verify(request, NOW)
    return caught.value


def notice(kind: str, **fields: Any) -> Request:
    common = {
        "RecordType": kind,
        "MessageID": "0a1b2c3d-0000-4000-8000-00000000000f",
        "MessageStream": "broadcast",
        "ServerID": 7,
        "Metadata": {"touch": MESSAGE.key},
        "Tag": "",
    }
    return Request("POST", URL, {}, json.dumps({**common, **fields}).encode())


def only(request: Request) -> Event:
    (event,) = POSTMARK.parse(request, NOW)
    return event


DELIVERY = {"Recipient": "Alice@Example.com", "DeliveredAt": "2026-03-02T08:59:58.1234567Z", "Details": "250 ok"}
BOUNCE = {
    "ID": 4711,
    "Type": "HardBounce",
    "TypeCode": 1,
    "Email": "alice@example.com",
    "BouncedAt": "2026-03-02T08:59:58Z",
    "Details": "smtp;550 5.1.1 no such user alice@example.com",
    "Inactive": True,
}


def test_it_is_a_source_and_a_sender() -> None:
    assert isinstance(POSTMARK, Source)
    assert isinstance(POSTMARK, Sender)


def test_a_login() -> None:
    POSTMARK.verify(arriving(), NOW)
    POSTMARK.verify(arriving(scheme="basic"), NOW)
    Postmark(settings(webhook_login=f"old:one, {LOGIN}")).verify(arriving(), NOW)
    Postmark(settings(webhook_login=f"old:one, {LOGIN}")).verify(arriving("old:one"), NOW)


@pytest.mark.parametrize("login", ["perennial:other", "perennial", "", f"{LOGIN} ", "other:s3cret-of-this-hook"])
def test_another_login_is_refused(login: str) -> None:
    said = refusal(arriving(login))
    assert (said.status, "does not match" in said.reason) == (401, True)
    assert "s3cret" not in said.reason


def test_no_login_is_refused() -> None:
    assert refusal(arriving(None)).status == 401
    assert refusal(arriving(scheme="Bearer")).status == 401
    plain = Request("POST", URL, {"authorization": f"Basic {LOGIN}"}, b"{}")
    assert refusal(plain).status == 401


def test_without_a_login_set_everything_is_refused() -> None:
    said = refusal(arriving(), Postmark(settings(webhook_login=None)))
    assert (said.status, "no signing secret" in said.reason) == (401, True)


@pytest.mark.parametrize("login", ["perennial", "perennial:", ":s3cret", f"{LOGIN},s3cret"])
def test_a_login_has_two_halves(login: str) -> None:
    with pytest.raises(ValidationError, match="is not user:password") as caught:
        settings(webhook_login=login)
    assert "s3cret" not in str(caught.value)


@given(st.text(), st.binary())
def test_junk_is_refused(authorization: str, body: bytes) -> None:
    with pytest.raises(Refused):
        POSTMARK.verify(Request("POST", URL, {"authorization": authorization}, body), NOW)


def test_delivered() -> None:
    event = only(notice("Delivery", **DELIVERY))
    assert (event.type, event.source) == ("message.delivered", "postmark")
    assert event.occurred_at == datetime(2026, 3, 2, 8, 59, 58, 123456, tzinfo=UTC)
    assert [(i.kind, i.value) for i in event.identities] == [("email", "alice@example.com")]
    assert event.data == {
        "touch": MESSAGE.key,
        "channel": "email",
        "machine": False,
        "message_id": "0a1b2c3d-0000-4000-8000-00000000000f",
        "stream": "broadcast",
        "address": "Alice@Example.com",
    }


@pytest.mark.parametrize(
    ("kind", "inactive", "type", "permanent"),
    [
        ("HardBounce", True, "message.bounced", True),
        ("HardBounce", False, "message.bounced", False),
        ("BadEmailAddress", True, "message.bounced", True),
        ("SoftBounce", False, "message.bounced", False),
        ("Transient", False, "message.bounced", False),
        ("Blocked", False, "message.bounced", False),
        ("DMARCPolicy", False, "message.bounced", False),
        ("SpamComplaint", True, "message.complained", None),
        ("Unsubscribe", True, "message.unsubscribed", None),
    ],
)
def test_what_came_back(kind: str, inactive: bool, type: str, permanent: bool | None) -> None:
    event = only(notice("Bounce", **{**BOUNCE, "Type": kind, "Inactive": inactive}))
    assert (event.type, event.data.get("permanent")) == (type, permanent)
    assert event.data["address"] == "alice@example.com"
    if type != "message.complained":
        assert event.data["reason"] == kind
    assert "no such user" not in str(event.data)


@pytest.mark.parametrize("kind", ["AutoResponder", "Subscribe", "ChallengeVerification"])
def test_an_answer_is_no_bounce(kind: str) -> None:
    assert POSTMARK.parse(notice("Bounce", **{**BOUNCE, "Type": kind, "Inactive": False}), NOW) == []


def test_complained() -> None:
    event = only(notice("SpamComplaint", **{**BOUNCE, "Type": "SpamComplaint"}))
    assert (event.type, event.data["touch"]) == ("message.complained", MESSAGE.key)


def test_opened_and_clicked() -> None:
    at = "2026-03-02T09:00:00Z"
    opened = only(notice("Open", Recipient="alice@example.com", ReceivedAt=at, FirstOpen=True))
    assert (opened.type, opened.data["first"], opened.occurred_at) == ("message.opened", True, NOW)
    link = "https://fernhill.example.com/pricing"
    clicked = only(notice("Click", Recipient="alice@example.com", ReceivedAt=at, OriginalLink=link))
    assert (clicked.type, clicked.data["url"]) == ("message.clicked", link)


@pytest.mark.parametrize(
    ("reason", "origin", "type"),
    [
        ("ManualSuppression", "Recipient", "message.unsubscribed"),
        ("ManualSuppression", "Customer", "message.unsubscribed"),
        (None, "Admin", "message.unsubscribed"),
        ("HardBounce", "Recipient", "message.bounced"),
        ("SpamComplaint", "Recipient", "message.complained"),
    ],
)
def test_put_on_a_streams_list(reason: str | None, origin: str, type: str) -> None:
    at = "2026-03-02T09:00:00Z"
    change = {"Recipient": "alice@example.com", "ChangedAt": at, "SuppressionReason": reason, "Origin": origin}
    event = only(notice("SubscriptionChange", SuppressSending=True, **change))
    assert (event.type, event.data["origin"], event.data["stream"]) == (type, origin, "broadcast")
    assert event.data.get("permanent") is (True if type == "message.bounced" else None)
    assert "purpose" not in event.data  # a stream carries more than one purpose: all of them are withdrawn


def test_taken_off_a_streams_list_takes_mail_again_and_is_no_yes() -> None:
    change = {"Recipient": "Alice@example.com", "ChangedAt": "2026-03-02T09:00:00Z", "Origin": "Customer"}
    event = only(notice("SubscriptionChange", SuppressSending=False, **change))
    assert (event.type, event.occurred_at) == ("address.reactivated", NOW)
    assert (event.data["address"], event.data["channel"]) == ("Alice@example.com", "email")
    assert [i.value for i in event.identities] == ["alice@example.com"]


@pytest.mark.parametrize("kind", ["SMTPApiError", "Inbound", "", "delivery"])
def test_other_records_mean_nothing(kind: str) -> None:
    assert POSTMARK.parse(notice(kind), NOW) == []
    assert POSTMARK.parse(Request("POST", URL, {}, b'{"From": "bob@example.com", "Subject": "inbound"}'), NOW) == []


def test_a_repeat_is_the_same_event_and_nothing_else_is() -> None:
    first = only(notice("Delivery", **DELIVERY))
    assert only(notice("Delivery", **{**DELIVERY, "Details": "retried"})).source_id == first.source_id
    at = "2026-03-02T08:59:58.1234567Z"
    others = [
        only(notice("Delivery", **{**DELIVERY, "Recipient": "bob@example.com"})),
        only(notice("Delivery", **{**DELIVERY, "DeliveredAt": "2026-03-02T08:59:59Z"})),
        only(notice("Delivery", **DELIVERY, MessageID="another")),
        only(notice("Open", Recipient="alice@example.com", ReceivedAt=at)),
        only(notice("Click", Recipient="alice@example.com", ReceivedAt=at, OriginalLink="https://example.com/1")),
        only(notice("Click", Recipient="alice@example.com", ReceivedAt=at, OriginalLink="https://example.com/2")),
        only(notice("Bounce", **BOUNCE)),
        only(notice("Bounce", **{**BOUNCE, "ID": 4712})),
    ]
    ids = {first.source_id, *(event.source_id for event in others)}
    assert len(ids) == 9
    assert not any("alice" in id or len(id) > 255 for id in ids)


def test_a_notice_without_a_time_is_named() -> None:
    with pytest.raises(ValueError, match=r"^the notice has no time$"):
        POSTMARK.parse(notice("Delivery", Recipient="alice@example.com"), NOW)
    with pytest.raises(ValueError, match=r"^DeliveredAt: "):
        POSTMARK.parse(notice("Delivery", **{**DELIVERY, "DeliveredAt": "yesterday"}), NOW)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        POSTMARK.parse(Request("POST", URL, {}, raw), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    *("MessageID", "Recipient", "Email", "ID", "Type", "Metadata", "DeliveredAt", "BouncedAt", "ReceivedAt"),
    *("ChangedAt", "SuppressSending", "SuppressionReason", "Origin", "OriginalLink", "MessageStream"),
]


@given(
    st.sampled_from(["Delivery", "Bounce", "SpamComplaint", "Open", "Click", "SubscriptionChange"]),
    st.dictionaries(st.sampled_from(FIELDS), JSON),
)
def test_junk_bodies_parse_or_raise_a_value_error(kind: str, fields: dict[str, Any]) -> None:
    base = {**DELIVERY, **BOUNCE, "ReceivedAt": "2026-03-02T09:00:00Z", "ChangedAt": "2026-03-02T09:00:00Z"}
    try:
        POSTMARK.parse(notice(kind, **{**base, **fields}), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


TAKEN = {"ErrorCode": 0, "Message": "OK", "MessageID": "pm-1", "To": MESSAGE.to, "SubmittedAt": "2026-03-02T09:00:00Z"}


def sent(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


@respx.mock
async def test_a_mail_on_the_wire(postmark: Postmark) -> None:
    route = respx.post(f"{API}/email").respond(json=TAKEN)
    assert await postmark.send(MESSAGE) == Accepted("pm-1")
    body = sent(route)
    headers = {header["Name"]: header["Value"] for header in body.pop("Headers")}
    assert body == {
        "From": "Fernhill Studio <hello@fernhill.example.com>",
        "To": "alice@example.com",
        "Subject": "Grüße",
        "TextBody": "Hello\n",
        "HtmlBody": "<p>Grüße</p>",
        "Metadata": {"touch": MESSAGE.key, "touch_hash": body["Metadata"]["touch_hash"]},
        "MessageStream": "broadcast",
        "TrackOpens": False,
        "TrackLinks": "None",
    }
    assert headers == {
        "Message-ID": message_id(MESSAGE.key, "fernhill.example.com"),
        "X-PM-KeepID": "true",
        "Auto-Submitted": "auto-generated",
        "Feedback-ID": "welcome_second:welcome:promotional:fernhill.example.com",
        "List-Unsubscribe": "<https://hub.example.com/u/t0ken>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    assert route.calls.last.request.headers["x-postmark-server-token"] == "server-t0ken"


@respx.mock
async def test_a_stream_per_purpose_and_tracking_where_it_is_wanted(client: httpx.AsyncClient) -> None:
    route = respx.post(f"{API}/email").respond(json=TAKEN)
    chosen = settings(transactional_stream="receipts", broadcast_stream="letters", track_opens=True, track_clicks=True)
    postmark = Postmark(chosen, client, from_address=FROM)
    for purpose, stream in (("transactional", "receipts"), ("lifecycle", "letters"), ("promotional", "letters")):
        await postmark.send(replace(MESSAGE, purpose=purpose, unsubscribe_url=None, html=None))
        body = sent(route)
        assert (body["MessageStream"], body["TrackOpens"], body["TrackLinks"]) == (stream, True, "HtmlAndText")
        assert "HtmlBody" not in body
        assert not any(header["Name"].startswith("List-") for header in body["Headers"])


@pytest.mark.parametrize("length", [1, 80, 81, 255])
@respx.mock
async def test_a_key_of_any_length_comes_back_whole(postmark: Postmark, length: int) -> None:
    route = respx.post(f"{API}/email").respond(json=TAKEN)
    key = ("0123456789" * 26)[:length]
    await postmark.send(replace(MESSAGE, key=key))
    metadata = sent(route)["Metadata"]
    assert len(metadata) <= 10
    assert all(len(name) <= 20 and len(value) <= 80 for name, value in metadata.items())
    assert only(notice("Delivery", **DELIVERY, Metadata=metadata)).data["touch"] == key


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (422, 300, NeverAgain),
        (422, 405, NeverAgain),
        (401, 10, NeverAgain),
        (413, None, NeverAgain),
        (429, None, TryAgain),
        (503, 100, TryAgain),
        (500, None, Unknown),
        (502, None, Unknown),
        (200, 300, NeverAgain),
        (200, None, Unknown),
    ],
)
@respx.mock
async def test_refusals(postmark: Postmark, status: int, code: int | None, kind: type[ConnectorError]) -> None:
    prose = "You tried to send to alice@example.com with server-t0ken"
    respx.post(f"{API}/email").respond(status, json={"ErrorCode": code, "Message": prose} if code else {})
    with pytest.raises(ConnectorError) as caught:
        await postmark.send(MESSAGE)
    assert type(caught.value) in (kind, http.Rejected)
    assert isinstance(caught.value, kind)
    assert not isinstance(caught.value, BadAddress)
    assert caught.value.reason.startswith(f"{status} {code or ''}".strip())
    assert not {"alice", "t0ken", "tried"} & set(str(caught.value).split())


def suppressed(stream: str, *listed: tuple[str, str]) -> respx.Route:
    """A stream's list, as addresses and reasons."""
    items = [
        {"EmailAddress": a, "SuppressionReason": why, "Origin": "Recipient", "CreatedAt": "2026-03-01T09:00:00-05:00"}
        for a, why in listed
    ]
    return respx.get(f"{API}/message-streams/{stream}/suppressions/dump").respond(json={"Suppressions": items})


ALICE, OTHER = "Alice@Example.com", "malice@example.com"


@pytest.mark.parametrize("status", [422, 200])
@pytest.mark.parametrize(
    ("purpose", "listed", "kind", "why"),
    [
        ("lifecycle", [(ALICE, "ManualSuppression")], OptedOut, " ManualSuppression"),
        ("transactional", [(ALICE, "ManualSuppression")], OptedOut, " ManualSuppression"),
        ("lifecycle", [(ALICE, "HardBounce")], BadAddress, " HardBounce"),
        ("transactional", [(ALICE, "HardBounce")], BadAddress, " HardBounce"),
        ("promotional", [(ALICE, "SpamComplaint")], BadAddress, " SpamComplaint"),
        ("lifecycle", [(OTHER, "HardBounce"), (ALICE, "ManualSuppression")], OptedOut, " ManualSuppression"),
        ("lifecycle", [(OTHER, "HardBounce")], OptedOut, ""),
        ("transactional", [(OTHER, "HardBounce")], NeverAgain, ""),
        ("lifecycle", [(ALICE, "SomethingNew")], OptedOut, " SomethingNew"),
        ("transactional", [(ALICE, "SomethingNew")], NeverAgain, " SomethingNew"),
    ],
)
@respx.mock
async def test_why_an_address_is_inactive_decides(
    postmark: Postmark, status: int, purpose: str, listed: list[tuple[str, str]], kind: type[NeverAgain], why: str
) -> None:
    respx.post(f"{API}/email").respond(status, json={"ErrorCode": 406, "Message": "alice@example.com is inactive"})
    asked = suppressed("outbound" if purpose == "transactional" else "broadcast", *listed)
    with pytest.raises(NeverAgain) as caught:
        await postmark.send(replace(MESSAGE, purpose=purpose))
    assert type(caught.value) is kind
    assert caught.value.reason == f"{status} 406{why}"
    assert dict(asked.calls.last.request.url.params) == {"EmailAddress": MESSAGE.to}


@pytest.mark.parametrize(
    ("error", "purpose", "kind"),
    [
        (httpx.ReadTimeout("slow"), "lifecycle", TryAgain),
        (httpx.ReadTimeout("slow"), "transactional", TryAgain),
        (httpx.Response(503), "lifecycle", TryAgain),
        (httpx.Response(404), "lifecycle", OptedOut),
        (httpx.Response(404), "transactional", NeverAgain),
    ],
)
@respx.mock
async def test_a_list_that_cannot_be_read_is_no_bounce(
    postmark: Postmark, error: Any, purpose: str, kind: type[ConnectorError]
) -> None:
    """A mail that is refused has surely not gone out, so it may be tried again until the list says why."""
    respx.post(f"{API}/email").respond(422, json={"ErrorCode": 406})
    suppressed("outbound" if purpose == "transactional" else "broadcast").mock(side_effect=[error])
    with pytest.raises(ConnectorError) as caught:
        await postmark.send(replace(MESSAGE, purpose=purpose))
    assert type(caught.value) is kind


def yes(**data: Any) -> Told:
    who = identities(("email", "old@example.com"), ("email", "alice@example.com"))
    return Told("e-1", "consent.granted", NOW, "c-1", who, {"channel": "email", "purpose": "lifecycle", **data})


@respx.mock
async def test_a_yes_to_us_takes_back_the_no_said_at_postmark(postmark: Postmark) -> None:
    suppressed("broadcast", (ALICE, "ManualSuppression"))
    said = {"EmailAddress": ALICE, "Status": "Deleted", "Message": None}
    route = respx.post(f"{API}/message-streams/broadcast/suppressions/delete").respond(json={"Suppressions": [said]})
    assert isinstance(postmark, Sink)
    await postmark.tell(yes())
    assert sent(route) == {"Suppressions": [{"EmailAddress": ALICE}]}
    assert route.calls.last.request.headers["x-postmark-server-token"] == "server-t0ken"


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ({"SuppressionReason": "HardBounce"}, {}),
        ({"SuppressionReason": "SpamComplaint"}, {}),
        ({"Origin": "Customer"}, {}),
        ({"Origin": "Admin"}, {}),
        ({"CreatedAt": "2026-03-02T09:00:01Z"}, {}),
        ({"EmailAddress": OTHER}, {}),
        ({}, {"channel": "sms"}),
        ({}, {"purpose": "transactional"}),
    ],
)
@respx.mock
async def test_nothing_else_is_lifted_by_a_yes(
    postmark: Postmark, listed: dict[str, str], told: dict[str, str]
) -> None:
    """Not a bounce, not an operator's doing, not a no that is newer than the yes."""
    manual = {"SuppressionReason": "ManualSuppression", "Origin": "Recipient", "CreatedAt": "2026-03-01T09:00:00Z"}
    there = [{"EmailAddress": ALICE, **manual, **listed}]
    respx.get(f"{API}/message-streams/broadcast/suppressions/dump").respond(json={"Suppressions": there})
    assert await postmark.tell(yes(**told)) is None
    assert {call.request.method for call in respx.calls} <= {"GET"}


@respx.mock
async def test_a_no_that_postmark_keeps_is_said(postmark: Postmark) -> None:
    suppressed("broadcast", (ALICE, "ManualSuppression"))
    kept = {"EmailAddress": ALICE, "Status": "Failed", "Message": "you may not delete alice@example.com"}
    respx.post(f"{API}/message-streams/broadcast/suppressions/delete").respond(json={"Suppressions": [kept]})
    with pytest.raises(NeverAgain) as caught:
        await postmark.tell(yes())
    assert "alice" not in str(caught.value)


async def test_whoever_has_no_address_and_whatever_is_no_yes(postmark: Postmark) -> None:
    assert await postmark.tell(replace(yes(), identities=())) is None
    with pytest.raises(NeverAgain):
        await postmark.tell(replace(yes(), type="consent.withdrawn"))


@respx.mock
async def test_a_lost_answer_is_unknown_and_not_repeated(postmark: Postmark) -> None:
    route = respx.post(f"{API}/email").mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(Unknown):
        await postmark.send(MESSAGE)
    assert route.call_count == 1


@respx.mock
async def test_a_limit_names_its_delay(postmark: Postmark) -> None:
    respx.post(f"{API}/email").respond(429, headers={"retry-after": "30"})
    with pytest.raises(TryAgain) as caught:
        await postmark.send(MESSAGE)
    assert caught.value.delay == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("change", "kind", "field"),
    [
        ({"subject": "a\r\nBcc: eve@example.com"}, NeverAgain, "subject"),
        ({"subject": "x" * 901}, NeverAgain, "subject"),
        ({"unsubscribe_url": "ftp://example.com"}, NeverAgain, "unsubscribe_url"),
        ({"text": "ü" * (5 * 1024 * 512 + 1)}, NeverAgain, "text"),
        ({"html": "x" * (5 * 1024 * 1024 + 1)}, NeverAgain, "html"),
        ({"to": "a@example.com,b@example.com"}, BadAddress, "recipient"),
    ],
)
async def test_what_may_not_go_out_is_named(
    postmark: Postmark, change: dict[str, Any], kind: type[NeverAgain], field: str
) -> None:
    with respx.mock, pytest.raises(kind, match=field):  # no route: a call would fail the test
        await postmark.send(replace(MESSAGE, **change))


async def test_without_settings_nothing_is_asked() -> None:
    with respx.mock:
        with pytest.raises(NeverAgain, match="POSTMARK_SERVER_TOKEN"):
            await Postmark(settings(server_token=None), from_address=FROM).send(MESSAGE)
        with pytest.raises(NeverAgain, match="PERENNIAL_MAIL_FROM"):
            await Postmark(settings()).send(MESSAGE)
    with pytest.raises(ValueError, match="is not a sender"):
        Postmark(settings(), from_address="nobody")


class Index:
    """Postmark's list of messages, newest first; ``shows`` is what of each stream."""

    def __init__(self, **shows: list[tuple[str, datetime, str]]) -> None:
        self.shows = shows
        self.asked: list[dict[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        params = dict(request.url.params)
        self.asked.append(params)
        wanted = params.get("metadata_touch_hash")
        found = [m for m in self.shows.get(params["messagestream"], []) if wanted in (None, m[2])]
        page = [{"MessageID": id, "ReceivedAt": at.isoformat()} for id, at, _ in found[: int(params["count"])]]
        return httpx.Response(200, json={"TotalCount": len(found), "Messages": page})


@pytest.fixture
async def hash_of_key(postmark: Postmark) -> str:
    """What the message was found to carry when it went out."""
    with respx.mock:
        route = respx.post(f"{API}/email").respond(json=TAKEN)
        await postmark.send(MESSAGE)
        return str(sent(route)["Metadata"]["touch_hash"])


def looking(client: httpx.AsyncClient, index: Index, *, now: datetime = NOW) -> Postmark:
    respx.get(f"{API}/messages/outbound").mock(side_effect=index)
    return Postmark(settings(), client, from_address=FROM, now=lambda: now)


@pytest.mark.parametrize("stream", ["outbound", "broadcast"])
@respx.mock
async def test_what_is_listed_was_taken(client: httpx.AsyncClient, hash_of_key: str, stream: str) -> None:
    index = Index(**{stream: [("newer", NOW, "other"), ("pm-1", NOW, hash_of_key)]})
    assert await looking(client, index).look_up(MESSAGE.key) == Accepted("pm-1")
    assert {asked["messagestream"] for asked in index.asked} == {"outbound", "broadcast"}


# Whoever asks believes that there is no message only so long after the call began.
BELIEVED = timedelta(minutes=30)
NEW_ENOUGH = NOW - BELIEVED + SETTLED


@respx.mock
async def test_what_is_not_listed_may_not_be_listed_yet(client: httpx.AsyncClient) -> None:
    assert Postmark.listed_within == BELIEVED
    index = Index(outbound=[("other", NEW_ENOUGH - timedelta(seconds=1), "other")])
    postmark = looking(client, index)
    for _ in range(3):
        with pytest.raises(TryAgain) as caught:
            await postmark.look_up(MESSAGE.key)
        assert caught.value.delay is not None
    index.shows["broadcast"] = [("later", NEW_ENOUGH, "other")]
    assert await postmark.look_up(MESSAGE.key) is None


@respx.mock
async def test_a_list_that_was_up_to_date_once_is_not_for_ever(client: httpx.AsyncClient) -> None:
    index = Index(outbound=[("later", NEW_ENOUGH, "other")])
    times = iter([NOW, NOW + timedelta(seconds=1)])
    respx.get(f"{API}/messages/outbound").mock(side_effect=index)
    postmark = Postmark(settings(), client, now=lambda: next(times))
    assert await postmark.look_up(MESSAGE.key) is None
    with pytest.raises(TryAgain):
        await postmark.look_up(MESSAGE.key)


@respx.mock
async def test_an_empty_list_shows_nothing(client: httpx.AsyncClient) -> None:
    with pytest.raises(TryAgain):
        await looking(client, Index()).look_up(MESSAGE.key)


@respx.mock
async def test_a_list_that_catches_up_in_between_is_not_believed(client: httpx.AsyncClient, hash_of_key: str) -> None:
    caught_up = {"broadcast": [("later", NOW, "other"), ("pm-1", NOW - BELIEVED, hash_of_key)]}

    class CatchingUp(Index):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            answer = super().__call__(request)
            if len(self.asked) == 2:
                self.shows = caught_up
            return answer

    assert await looking(client, CatchingUp()).look_up(MESSAGE.key) == Accepted("pm-1")


@respx.mock
async def test_a_list_that_cannot_be_had(postmark: Postmark) -> None:
    route = respx.get(f"{API}/messages/outbound").respond(500)
    with pytest.raises(TryAgain):
        await postmark.look_up(MESSAGE.key)
    route.respond(401, json={"ErrorCode": 10, "Message": "bad token server-t0ken"})
    with pytest.raises(NeverAgain, match=r"^postmark: 401 10$"):
        await postmark.look_up(MESSAGE.key)
