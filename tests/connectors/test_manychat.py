"""ManyChat: External Requests and their answers, messages, tags and fields."""

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
from connectors.base import Accepted, Message, Refused, Replies, Request, Sender, Sink, Source, Told
from connectors.errors import BadAddress, ConnectorError, NeverAgain, OptedOut, TryAgain, Unknown
from connectors.manychat import LONGEST_TEXT, ManyChat, ManyChatSettings
from contacts.events import Event, identities

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/manychat"
API = "https://api.manychat.com/fb"
SECRET = "s3cret"
SUBSCRIBER = "12345678901234567890"


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> ManyChat:
    given = {"webhook_secret": "s3cret", "api_key": "123:key", **settings}
    return ManyChat(ManyChatSettings(_env_file=None, **given), client)


MANYCHAT = made()


@pytest.fixture
async def manychat() -> AsyncIterator[ManyChat]:
    async with http.new_client() as client:
        yield made(client)


def request(secret: str | None = SECRET, **fields: Any) -> Request:
    whole = {"type": "consent.granted", "event_id": "e-1", "subscriber_id": SUBSCRIBER, **fields}
    headers = {} if secret is None else {"x-perennial-secret": secret}
    return Request("POST", URL, headers, json.dumps(whole).encode())


def only(**fields: Any) -> Event:
    (event,) = MANYCHAT.parse(request(**fields), NOW)
    return event


def told(type: str, *who: tuple[str, object], **data: Any) -> Told:
    return Told("0b5a-11", type, NOW, "c-1", identities(*(who or (("manychat", SUBSCRIBER),))), data)


def message(**fields: Any) -> Message:
    return Message(**{"key": "run-1/greet/1", "to": SUBSCRIBER, "subject": "", "text": "Hello Alice", **fields})


def sent(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


def test_what_it_is() -> None:
    for ability in (Source, Replies, Sender, Sink):
        assert isinstance(MANYCHAT, ability)
    assert (MANYCHAT.channel, MANYCHAT.idempotent, MANYCHAT.listed_within) == ("social", False, None)


def test_the_secret() -> None:
    MANYCHAT.verify(request(), NOW)
    made(webhook_secret="old, s3cret").verify(request(), NOW)
    for wrong in ("s3cre", "s3crets", "S3CRET", "s3cret,s3cret", "", "ü", None):
        with pytest.raises(Refused) as caught:
            MANYCHAT.verify(request(wrong), NOW)
        assert caught.value.status == 401
        assert "s3cret" not in caught.value.reason
    with pytest.raises(Refused, match="no signing secret"):
        made(webhook_secret=None).verify(request(), NOW)


@given(st.text(), st.binary())
def test_junk_is_refused(secret: str, raw: bytes) -> None:
    with pytest.raises(Refused):
        MANYCHAT.verify(Request("POST", URL, {"x-perennial-secret": secret}, raw), NOW)


@given(st.binary())
def test_junk_bytes_raise_a_value_error_and_get_an_answer(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        MANYCHAT.parse(Request("POST", URL, {}, raw), NOW)
    assert MANYCHAT.reply(Request("POST", URL, {}, raw)) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["type", "event_id", "subscriber_id", "occurred_at", "email", "phone", "channel", "data", "reply"]


@given(
    st.sampled_from(["consent.granted", "contact.updated", "form.submitted", "custom.x"]),
    st.dictionaries(st.sampled_from(FIELDS), JSON),
)
def test_junk_bodies_parse_or_raise_a_value_error(type: str, fields: dict[str, Any]) -> None:
    try:
        MANYCHAT.parse(request(**{"type": type, **fields}), NOW)
    except ValueError as error:
        assert "\n" not in str(error)
    assert MANYCHAT.reply(request(**{"type": type, **fields})) is not None


def test_a_yes() -> None:
    event = only(channel="whatsapp", email="Alice@Example.com", whatsapp_phone="+49 30 901820", phone="")
    assert (event.type, event.source, event.source_id) == ("consent.granted", "manychat", "e-1")
    assert (event.occurred_at, event.data) == (NOW, {"channel": "social", "purpose": "all"})
    assert [(i.kind, i.value) for i in event.identities] == [
        ("manychat", SUBSCRIBER),
        ("email", "alice@example.com"),
        ("phone", "+4930901820"),
    ]


@pytest.mark.parametrize(
    ("said", "channel"),
    [("email", "email"), ("SMS", "sms"), ("messenger", "social"), ("instagram", "social"), ("", "social")],
)
def test_channels(said: str, channel: str) -> None:
    assert only(type="consent.withdrawn", channel=said).data["channel"] == channel
    assert only(type="message.replied", channel=said).data["channel"] == channel


def test_a_subscriber_becomes_known() -> None:
    event = only(type="contact.identified", first_name="Alice", last_name=" ", email="alice@example.com")
    assert event.data == {"first_name": "Alice", "email": "alice@example.com"}


def test_events_of_the_authors_own() -> None:
    event = only(type="custom.manychat_tag", data={"tag": "guide"}, occurred_at="2026-03-02T08:59:00+00:00")
    assert (event.type, event.data, event.occurred_at) == (
        "custom.manychat_tag",
        {"tag": "guide"},
        NOW - timedelta(minutes=1),
    )
    answers = {"form": "quiz", "answers": {"goal": "seo"}}
    assert only(type="form.submitted", data=answers).data == answers


@pytest.mark.parametrize("id", [SUBSCRIBER, int(SUBSCRIBER)])
def test_a_subscribers_id_keeps_every_digit(id: Any) -> None:
    assert only(subscriber_id=id).identities[0].value == SUBSCRIBER


@pytest.mark.parametrize("type", ["contact.erased", "contact.merged", "hold.released", "purchase.completed", "custom."])
def test_what_a_body_nobody_signed_may_not_say(type: str) -> None:
    assert MANYCHAT.parse(request(type=type), NOW) == []


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"event_id": ""}, "event_id"),
        ({"event_id": None}, "event_id"),
        ({"subscriber_id": 1.5e19}, "last digits are lost"),
        ({"subscriber_id": "{{user_id}}"}, "subscriber_id"),
        ({"occurred_at": "yesterday"}, "occurred_at"),
        ({"type": "form.submitted"}, "form"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        MANYCHAT.parse(request(**fields), NOW)


def test_answers() -> None:
    silent, spoken = MANYCHAT.reply(request()), MANYCHAT.reply(request(reply="Noted, thank you."))
    assert silent and spoken
    assert json.loads(silent.body) == {"version": "v2", "content": {"messages": []}}
    assert json.loads(spoken.body) == {
        "version": "v2",
        "content": {"messages": [{"type": "text", "text": "Noted, thank you."}]},
    }
    assert (spoken.media_type, spoken.status) == ("application/json", 200)
    instagram = made(network="instagram").reply(request(reply="x" * 3000))
    assert instagram
    content = json.loads(instagram.body)["content"]
    assert (content["type"], len(content["messages"][0]["text"])) == ("instagram", LONGEST_TEXT["instagram"])


@respx.mock
async def test_a_message_goes_out(manychat: ManyChat) -> None:
    route = respx.post(f"{API}/sending/sendContent").respond(json={"status": "success", "data": {}})
    assert await manychat.send(message()) == Accepted("run-1/greet/1")
    assert sent(route) == {
        "subscriber_id": SUBSCRIBER,
        "data": {"version": "v2", "content": {"messages": [{"type": "text", "text": "Hello Alice"}]}},
    }
    assert route.calls.last.request.headers["authorization"] == "Bearer 123:key"
    await made(manychat._client, network="whatsapp", message_tag="HUMAN_AGENT").send(message())
    assert (sent(route)["message_tag"], sent(route)["data"]["content"]["type"]) == ("HUMAN_AGENT", "whatsapp")


@respx.mock
async def test_a_flow_goes_out_in_a_templates_place(manychat: ManyChat) -> None:
    content = respx.post(f"{API}/sending/sendContent").respond(json={"status": "success"})
    flow = respx.post(f"{API}/sending/sendFlow").respond(json={"status": "success", "data": None})
    with_flows = made(manychat._client, flows={"welcome": "content20260302_1"})
    await with_flows.send(message(text="", metadata={"template": "welcome"}))
    assert sent(flow) == {"subscriber_id": SUBSCRIBER, "flow_ns": "content20260302_1"}
    await with_flows.send(message(metadata={"template": "other"}))
    assert (flow.call_count, content.call_count) == (1, 1)


@pytest.mark.parametrize(
    ("fields", "kind", "match"),
    [
        ({"to": "alice@example.com"}, BadAddress, "to: is no subscriber id"),
        ({"to": ""}, BadAddress, "to"),
        ({"to": "٣"}, BadAddress, "to"),
        ({"text": "x" * (LONGEST_TEXT[None] + 1)}, NeverAgain, "text"),
        ({"text": ""}, NeverAgain, "text"),
    ],
)
async def test_what_cannot_be_sent_is_said_before_any_call(
    fields: dict[str, Any], kind: type[ConnectorError], match: str
) -> None:
    with pytest.raises(kind, match=match) as caught:
        await MANYCHAT.send(message(**fields))
    assert "alice" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    ("said", "kind", "reason"),
    [
        ("Message cannot be sent: 24 hour window of alice@example.com", NeverAgain, "outside the 24-hour window"),
        ("This message is sent outside of allowed window", NeverAgain, "outside the 24-hour window"),
        ("Subscriber does not exist", BadAddress, "no such subscriber"),
        ("Subscriber has unsubscribed", OptedOut, "no longer subscribed"),
        ("Rate limit exceeded", TryAgain, "too many calls"),
        ("Validation error for alice@example.com", NeverAgain, "code 3011"),
    ],
)
@respx.mock
async def test_errors_in_words(
    manychat: ManyChat, status: int, said: str, kind: type[ConnectorError], reason: str
) -> None:
    body = {"status": "error", "message": "Error", "code": 3011, "details": {"messages": [{"message": said}]}}
    respx.post(f"{API}/sending/sendContent").respond(status, json=body)
    with pytest.raises(ConnectorError) as caught:
        await manychat.send(message())
    assert (type(caught.value) is kind) or (kind is NeverAgain and not isinstance(caught.value, BadAddress | TryAgain))
    assert reason in caught.value.reason
    assert "alice" not in str(caught.value)


@pytest.mark.parametrize(("status", "kind"), [(401, NeverAgain), (429, TryAgain), (500, Unknown), (503, TryAgain)])
@respx.mock
async def test_errors_by_status(manychat: ManyChat, status: int, kind: type[ConnectorError]) -> None:
    respx.post(f"{API}/sending/sendContent").respond(status, headers={"retry-after": "7"})
    with pytest.raises(kind) as caught:
        await manychat.send(message())
    assert "123:key" not in str(caught.value)
    if isinstance(caught.value, TryAgain):
        assert caught.value.delay == timedelta(seconds=7)


@respx.mock
async def test_a_lost_answer_is_unknown_and_not_repeated(manychat: ManyChat) -> None:
    route = respx.post(f"{API}/sending/sendContent").mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(Unknown):
        await manychat.send(message())
    assert route.call_count == 1
    route.mock(return_value=httpx.Response(200, content=b"<html>"))
    with pytest.raises(Unknown):
        await manychat.send(message())


@respx.mock
async def test_a_flow_without_an_answer_is_unknown(manychat: ManyChat) -> None:
    respx.post(f"{API}/sending/sendFlow").mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(Unknown):
        await made(manychat._client, flows={"welcome": "f1"}).send(message(metadata={"template": "welcome"}))


async def test_there_is_nobody_to_ask() -> None:
    with pytest.raises(NeverAgain):
        await MANYCHAT.look_up("run-1/greet/1")


@respx.mock
async def test_segments_are_tags(manychat: ManyChat) -> None:
    add = respx.post(f"{API}/subscriber/addTagByName").respond(json={"status": "success"})
    remove = respx.post(f"{API}/subscriber/removeTagByName").respond(json={"status": "success"})
    assert await manychat.tell(told("segment.joined", segment="regulars")) == SUBSCRIBER
    await manychat.tell(told("segment.left", segment="regulars"))
    assert sent(add) == sent(remove) == {"subscriber_id": SUBSCRIBER, "tag_name": "regulars"}


@respx.mock
async def test_traits_are_fields(manychat: ManyChat) -> None:
    route = respx.post(f"{API}/subscriber/setCustomFieldByName").respond(json={"status": "success"})
    mapped = made(manychat._client, fields={"company": "Company", "plan": "Plan", "topics": "Topics"})
    await mapped.tell(told("contact.updated", company="Ash", topics=["seo"], first_name="Alice"))
    assert (route.call_count, sent(route)) == (
        1,
        {"subscriber_id": SUBSCRIBER, "field_name": "Company", "field_value": "Ash"},
    )
    assert await manychat.tell(told("contact.updated", company="Ash")) is None
    assert route.call_count == 1


@respx.mock
async def test_a_subscriber_is_found_by_address_and_then_by_phone(manychat: ManyChat) -> None:
    respx.post(f"{API}/subscriber/addTagByName").respond(json={"status": "success"})
    find = respx.get(f"{API}/subscriber/findBySystemField").mock(
        side_effect=[
            httpx.Response(200, json={"status": "success", "data": []}),
            httpx.Response(200, json={"status": "success", "data": {"id": SUBSCRIBER}}),
        ]
    )
    who = (("email", "alice@example.com"), ("phone", "+4930901820"))
    assert await manychat.tell(told("segment.joined", *who, segment="regulars")) == SUBSCRIBER
    assert [dict(c.request.url.params) for c in find.calls] == [
        {"email": "alice@example.com"},
        {"phone": "+4930901820"},
    ]
    find.mock(side_effect=None, return_value=httpx.Response(200, json={"status": "success", "data": None}))
    with pytest.raises(NeverAgain, match="no subscriber") as caught:
        await manychat.tell(told("segment.joined", *who, segment="regulars"))
    assert "alice" not in str(caught.value)


async def test_what_cannot_be_told() -> None:
    with pytest.raises(NeverAgain, match=r"purchase\.completed is nothing"):
        await MANYCHAT.tell(told("purchase.completed", order_id="1"))
    with pytest.raises(NeverAgain, match="MANYCHAT_API_KEY"):
        await made(api_key=None).send(message())
