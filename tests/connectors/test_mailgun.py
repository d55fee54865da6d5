"""Mailgun: what its signature covers and what it does not, its notices and its list of them, and what goes out."""

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors import http
from connectors.base import Accepted, Message, Poller, Refused, Request, Sender, SingleUse, Source
from connectors.errors import BadAddress, ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.mail import message_id
from connectors.mailgun import COMPLETE_AFTER, RETRIED_FOR, Mailgun, MailgunSettings
from contacts.events import Event

API = "https://api.mailgun.net/v3/mg.fernhill.example.com"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
START = int(NOW.timestamp())
URL = "https://hub.example.com/webhooks/mailgun"
FROM = "Fernhill Studio <hello@fernhill.example.com>"
SECRET = "signing-key-of-this-account"
MESSAGE = Message(
    key="run-7/greet/1",
    to="alice@example.com",
    subject="Grüße",
    text="Hello\n",
    html="<p>Grüße</p>",
    unsubscribe_url="https://hub.example.com/u/t0ken",
    metadata={"journey": "welcome", "template": "welcome_second"},
)
ID = message_id(MESSAGE.key, "fernhill.example.com").strip("<>")


def settings(**given: Any) -> MailgunSettings:
    usual = {"api_key": "key-t0ken", "signing_secret": SECRET, "domain": "mg.fernhill.example.com"}
    return MailgunSettings(_env_file=None, **{**usual, **given})


MAILGUN = Mailgun(settings())


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http.new_client() as client:
        yield client


@pytest.fixture
async def mailgun(client: httpx.AsyncClient) -> Mailgun:
    return Mailgun(settings(), client, from_address=FROM)


def item(kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "event": kind,
        "id": f"id-of-{kind}",
        "timestamp": 1772441998.719447,
        "recipient": "Alice@Example.com",
        "message": {"headers": {"message-id": ID, "to": "alice@example.com", "subject": "Grüße"}},
        "user-variables": {"touch": MESSAGE.key},
        "tags": [],
        **fields,
    }


def posted(what: Any, **signature: Any) -> Request:
    return Request("POST", URL, {}, json.dumps({"signature": signature, "event-data": what}).encode())


def signed(what: Any = None, *, secret: str = SECRET, at: datetime = NOW, token: str = "0123abcd" * 6) -> Request:
    sent = str(int(at.timestamp()))
    mac = hmac.new(secret.encode(), (sent + token).encode(), hashlib.sha256).hexdigest()
    return posted(what or item("delivered"), timestamp=sent, token=token, signature=mac)


def signature_of(request: Request) -> dict[str, str]:
    found: dict[str, str] = json.loads(request.body)["signature"]
    return found


def refusal(request: Request, mailgun: Mailgun = MAILGUN) -> Refused:
    with pytest.raises(Refused) as caught:
        mailgun.verify(request, NOW)
    return caught.value


def only(kind: str, **fields: Any) -> Event:
    (event,) = MAILGUN.parse(signed(item(kind, **fields)), NOW)
    return event


def test_what_it_is() -> None:
    for ability in (Source, Sender, SingleUse, Poller):
        assert isinstance(MAILGUN, ability)


def test_a_signature_over_time_and_token() -> None:
    MAILGUN.verify(signed(), NOW)
    upper = {**signature_of(signed()), "signature": signature_of(signed())["signature"].upper()}
    MAILGUN.verify(posted({}, **upper), NOW)
    MAILGUN.verify(posted({}, **{**upper, "timestamp": int(upper["timestamp"])}), NOW)


def test_a_vector_worked_out_apart_from_this_code() -> None:
    # printf %s '1772442000one-token' | openssl dgst -sha256 -hmac signing-key-of-this-account
    mac = "5e9b29c46cc0f9efb3b324e26bf6817d3407d2fc965ab9c56da2e46a5decaeef"
    MAILGUN.verify(posted({}, timestamp="1772442000", token="one-token", signature=mac), NOW)


@pytest.mark.parametrize(
    ("age", "taken"),
    [
        (timedelta(seconds=-301), False),
        (timedelta(seconds=-300), True),
        (timedelta(hours=8), True),
        (RETRIED_FOR, True),
        (RETRIED_FOR + timedelta(seconds=1), False),
    ],
)
def test_a_late_retry_is_taken_and_one_from_the_future_is_not(age: timedelta, taken: bool) -> None:
    arriving = signed(at=NOW - age)
    if taken:
        MAILGUN.verify(arriving, NOW)
    else:
        assert refusal(arriving).status == 401


def test_whatever_is_altered_is_refused() -> None:
    good = signature_of(signed())
    for forged in (
        signed(secret="key-t0ken"),
        posted({}, **{**good, "token": good["token"][::-1]}),
        posted({}, **{**good, "timestamp": str(START + 1)}),
        posted({}, **{**good, "signature": "0" * 64}),
        posted({}, **{**good, "signature": ""}),
        posted({}, **{**good, "signature": "ü"}),
    ):
        assert refusal(forged).status == 401


def test_no_digit_can_move_between_time_and_token() -> None:
    good = signature_of(signed())
    sent, token = good["timestamp"], good["token"]
    for moved in ((sent[:-1], sent[-1] + token), (sent + token[0], token[1:])):
        forged = posted({}, timestamp=moved[0], token=moved[1], signature=good["signature"])
        assert refusal(forged).status == 400
        assert MAILGUN.token(forged) == MAILGUN.token(signed())


def test_the_token_is_that_of_the_signature_whatever_the_body() -> None:
    one, other = signed(item("delivered")), signed(item("complained"))
    assert one.body != other.body
    assert MAILGUN.token(one) == MAILGUN.token(other)
    assert MAILGUN.token(one) != MAILGUN.token(signed(token="another"))
    # Another spelling of the same signature is taken, and must not pass for another token.
    shouted = {**signature_of(one), "signature": signature_of(one)["signature"].upper()}
    assert MAILGUN.token(one) == MAILGUN.token(posted({}, **shouted))
    assert MAILGUN.token(one) != MAILGUN.token(signed(at=NOW + timedelta(seconds=1)))


def test_one_key_replaces_another() -> None:
    Mailgun(settings(signing_secret=f"old, {SECRET}")).verify(signed(), NOW)
    Mailgun(settings(signing_secret=f"old, {SECRET}")).verify(signed(secret="old"), NOW)


def test_without_a_key_everything_is_refused() -> None:
    said = refusal(signed(), Mailgun(settings(signing_secret=None)))
    assert (said.status, "no signing secret" in said.reason) == (401, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"signature": "x"}',
        b'{"signature": {"timestamp": "1772442000", "signature": "00"}}',
        b'{"signature": {"timestamp": "1772442000", "token": "", "signature": "00"}}',
        b'{"signature": {"timestamp": "now", "token": "t", "signature": "00"}}',
        b'{"signature": {"timestamp": 1772442000.5, "token": "t", "signature": "00"}}',
        '{"signature": {"timestamp": "١٧٧٢٤٤٢٠٠٠", "token": "t", "signature": "00"}}'.encode(),
        b"timestamp=1772442000&token=t&signature=00",
    ],
)
def test_a_body_without_a_signature(body: bytes) -> None:
    assert refusal(Request("POST", URL, {}, body)).status == 400


@given(st.binary() | st.dictionaries(st.text(), st.text()).map(lambda found: json.dumps(found).encode()))
def test_junk_is_refused(body: bytes) -> None:
    request = Request("POST", URL, {}, body)
    for ask in (lambda: MAILGUN.verify(request, NOW), lambda: MAILGUN.token(request)):
        with pytest.raises(Refused):
            ask()


@given(st.text() | st.integers(), st.text() | st.integers(), st.text() | st.none())
def test_junk_signatures_are_refused(sent: Any, token: Any, signature: Any) -> None:
    with pytest.raises(Refused):
        MAILGUN.verify(posted({}, timestamp=sent, token=token, signature=signature), NOW)


def test_delivered() -> None:
    event = only("delivered")
    assert (event.type, event.source) == ("message.delivered", "mailgun")
    assert event.occurred_at == datetime(2026, 3, 2, 8, 59, 58, 719447, tzinfo=UTC)
    assert [(i.kind, i.value) for i in event.identities] == [("email", "alice@example.com")]
    assert event.data == {
        "touch": MESSAGE.key,
        "channel": "email",
        "machine": False,
        "message_id": ID,
        "address": "Alice@Example.com",
    }


def test_an_id_counts_within_its_day() -> None:
    first = only("delivered")
    assert first.source_id == "2026-03-02/id-of-delivered"
    assert only("delivered").source_id == first.source_id
    assert only("delivered", timestamp=1772441998.719447 + 86400).source_id != first.source_id
    assert len(only("delivered", id="x" * 300).source_id) <= 255
    assert only("delivered", id="x" * 300).source_id != only("delivered", id="x" * 301).source_id


@pytest.mark.parametrize(
    ("severity", "reason", "status", "type", "permanent", "said"),
    [
        ("permanent", "bounce", {"code": 550}, "message.bounced", True, "permanent bounce 550"),
        (
            *("permanent", "bounce", {"code": 550, "message": "5.1.1 no user alice@example.com"}),
            *("message.bounced", True, "permanent bounce 550 5.1.1"),
        ),
        (
            *("permanent", "bounce", {"code": 550, "enhanced-code": "5.7.1"}),
            *("message.bounced", False, "permanent bounce 550 5.7.1"),
        ),
        (
            *("permanent", "generic", {"code": 550, "bounce-code": "5.1.1"}),
            *("message.bounced", True, "permanent generic 550 5.1.1"),
        ),
        ("permanent", "generic", {"code": 550}, "message.bounced", False, "permanent generic 550"),
        ("permanent", "old", {"code": 602}, "message.bounced", False, "permanent old 602"),
        ("permanent", "suppress-bounce", {"code": 605}, "message.bounced", True, "permanent suppress-bounce 605"),
        (
            *("permanent", "suppress-unsubscribe", {"code": 606}),
            *("message.unsubscribed", None, "permanent suppress-unsubscribe 606"),
        ),
        (
            *("permanent", "suppress-complaint", {"code": 607}),
            *("message.complained", None, "permanent suppress-complaint 607"),
        ),
        (
            *("temporary", "generic", {"code": 450, "message": "4.1.1 alice later"}),
            *("message.bounced", False, "temporary generic 450 4.1.1"),
        ),
        ("temporary", "bounce", {"code": 550, "enhanced-code": "5.1.1"}, "message.bounced", False, None),
        ("permanent", "No such user alice@example.com", {}, "message.bounced", False, "permanent"),
    ],
)
def test_what_did_not_arrive(
    severity: str, reason: str, status: dict[str, Any], type: str, permanent: bool | None, said: str | None
) -> None:
    event = only("failed", severity=severity, reason=reason, **{"delivery-status": status})
    assert (event.type, event.data.get("permanent")) == (type, permanent)
    assert said is None or event.data["reason"] == said


def test_rejected_is_about_us() -> None:
    event = only("rejected", reject={"reason": "Sandbox", "description": ""})
    assert (event.type, event.data["permanent"]) == ("message.bounced", False)


@pytest.mark.parametrize(
    ("kind", "bot", "machine"),
    [
        *(("opened", None, False), ("opened", "", False), ("opened", "gmail", False), ("opened", "apple", True)),
        *(("clicked", None, False), ("clicked", "", False), ("clicked", "gmail", True), ("clicked", "generic", True)),
    ],
)
def test_who_opened_and_what_was_clicked(kind: str, bot: str | None, machine: bool) -> None:
    client = {} if bot is None else {"bot": bot, "client-type": "browser"}
    event = only(kind, url="https://fernhill.example.com/pricing", **{"client-info": client})
    assert (event.type, event.data["machine"]) == (f"message.{kind}", machine)
    assert event.data.get("url") == ("https://fernhill.example.com/pricing" if kind == "clicked" else None)


def test_whoever_wants_no_more() -> None:
    assert only("complained").type == "message.complained"
    left = only("unsubscribed", tags=["newsletter"])
    assert left.type == "message.unsubscribed"
    assert "purpose" not in left.data  # a link may have named one tag only: all purposes are withdrawn


@pytest.mark.parametrize("kind", ["accepted", "stored", "list_uploaded", "list_member_uploaded", ""])
def test_other_events_mean_nothing(kind: str) -> None:
    assert MAILGUN.parse(signed({"event": kind}), NOW) == []


@pytest.mark.parametrize(
    ("what", "field"),
    [
        ({"event": "opened", "timestamp": 1772441998}, "id"),
        ({"event": "opened", "id": "1", "timestamp": "alice@example.com"}, "timestamp"),
        ("nonsense", "body"),
    ],
)
def test_a_malformed_notice_is_named(what: Any, field: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: ") as caught:
        MAILGUN.parse(signed(what), NOW)
    assert "alice" not in str(caught.value)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        MAILGUN.parse(Request("POST", URL, {}, raw), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(["delivered", "failed", "rejected", "opened", "clicked", "complained", "unsubscribed"])
FIELDS = [
    *("id", "timestamp", "recipient", "severity", "reason", "url", "message", "user-variables", "delivery-status"),
    "client-info",
]
JUNK = st.tuples(KINDS, st.dictionaries(st.sampled_from(FIELDS), JSON)).map(lambda junk: item(junk[0], **junk[1]))
"""Items with something wrong in them, or not."""


@given(JSON | JUNK)
def test_junk_bodies_parse_or_raise_a_value_error(what: Any) -> None:
    try:
        MAILGUN.parse(posted(what), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


def form(route: respx.Route) -> dict[str, str]:
    fields = parse_qs(route.calls.last.request.content.decode(), keep_blank_values=True)
    assert all(len(values) == 1 for values in fields.values())
    return {name: values[0] for name, values in fields.items()}


TAKEN = {"id": f"<{ID}>", "message": "Queued. Thank you."}


@respx.mock
async def test_a_mail_on_the_wire(mailgun: Mailgun) -> None:
    route = respx.post(f"{API}/messages").respond(json=TAKEN)
    assert await mailgun.send(MESSAGE) == Accepted(ID)
    assert form(route) == {
        "from": "Fernhill Studio <hello@fernhill.example.com>",
        "to": "alice@example.com",
        "subject": "Grüße",
        "text": "Hello\n",
        "html": "<p>Grüße</p>",
        "h:Message-Id": f"<{ID}>",
        "h:Auto-Submitted": "auto-generated",
        "h:Feedback-ID": "welcome_second:welcome:promotional:fernhill.example.com",
        "h:List-Unsubscribe": "<https://hub.example.com/u/t0ken>",
        "h:List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "v:touch": MESSAGE.key,
        "o:tracking-opens": "no",
        "o:tracking-clicks": "no",
    }
    assert route.calls.last.request.headers["authorization"] == f"Basic {b64encode(b'api:key-t0ken').decode()}"


@respx.mock
async def test_a_receipt_in_text_alone_from_the_eu_with_tracking(client: httpx.AsyncClient) -> None:
    route = respx.post("https://api.eu.mailgun.net/v3/mg.fernhill.example.com/messages").respond(json=TAKEN)
    chosen = settings(base_url="https://api.eu.mailgun.net", track_opens=True, track_clicks=True)
    mailgun = Mailgun(chosen, client, from_address=FROM)
    await mailgun.send(replace(MESSAGE, html=None, unsubscribe_url=None, purpose="transactional"))
    fields = form(route)
    assert "html" not in fields
    assert not any(name.startswith("h:List-") for name in fields)
    assert (fields["o:tracking-opens"], fields["o:tracking-clicks"]) == ("yes", "yes")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, NeverAgain),
        (401, NeverAgain),
        (402, NeverAgain),
        (403, NeverAgain),
        (404, NeverAgain),
        (413, NeverAgain),
        (429, TryAgain),
        (500, Unknown),
        (503, Unknown),
        (200, Unknown),
    ],
)
@respx.mock
async def test_refusals(mailgun: Mailgun, status: int, kind: type[ConnectorError]) -> None:
    route = respx.post(f"{API}/messages").respond(status, json={"message": "alice@example.com and key-t0ken"})
    with pytest.raises(kind) as caught:
        await mailgun.send(MESSAGE)
    assert caught.value.reason.startswith(str(status))
    assert not isinstance(caught.value, BadAddress)
    assert "alice" not in str(caught.value)
    assert "t0ken" not in str(caught.value)
    assert route.call_count == 1


@respx.mock
async def test_a_lost_answer_is_unknown_and_not_repeated(mailgun: Mailgun) -> None:
    route = respx.post(f"{API}/messages").mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(Unknown):
        await mailgun.send(MESSAGE)
    assert route.call_count == 1


@respx.mock
async def test_a_limit_names_its_delay(mailgun: Mailgun) -> None:
    respx.post(f"{API}/messages").respond(429, headers={"retry-after": "30"})
    with pytest.raises(TryAgain) as caught:
        await mailgun.send(MESSAGE)
    assert caught.value.delay == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("change", "kind", "field"),
    [
        ({"subject": "a\r\nBcc: eve@example.com"}, NeverAgain, "subject"),
        ({"text": "", "html": None}, NeverAgain, "text is empty"),
        ({"unsubscribe_url": "ftp://example.com"}, NeverAgain, "unsubscribe_url"),
        ({"html": "ü" * (25 * 1024 * 512)}, NeverAgain, "html"),
        ({"to": "a@example.com,b@example.com"}, BadAddress, "recipient"),
    ],
)
async def test_what_may_not_go_out_is_named(
    mailgun: Mailgun, change: dict[str, Any], kind: type[NeverAgain], field: str
) -> None:
    with respx.mock, pytest.raises(kind, match=field):  # no route: a call would fail the test
        await mailgun.send(replace(MESSAGE, **change))


async def test_without_settings_nothing_is_asked() -> None:
    with respx.mock:
        for missing in ("api_key", "domain"):
            with pytest.raises(NeverAgain, match="MAILGUN_API_KEY, MAILGUN_DOMAIN"):
                await Mailgun(settings(**{missing: None}), from_address=FROM).send(MESSAGE)
        for ask in (MAILGUN.send(MESSAGE), MAILGUN.look_up(MESSAGE.key)):
            with pytest.raises(NeverAgain, match="PERENNIAL_MAIL_FROM"):
                await ask
    with pytest.raises(ValueError, match="is not a sender"):
        Mailgun(settings(), from_address="nobody")
    with pytest.raises(ValidationError):
        settings(domain="mg.example.com/../other")


@respx.mock
async def test_what_is_listed_was_taken(mailgun: Mailgun) -> None:
    route = respx.get(f"{API}/events").respond(json={"items": [item("failed")], "paging": {}})
    assert await mailgun.look_up(MESSAGE.key) == Accepted(ID)
    asked = route.calls.last.request.url.params
    assert (asked["message-id"], asked["ascending"], asked["limit"]) == (ID, "no", "1")


def another(key: str = "run-8/greet/1", domain: str = "fernhill.example.com", **fields: Any) -> dict[str, Any]:
    """An event of a mail that is not the one looked for; its id is ours if Mailgun keeps those."""
    headers = {"message-id": message_id(key, domain).strip("<>")}
    return item("accepted", **{"user-variables": {"touch": key}, "message": {"headers": headers}, **fields})


def listing(*newest: Any) -> respx.Route:
    """A list that does not have the id asked for, and what it has."""

    def answer(request: httpx.Request) -> httpx.Response:
        found = [] if "message-id" in request.url.params else list(newest)
        return httpx.Response(200, json={"items": found, "paging": {}})

    return respx.get(f"{API}/events").mock(side_effect=answer)


@respx.mock
async def test_what_is_not_listed_is_not_found_however_often_it_is_asked_for(mailgun: Mailgun) -> None:
    route = listing(another())
    assert [await mailgun.look_up(MESSAGE.key) for _ in range(2)] == [None, None]
    route.mock(side_effect=None).respond(json={"items": [item("accepted")], "paging": {}})
    assert await mailgun.look_up(MESSAGE.key) == Accepted(ID)


def test_events_may_take_half_an_hour_to_be_listed() -> None:
    assert Mailgun.listed_within == COMPLETE_AFTER == timedelta(minutes=30)


REPLACED = {"message": {"headers": {"message-id": "20260302085958.1.F00@mg.fernhill.example.com"}}}


@pytest.mark.parametrize(
    ("newest", "kind"),
    [
        ([], TryAgain),
        ([another(**{"user-variables": {}})], TryAgain),
        ([another(**{"user-variables": {"touch": 7}})], TryAgain),
        ([another(message={})], TryAgain),
        (["nonsense", {"event": "accepted"}], TryAgain),
        ([another(**REPLACED)], NeverAgain),
        ([another(**REPLACED), another("run-9/greet/1")], NeverAgain),
        ([another("run-9/greet/1"), another(**REPLACED)], None),
        ([another(domain="elsewhere.example.com")], NeverAgain),
    ],
)
@respx.mock
async def test_a_miss_proves_nothing_where_the_list_does_not_show_that_our_ids_are_kept(
    mailgun: Mailgun, newest: list[Any], kind: type[ConnectorError] | None
) -> None:
    """That Mailgun takes the id we give a mail is not documented: the newest mail of ours that is listed says so."""
    route = listing(*newest)
    if kind is None:
        assert await mailgun.look_up(MESSAGE.key) is None
    else:
        with pytest.raises(kind):
            await mailgun.look_up(MESSAGE.key)
    asked = route.calls.last.request.url.params
    assert (asked["ascending"], asked["limit"]) == ("no", "300")
    assert "accepted" in asked["event"].split(" OR ")


@respx.mock
async def test_a_mail_that_was_given_another_id_is_found_by_its_key_among_the_newest(mailgun: Mailgun) -> None:
    listing(another(), another(MESSAGE.key, **REPLACED))
    assert await mailgun.look_up(MESSAGE.key) == Accepted("20260302085958.1.F00@mg.fernhill.example.com")


@respx.mock
async def test_a_list_that_cannot_be_had(mailgun: Mailgun) -> None:
    route = respx.get(f"{API}/events").respond(500)
    with pytest.raises(TryAgain):
        await mailgun.look_up(MESSAGE.key)
    route.respond(401, text="Forbidden")
    with pytest.raises(NeverAgain, match=r"^mailgun: 401$"):
        await mailgun.look_up(MESSAGE.key)


def page(*items: Any, following: str) -> dict[str, Any]:
    return {"items": list(items), "paging": {"next": f"https://somewhere.example.com/v3/other/events/{following}"}}


async def test_polling_begins_now(mailgun: Mailgun) -> None:
    with respx.mock:
        polled = await mailgun.poll(None, NOW)
    assert (polled.events, polled.cursor, polled.more) == ((), str(START), False)


@respx.mock
async def test_a_round_reads_page_by_page_and_the_next_overlaps_it(mailgun: Mailgun) -> None:
    second = item("delivered", id="2", timestamp=1772441999.5)
    first_page = respx.get(f"{API}/events").respond(json=page(item("delivered"), following="W3siYSI6=="))
    second_page = respx.get(f"{API}/events/W3siYSI6==").respond(json=page(second, following="W3siYiI6=="))
    last_page = respx.get(f"{API}/events/W3siYiI6==").respond(json=page(following="W3siYyI6=="))
    began = str(START - 7200)

    polled = await mailgun.poll(began, NOW)
    assert [event.source_id for event in polled.events] == [only("delivered").source_id]
    assert polled.more
    asked = first_page.calls.last.request.url.params
    assert (asked["begin"], asked["ascending"], asked["limit"]) == (began, "yes", "300")
    assert set(asked["event"].split(" OR ")) == {
        *("delivered", "failed", "rejected", "opened", "clicked", "complained", "unsubscribed")
    }

    polled = await mailgun.poll(polled.cursor, NOW + timedelta(hours=3))
    assert [event.source_id for event in polled.events] == ["2026-03-02/2"]
    assert polled.more
    polled = await mailgun.poll(polled.cursor, NOW + timedelta(hours=3))
    assert (polled.events, polled.more) == ([], False)
    # Not half an hour before now: what was listed late while this round was reading must be seen by the next.
    assert polled.cursor == str(START - 1800)
    assert (second_page.call_count, last_page.call_count) == (1, 1)

    await mailgun.poll(polled.cursor, NOW + timedelta(hours=3))
    assert first_page.calls.last.request.url.params["begin"] == str(START - 1800)


@respx.mock
async def test_it_does_not_reach_back_before_it_began(mailgun: Mailgun) -> None:
    respx.get(f"{API}/events").respond(json=page(following="x"))
    polled = await mailgun.poll(str(START), NOW + timedelta(minutes=5))
    assert polled.cursor == str(START)


@respx.mock
async def test_an_event_of_the_list_is_that_of_the_webhook(mailgun: Mailgun) -> None:
    respx.get(f"{API}/events").respond(json=page(item("opened"), item("delivered"), following="x"))
    polled = await mailgun.poll(str(START), NOW)
    assert list(polled.events) == [only("opened"), only("delivered")]


@respx.mock
async def test_an_item_that_cannot_be_read_does_not_stop_the_rest(mailgun: Mailgun) -> None:
    bad = [{"event": "opened"}, "nonsense", item("opened", timestamp="then"), {"event": "accepted"}]
    respx.get(f"{API}/events").respond(json=page(*bad, item("delivered"), following="x"))
    polled = await mailgun.poll(str(START), NOW)
    assert [event.type for event in polled.events] == ["message.delivered"]


@pytest.mark.parametrize("status", [400, 404])
@respx.mock
async def test_a_page_that_is_gone_begins_the_round_again(mailgun: Mailgun, status: int) -> None:
    respx.get(f"{API}/events/gone").respond(status)
    polled = await mailgun.poll(f"{START - 7200} {START - 1800} gone", NOW)
    assert (polled.events, polled.cursor, polled.more) == ((), str(START - 7200), True)


@respx.mock
async def test_a_list_that_cannot_be_polled(mailgun: Mailgun) -> None:
    route = respx.get(f"{API}/events").respond(404)
    with pytest.raises(NeverAgain):
        await mailgun.poll(str(START), NOW)
    for status in (429, 500, 200):
        route.respond(status)
        with pytest.raises(TryAgain):
            await mailgun.poll(str(START), NOW)


@pytest.mark.parametrize("following", ["", "..", "a b", "a/b", "ü", "."])
@respx.mock
async def test_a_next_page_without_a_name_is_said(mailgun: Mailgun, following: str) -> None:
    respx.get(f"{API}/events").respond(json=page(item("delivered"), following=following))
    with pytest.raises(NeverAgain, match="next page"):
        await mailgun.poll(str(START), NOW)


@given(JUNK)
async def test_junk_items_never_stop_the_poll(what: Any) -> None:
    body = json.dumps(page(what, following="x")).encode()
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=body))
    async with httpx.AsyncClient(transport=transport) as client:
        polled = await Mailgun(settings(), client).poll(str(START), NOW)
    assert polled.cursor == f"{START} {START} x"
