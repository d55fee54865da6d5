"""Slack: what an alert looks like, who answers it, and what each refusal means."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from connectors import http
from connectors.base import Alert, Refused, Replies, Request, Sink, Source, Told
from connectors.errors import ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.slack import Slack, SlackSettings
from contacts.events import Event, Identity

POST = "https://slack.com/api/chat.postMessage"
UPDATE = "https://slack.com/api/chat.update"
HISTORY = "https://slack.com/api/conversations.history"
HOOK = "https://hooks.slack.example.com/services/T1/B1/s3cret"
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
TAKE, APPROVE, REFUSE = "handoff.take", "approval.approve", "approval.refuse"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
APPROVAL = "abba1111-2222-4333-8444-555566667777"
HANDOFF = "0b5a1111-2222-4333-8444-555566667777"
CONTACT = "c0ffee00-2222-4333-8444-555566667777"
LINK = f"https://hub.example.com/contacts/{CONTACT}"


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> Slack:
    return Slack(SlackSettings(_env_file=None, **{"bot_token": "xoxb-1", "channel": "C1", **settings}), client)


@pytest.fixture
async def slack() -> AsyncIterator[Slack]:
    """One whose channel has no alert yet."""
    respx.get(HISTORY).respond(json={"ok": True, "messages": []})
    async with http.new_client() as client:
        yield made(client, signing_secret=SECRET)


@pytest.fixture(autouse=True)
def edge() -> Iterator[None]:
    """Slack's edge: whatever is not answered for here fails the test."""
    respx.mock.start()
    yield
    respx.mock.stop(quiet=True)


def sent(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


def test_what_it_is() -> None:
    for ability in (Alert, Source, Replies, Sink):
        assert isinstance(made(), ability)


async def test_an_alert(slack: Slack) -> None:
    route = respx.post(POST).respond(json={"ok": True, "channel": "C1", "ts": "1772442000.000100"})
    link = "https://hub.example.com/contacts/1"
    assert await slack.alert("run-1/handoff", "Zoë <Ash> & co", "Saw pricing twice", link) == "C1/1772442000.000100"
    body = sent(route)
    assert body["channel"] == "C1"
    assert body["text"] == "Zoë &lt;Ash&gt; &amp; co"
    assert body["metadata"] == {"event_type": "perennial_alert", "event_payload": {"key": "run-1/handoff"}}
    assert (body["unfurl_links"], body["unfurl_media"]) == (False, False)
    header, section, actions = body["blocks"]
    assert (header["type"], header["text"]["text"]) == ("header", "Zoë <Ash> & co")
    assert section["text"] == {"type": "plain_text", "text": "Saw pricing twice", "emoji": False}
    assert (actions["elements"][0]["type"], actions["elements"][0]["url"]) == ("button", link)
    assert route.calls.last.request.headers["authorization"] == "Bearer xoxb-1"


async def test_blocks_stay_within_slacks_limits(slack: Slack) -> None:
    route = respx.post(POST).respond(json={"ok": True, "channel": "C1", "ts": "1.1"})
    await slack.alert("k", "t" * 151, "b" * 3001)
    header, section = sent(route)["blocks"]
    assert header["text"]["text"] == "t" * 149 + "…"
    assert len(section["text"]["text"]) == 3000
    await slack.alert("k", "t" * 150, "")
    (header,) = sent(route)["blocks"]
    assert header["text"]["text"] == "t" * 150


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("ratelimited", TryAgain),
        ("service_unavailable", TryAgain),
        ("request_timeout", TryAgain),
        ("internal_error", Unknown),
        ("fatal_error", Unknown),
        ("invalid_auth", NeverAgain),
        ("channel_not_found", NeverAgain),
        ("not_in_channel", NeverAgain),
        ("something_new", NeverAgain),
    ],
)
async def test_errors_in_an_answer_of_status_200(slack: Slack, error: str, kind: type[ConnectorError]) -> None:
    respx.post(POST).respond(json={"ok": False, "error": error})
    with pytest.raises(kind) as caught:
        await slack.alert("k", "title", "body")
    assert type(caught.value) is kind
    assert caught.value.reason == error


async def test_a_limit_names_its_delay(slack: Slack) -> None:
    respx.post(POST).respond(429, json={"ok": False, "error": "ratelimited"}, headers={"retry-after": "30"})
    with pytest.raises(TryAgain) as caught:
        await slack.alert("k", "title", "body")
    assert caught.value.delay == timedelta(seconds=30)


async def test_a_lost_answer_is_unknown_and_not_repeated(slack: Slack) -> None:
    route = respx.post(POST).mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(Unknown):
        await slack.alert("k", "title", "body")
    route.respond(500)
    with pytest.raises(Unknown):
        await slack.alert("k", "title", "body")
    assert route.call_count == 2


@pytest.mark.parametrize("missing", [{"bot_token": None}, {"channel": None}, {"channel": ""}])
async def test_without_settings_nothing_is_asked(missing: dict[str, Any]) -> None:
    with pytest.raises(NeverAgain, match="SLACK_BOT_TOKEN"):
        await made(**missing).alert("k", "title", "body")


async def test_who_may_not_read_the_channel_posts_without_looking() -> None:
    respx.get(HISTORY).respond(json={"ok": False, "error": "missing_scope", "needed": "channels:history"})
    route = respx.post(POST).respond(json={"ok": True, "channel": "C1", "ts": "1.1"})
    async with http.new_client() as client:
        assert await made(client).alert("k", "title", "body") == "C1/1.1"
    assert route.call_count == 1


async def test_an_alert_that_is_there_is_not_posted_again() -> None:
    there = [
        {"ts": "3.3", "text": "somebody talks"},
        {"ts": "2.2", "metadata": {"event_type": "perennial_alert", "event_payload": {"key": "other"}}},
        {"ts": "1.1", "metadata": {"event_type": "perennial_alert", "event_payload": {"key": HANDOFF}}},
    ]
    look = respx.get(HISTORY).respond(json={"ok": True, "messages": there})
    route = respx.post(POST)
    async with http.new_client() as client:
        assert await made(client).alert(HANDOFF, "title", "body") == "C1/1.1"
    assert route.call_count == 0
    assert dict(look.calls.last.request.url.params) == {
        "channel": "C1",
        "limit": "100",
        "include_all_metadata": "true",
    }


@pytest.mark.parametrize("key", [HANDOFF, f"{HANDOFF}/reminder/2"])
async def test_a_handoff_can_be_taken_from_its_alert(slack: Slack, key: str) -> None:
    route = respx.post(POST).respond(json={"ok": True, "channel": "C1", "ts": "1.1"})
    await slack.alert(key, "For sales", "Saw pricing twice", LINK)
    take, open = sent(route)["blocks"][-1]["elements"]
    assert (take["action_id"], take["value"], take["style"]) == (TAKE, f"{HANDOFF}/{CONTACT}", "primary")
    assert open["url"] == LINK


async def test_an_approval_can_be_answered_from_its_alert(slack: Slack) -> None:
    route = respx.post(POST).respond(json={"ok": True, "channel": "C1", "ts": "1.1"})
    await slack.alert(f"{APPROVAL}/approval", "For customer success: yes or no?", "A present", LINK)
    approve, refuse, open = sent(route)["blocks"][-1]["elements"]
    assert (approve["action_id"], approve["style"], approve["text"]["text"]) == (APPROVE, "primary", "Approve")
    assert (refuse["action_id"], refuse["style"], refuse["text"]["text"]) == (REFUSE, "danger", "Refuse")
    assert approve["value"] == refuse["value"] == f"{APPROVAL}/{CONTACT}"
    assert open["url"] == LINK


@pytest.mark.parametrize(
    ("key", "link", "secret"),
    [
        ("halt/welcome/2026-03-02T09:00:00+00:00", LINK, SECRET),
        (f"{HANDOFF}/task", LINK, SECRET),
        (HANDOFF, None, SECRET),
        (HANDOFF, "https://hub.example.com/contacts/", SECRET),
        (HANDOFF, LINK, None),
        (f"{APPROVAL}/approval/1", LINK, SECRET),
        (f"{APPROVAL}/approval", None, SECRET),
        (f"{APPROVAL}/approval", "https://hub.example.com/contacts/", SECRET),
        (f"{APPROVAL}/approval", LINK, None),
    ],
)
async def test_other_alerts_have_no_button_to_answer(key: str, link: str | None, secret: str | None) -> None:
    respx.get(HISTORY).respond(json={"ok": True, "messages": []})
    route = respx.post(POST).respond(json={"ok": True, "channel": "C1", "ts": "1.1"})
    async with http.new_client() as client:
        await made(client, signing_secret=secret).alert(key, "title", "body", link)
    said = json.dumps(sent(route))
    assert not [action for action in (TAKE, APPROVE, REFUSE) if action in said]


async def test_an_incoming_webhook_alone_will_do() -> None:
    route = respx.post(HOOK).respond(200, text="ok")
    async with http.new_client() as client:
        slack = made(client, bot_token=None, channel=None, webhook_url=HOOK)
        assert await slack.alert("k", "For <sales>", "body", LINK) == "webhook/k"
        assert sent(route)["text"] == "For &lt;sales&gt;"
        assert "authorization" not in route.calls.last.request.headers
        for status, text, kind in (
            (404, "no_service", NeverAgain),
            (403, "action_prohibited", NeverAgain),
            (410, "channel_is_archived", NeverAgain),
            (429, "", TryAgain),
            (500, "", Unknown),
        ):
            route.respond(status, text=text)
            with pytest.raises(kind, match=text or str(status)) as caught:
                await slack.alert("k", "title", "body")
            assert "s3cret" not in str(caught.value)


def test_neither_repr_nor_error_shows_a_secret() -> None:
    settings = SlackSettings(_env_file=None, bot_token="xoxb-1", webhook_url=HOOK, signing_secret=SECRET)
    for secret in ("xoxb-1", "s3cret", SECRET):
        assert secret not in repr(settings)


# What people click.


def signed(body: bytes, *, secret: str = SECRET, at: datetime = NOW, stamp: str | None = None) -> Request:
    stamp = stamp if stamp is not None else str(int(at.timestamp()))
    mac = hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    headers = {"x-slack-signature": f"v0={mac}", "x-slack-request-timestamp": stamp}
    return Request("POST", "https://hub.example.com/webhooks/slack", headers, body)


def clicked(action: str, at: str = "1772442060.5", about: str = APPROVAL) -> dict[str, Any]:
    return {"type": "button", "action_id": action, "value": f"{about}/{CONTACT}", "action_ts": at}


def click(**fields: Any) -> bytes:
    payload = {
        "type": "block_actions",
        "user": {"id": "U1", "username": "ann", "team_id": "T1"},
        "team": {"id": "T1"},
        "container": {"type": "message", "message_ts": "1772442000.000100", "channel_id": "C1"},
        "actions": [
            {"type": "button", "action_id": TAKE, "value": f"{HANDOFF}/{CONTACT}", "action_ts": "1772442060.5"}
        ],
        "trigger_id": "1.2.3",
        **fields,
    }
    return urlencode({"payload": json.dumps(payload)}).encode()


LISTENING = made(signing_secret=SECRET)


def parsed(body: bytes, slack: Slack = LISTENING) -> list[Event]:
    return list(slack.parse(signed(body), NOW))


def test_a_click_takes_the_handoff() -> None:
    arriving = signed(click())
    LISTENING.verify(arriving, NOW)
    (event,) = LISTENING.parse(arriving, NOW)
    assert (event.type, event.source, event.source_id) == ("handoff.acknowledged", "slack", f"taken/{HANDOFF}")
    assert event.occurred_at == datetime(2026, 3, 2, 9, 1, 0, 500000, tzinfo=UTC)
    assert event.identities == (Identity("contact", CONTACT),)
    assert event.data == {
        "handoff_id": HANDOFF,
        "by": "ann",
        "slack_user": "U1",
        "alert": "C1/1772442000.000100",
    }


def test_the_first_click_wins() -> None:
    again = {"type": "button", "action_id": TAKE, "value": f"{HANDOFF}/{CONTACT}", "action_ts": "1772442061.5"}
    (first,) = parsed(click())
    (second,) = parsed(click(user={"id": "U2", "name": "ben"}, actions=[again]))
    assert (second.data["by"], second.source_id) == ("ben", first.source_id)


@pytest.mark.parametrize(("action", "said"), [(APPROVE, True), (REFUSE, False)])
def test_a_click_answers_the_approval(action: str, said: bool) -> None:
    arriving = signed(click(actions=[clicked(action)]))
    LISTENING.verify(arriving, NOW)
    (event,) = LISTENING.parse(arriving, NOW)
    assert (event.type, event.source, event.source_id) == ("approval.answered", "slack", f"answered/{APPROVAL}")
    assert event.occurred_at == datetime(2026, 3, 2, 9, 1, 0, 500000, tzinfo=UTC)
    assert event.identities == (Identity("contact", CONTACT),)
    assert event.data == {
        "approval_id": APPROVAL,
        "approved": said,
        "by": "ann",
        "slack_user": "U1",
        "alert": "C1/1772442000.000100",
    }


def test_whoever_clicks_first_whatever_they_choose_wins() -> None:
    (first,) = parsed(click(actions=[clicked(REFUSE)]))
    (second,) = parsed(click(user={"id": "U2", "name": "ben"}, actions=[clicked(APPROVE, at="1772442061.5")]))
    assert (first.data["approved"], second.data["approved"]) == (False, True)
    assert second.source_id == first.source_id
    (other,) = parsed(click(actions=[clicked(APPROVE, about=HANDOFF)]))
    assert other.source_id != first.source_id


def test_only_who_may_answer_an_approval_does() -> None:
    chosen = made(signing_secret=SECRET, allowed_users="U1")
    for action in (APPROVE, REFUSE):
        assert len(parsed(click(actions=[clicked(action)]), chosen)) == 1
        assert parsed(click(user={"id": "U2"}, actions=[clicked(action)]), chosen) == []


def test_only_who_may_take_it_does() -> None:
    chosen = made(signing_secret=SECRET, allowed_users=" U1, U9")
    assert len(parsed(click(), chosen)) == 1
    assert parsed(click(user={"id": "U2"}), chosen) == []
    assert parsed(click(), made(signing_secret=SECRET, allowed_users="U9")) == []


def test_other_clicks_and_other_requests_mean_nothing() -> None:
    opened = {"type": "button", "action_id": "open", "action_ts": "1772442060.5"}
    assert parsed(click(actions=[opened])) == []
    assert parsed(click(type="view_submission")) == []
    assert parsed(b'{"type": "event_callback", "event_id": "Ev1", "event": {"type": "message"}}') == []
    assert parsed(b'{"type": "url_verification", "challenge": "abc"}') == []


@pytest.mark.parametrize("action", [TAKE, APPROVE, REFUSE])
@pytest.mark.parametrize(
    "value", ["", HANDOFF, f"{HANDOFF}/{CONTACT}/x", f"{HANDOFF}/alice@example.com", "{}", CONTACT.upper()]
)
def test_a_value_that_is_not_ours_is_one_line(action: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"^actions\.value: ") as caught:
        parsed(click(actions=[clicked(action) | {"value": value}]))
    assert "alice" not in str(caught.value)


def test_what_slack_reads_in_our_answer() -> None:
    challenge = LISTENING.reply(signed(b'{"type": "url_verification", "challenge": "a\\"b"}'))
    assert challenge is not None
    assert (json.loads(challenge.body), challenge.status) == ({"challenge": 'a"b'}, 200)
    answer = LISTENING.reply(signed(click()))
    assert answer is not None
    assert (answer.body, answer.status) == (b"", 200)
    assert LISTENING.reply(signed(b'{"type": "event_callback"}')) is None
    assert LISTENING.reply(signed(b"junk")) is None


@pytest.mark.parametrize(("seconds", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_age_counts_both_ways(seconds: int, taken: bool) -> None:
    arriving = signed(b"{}", at=NOW + timedelta(seconds=seconds))
    if taken:
        LISTENING.verify(arriving, NOW)
    else:
        with pytest.raises(Refused, match="older than"):
            LISTENING.verify(arriving, NOW)


def test_a_signature_by_openssl() -> None:
    # printf 'v0:1772442000:payload=%%7B%%7D' | openssl dgst -sha256 -hmac 8f742231b10e8888abcd99yyyzzz85a5
    mac = "865330fe0daa84cd1e220f86e73702385dc524e7b4e8a3cbca899d97e9f34a95"
    headers = {"x-slack-signature": f"v0={mac}", "x-slack-request-timestamp": "1772442000"}
    LISTENING.verify(Request("POST", "https://hub.example.com/webhooks/slack", headers, b"payload=%7B%7D"), NOW)


def test_forgeries_are_refused() -> None:
    good = signed(b"{}")
    for request, status in (
        (signed(b"{}", secret="other"), 401),
        (Request(good.method, good.url, good.headers, b"{} "), 401),
        (Request(good.method, good.url, {**good.headers, "x-slack-signature": ""}, b"{}"), 401),
        (Request(good.method, good.url, {**good.headers, "x-slack-signature": "v0=é"}, b"{}"), 401),
        (Request(good.method, good.url, {"x-slack-signature": good.headers["x-slack-signature"]}, b"{}"), 400),
        (signed(b"{}", stamp="-5"), 400),
        (signed(b"{}", stamp="١٢"), 400),
        (signed(b"{}", stamp="9" * 40), 400),
        (Request(good.method, good.url, {**good.headers, "x-slack-request-timestamp": "1772442001"}, b"{}"), 401),
    ):
        with pytest.raises(Refused) as caught:
            LISTENING.verify(request, NOW)
        assert caught.value.status == status
    with pytest.raises(Refused, match="no signing secret"):
        made().verify(good, NOW)
    made(signing_secret=f"new, {SECRET}").verify(good, NOW)


@given(st.text(), st.text(), st.binary())
def test_junk_is_refused(signature: str, stamp: str, body: bytes) -> None:
    headers = {"x-slack-signature": signature, "x-slack-request-timestamp": stamp}
    with pytest.raises(Refused):
        LISTENING.verify(Request("POST", "https://hub.example.com/webhooks/slack", headers, body), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["type", "user", "container", "actions"]), JSON) | JSON, st.binary())
def test_junk_bodies_parse_or_raise_a_value_error(payload: Any, raw: bytes) -> None:
    fields = payload if isinstance(payload, dict) else {"actions": payload}
    for body in (click(**fields), json.dumps(payload).encode(), raw, b"payload=" + raw):
        LISTENING.reply(signed(body))
        try:
            parsed(body)
        except ValueError as error:
            assert "\n" not in str(error)


# Who was first.


def told(type: str = "handoff.acknowledged", **data: Any) -> Told:
    fields = {"handoff_id": HANDOFF, "by": "ann <b>", "alert": "C1/1.1", **data}
    return Told("e1", type, NOW, CONTACT, [], {k: v for k, v in fields.items() if v is not None})


def shown(*elements: dict[str, Any]) -> dict[str, Any]:
    header = {"type": "header", "block_id": "b1", "text": {"type": "plain_text", "text": "For sales"}}
    return {"ts": "1.1", "blocks": [header, {"type": "actions", "block_id": "b2", "elements": list(elements)}]}


OPEN = {"type": "button", "action_id": "open", "url": LINK}
TAKING = {"type": "button", "action_id": TAKE, "value": f"{HANDOFF}/{CONTACT}"}


async def test_the_alert_says_who_took_it() -> None:
    look = respx.get(HISTORY).respond(json={"ok": True, "messages": [shown(TAKING, OPEN)]})
    route = respx.post(UPDATE).respond(json={"ok": True, "channel": "C1", "ts": "1.1"})
    async with http.new_client() as client:
        assert await made(client).tell(told()) == "C1/1.1"
    assert dict(look.calls.last.request.url.params) == {
        "channel": "C1",
        "latest": "1.1",
        "inclusive": "true",
        "limit": "1",
    }
    update = sent(route)
    assert (update["channel"], update["ts"], update["text"]) == ("C1", "1.1", "Taken by ann &lt;b&gt;")
    header, actions, context = update["blocks"]
    assert header == shown()["blocks"][0]
    assert actions["elements"] == [OPEN]
    assert context["elements"] == [{"type": "plain_text", "text": "Taken by ann <b>", "emoji": False}]


async def test_a_name_that_is_too_long_is_cut() -> None:
    respx.get(HISTORY).respond(json={"ok": True, "messages": [shown(TAKING, OPEN)]})
    route = respx.post(UPDATE).respond(json={"ok": True, "channel": "C1", "ts": "1.1"})
    async with http.new_client() as client:
        assert await made(client).tell(told(by="a" * 50_000)) == "C1/1.1"
    update = sent(route)
    assert (len(update["text"]), len(update["blocks"][-1]["elements"][0]["text"])) == (3000, 300)


APPROVING = {"type": "button", "action_id": APPROVE, "value": f"{APPROVAL}/{CONTACT}"}
REFUSING = {"type": "button", "action_id": REFUSE, "value": f"{APPROVAL}/{CONTACT}"}


def answered(**data: Any) -> Told:
    fields = {"approval_id": APPROVAL, "approved": True, "by": "mia", "alert": "C1/1.1", **data}
    return Told("e1", "approval.answered", NOW, CONTACT, [], fields)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"approved": True}, "Approved by mia"),
        ({"approved": False}, "Refused by mia"),
        ({"approved": True, "void": True}, "mia answered too late"),
        ({"approved": False, "by": "ann <b>"}, "Refused by ann <b>"),
    ],
)
async def test_the_alert_says_what_was_answered(data: dict[str, Any], words: str) -> None:
    respx.get(HISTORY).respond(json={"ok": True, "messages": [shown(APPROVING, REFUSING, OPEN)]})
    route = respx.post(UPDATE).respond(json={"ok": True, "channel": "C1", "ts": "1.1"})
    async with http.new_client() as client:
        assert await made(client).tell(answered(**data)) == "C1/1.1"
    update = sent(route)
    assert (update["channel"], update["ts"]) == ("C1", "1.1")
    assert update["text"] == words.replace("<", "&lt;").replace(">", "&gt;")
    header, actions, context = update["blocks"]
    assert header == shown()["blocks"][0]
    assert actions["elements"] == [OPEN]
    assert context["elements"] == [{"type": "plain_text", "text": words, "emoji": False}]


async def test_an_empty_row_of_buttons_goes_away() -> None:
    respx.get(HISTORY).respond(json={"ok": True, "messages": [shown(TAKING)]})
    route = respx.post(UPDATE).respond(json={"ok": True})
    async with http.new_client() as client:
        await made(client).tell(told())
    assert [block["type"] for block in sent(route)["blocks"]] == ["header", "context"]


@pytest.mark.parametrize("event", [told(), answered()], ids=["taken", "answered"])
@pytest.mark.parametrize("messages", [[], [shown(OPEN)], [{**shown(TAKING, APPROVING), "ts": "0.9"}]])
async def test_who_came_second_is_not_shown(messages: list[dict[str, Any]], event: Told) -> None:
    respx.get(HISTORY).respond(json={"ok": True, "messages": messages})
    route = respx.post(UPDATE)
    async with http.new_client() as client:
        assert await made(client).tell(event) is None
    assert route.call_count == 0


async def test_an_alert_is_left_as_it_is_by_what_is_not_asked_there() -> None:
    asks = shown(TAKING, APPROVING, REFUSING)
    respx.get(HISTORY).respond(json={"ok": True, "messages": [asks]})
    route = respx.post(UPDATE)
    async with http.new_client() as client:
        assert await made(client).tell(told(handoff_id=APPROVAL)) is None
        assert await made(client).tell(answered(approval_id=HANDOFF)) is None
    assert route.call_count == 0


@pytest.mark.parametrize(
    "event",
    [
        told(alert=None),
        told(alert="C1"),
        told(alert=f"webhook/{HANDOFF}"),
        told("handoff.closed"),
        told("approval.asked"),
        answered(alert=f"webhook/{APPROVAL}"),
    ],
)
async def test_what_changes_no_alert(event: Told) -> None:
    async with http.new_client() as client:
        assert await made(client).tell(event) is None
