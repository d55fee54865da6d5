"""Resend: what each notice means, and what is sent. How requests are signed is in test_standard_webhooks."""

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
from standardwebhooks import Webhook

from connectors import http
from connectors.base import Accepted, Message, Refused, Request, Sender, Source
from connectors.errors import BadAddress, ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.resend import Resend, ResendSettings
from contacts.events import Event

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
API_KEY = "re_5ecret"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/resend"
KEY = "0b5a-11/greet_them/2"
EMAILS = "https://api.resend.com/emails"
MESSAGE = Message(
    KEY,
    "Alice@example.com",
    "Grüße, and two things",
    "Hello\n",
    "<p>Hello</p>",
    unsubscribe_url="https://hub.example.com/u/t0ken",
    metadata={"journey": "welcome", "template": "second"},
)


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> Resend:
    given = {"api_key": API_KEY, "signing_secret": SECRET, **settings}
    sender = "Fernhill Studio <hello@fernhill.example.com>"
    return Resend(ResendSettings(_env_file=None, **given), client, from_address=sender)


RESEND = made()


@pytest.fixture
async def resend() -> AsyncIterator[Resend]:
    async with http.new_client() as client:
        yield made(client)


def arriving(body: bytes, id: str = "msg_1") -> Request:
    headers = {"svix-id": id, "svix-timestamp": str(int(NOW.timestamp())), "svix-signature": "v1,AAAA"}
    return Request("POST", URL, headers, body)


def notice(type: str, id: str = "msg_1", **data: Any) -> Request:
    about = {
        "email_id": "4ef9-a417",
        "created_at": "2026-03-02T08:00:00Z",
        "from": "Fernhill Studio <hello@fernhill.example.com>",
        "to": ["Alice@example.com"],
        "subject": "Hello",
        "tags": {"touch": "0b5a-11--greet_them--2"},
    }
    body = {"type": type, "created_at": "2026-03-02T08:59:58.678Z", "data": {**about, **data}}
    return arriving(json.dumps(body).encode(), id)


def only(request: Request) -> Event:
    (event,) = RESEND.parse(request, NOW)
    return event


def who(event: Event) -> set[tuple[str, str]]:
    return {(i.kind, i.value) for i in event.identities}


def test_what_it_is() -> None:
    assert isinstance(RESEND, Source)
    assert isinstance(RESEND, Sender)
    assert (RESEND.idempotent, RESEND.listed_within) == (True, None)


def test_it_believes_what_is_signed_and_nothing_else() -> None:
    good = notice("email.delivered")
    headers = {**good.headers, "svix-signature": Webhook(SECRET).sign("msg_1", NOW, good.body.decode())}
    RESEND.verify(Request("POST", URL, headers, good.body), NOW)
    for forged in (
        good,
        Request("POST", URL, headers, good.body + b" "),
        Request("POST", URL, {**headers, "svix-id": "msg_2"}, good.body),
        Request("POST", URL, {}, good.body),
    ):
        with pytest.raises(Refused):
            RESEND.verify(forged, NOW)
    with pytest.raises(Refused, match="no signing secret"):
        made(signing_secret=None).verify(Request("POST", URL, headers, good.body), NOW)


def test_a_secret_that_is_none_is_said_at_the_start() -> None:
    with pytest.raises(ValidationError, match="signing_secret") as caught:
        made(signing_secret="whsec_?x9!")
    assert "x9!" not in str(caught.value)


@pytest.mark.parametrize(
    ("type", "becomes"),
    [
        ("email.delivered", "message.delivered"),
        ("email.opened", "message.opened"),
        ("email.clicked", "message.clicked"),
        ("email.complained", "message.complained"),
    ],
)
def test_what_became_of_a_mail(type: str, becomes: str) -> None:
    event = only(notice(type))
    assert (event.type, event.source, event.source_id) == (becomes, "resend", "msg_1")
    assert event.occurred_at == datetime(2026, 3, 2, 8, 59, 58, 678000, tzinfo=UTC)
    assert (event.data["touch"], event.data["channel"], event.data["message_id"]) == (KEY, "email", "4ef9-a417")
    assert not event.data.get("machine")
    assert event.data["address"] == "Alice@example.com"
    assert who(event) == {("email", "alice@example.com")}


def test_a_click_happened_when_it_did() -> None:
    click = {"ipAddress": "192.0.2.1", "link": "https://example.com/a", "timestamp": "2026-03-02T08:30:00Z"}
    event = only(notice("email.clicked", click={**click, "userAgent": "x"}))
    assert event.occurred_at == datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
    assert event.data["url"] == "https://example.com/a"
    assert not {"ipAddress", "userAgent"} & event.data.keys()


@pytest.mark.parametrize(
    ("type", "sub_type", "permanent"),
    [
        ("Permanent", "General", True),
        ("Permanent", "NoEmail", True),
        ("Permanent", "Undetermined", True),
        ("Permanent", "ContentRejected", False),
        ("Permanent", "MessageTooLarge", False),
        ("Permanent", "MailboxFull", False),
        ("Transient", "General", False),
        ("Transient", "MailboxFull", False),
        ("Undetermined", "Undetermined", False),
    ],
)
def test_bounces(type: str, sub_type: str, permanent: bool) -> None:
    bounce = {"type": type, "subType": sub_type, "message": "alice@example.com has moved", "diagnosticCode": ["550"]}
    event = only(notice("email.bounced", bounce=bounce))
    assert (event.type, event.data["permanent"], event.data["reason"]) == (
        "message.bounced", permanent, f"{type} {sub_type}",
    )  # fmt: skip
    assert event.data["address"] == "Alice@example.com"


@pytest.mark.parametrize(
    ("type", "more", "permanent", "reason"),
    [
        ("email.delivery_delayed", {}, False, "delayed"),
        ("email.failed", {"failed": {"reason": "reached_daily_quota"}}, False, "failed reached_daily_quota"),
        ("email.suppressed", {"suppressed": {"reason": "previous_bounce"}}, True, "suppressed previous_bounce"),
        ("email.suppressed", {"suppressed": {"reason": "previous_complaint"}}, True, "suppressed previous_complaint"),
        ("email.suppressed", {}, True, "suppressed"),
        ("email.bounced", {"bounce": None}, False, None),
    ],
)
def test_other_ways_not_to_arrive(type: str, more: dict[str, Any], permanent: bool, reason: str | None) -> None:
    event = only(notice(type, **more))
    assert event.type == "message.bounced"
    assert (event.data["permanent"], event.data.get("reason"), event.data["touch"]) == (permanent, reason, KEY)


def test_somebody_wrote_back() -> None:
    event = only(
        notice("email.received", **{"from": "Alice <alice@example.com>", "to": ["hello@fernhill.example.com"]})
    )
    assert (event.type, who(event)) == ("message.replied", {("email", "alice@example.com")})
    assert (event.data["subject"], event.data["message_id"]) == ("Hello", "4ef9-a417")
    assert "touch" not in event.data


CONTACT = {
    "id": "c1",
    "email": "alice@example.com",
    "first_name": "Alice",
    "last_name": "",
    "updated_at": "2026-03-01T00:00:00Z",
}


def test_a_contact_who_unsubscribed() -> None:
    changed, withdrawn = RESEND.parse(notice("contact.updated", **CONTACT, unsubscribed=True), NOW)
    assert (changed.type, changed.data) == ("contact.updated", {"email": "alice@example.com", "first_name": "Alice"})
    assert (withdrawn.type, withdrawn.data["channel"], withdrawn.data["purpose"]) == (
        "consent.withdrawn",
        "email",
        "all",
    )
    assert withdrawn.occurred_at == datetime(2026, 3, 1, tzinfo=UTC)
    assert len({changed.source_id, withdrawn.source_id}) == 2
    assert who(withdrawn) == who(changed) == {("email", "alice@example.com")}


@pytest.mark.parametrize("type", ["contact.created", "contact.updated"])
def test_a_contact_who_did_not_has_not_thereby_said_yes(type: str) -> None:
    assert only(notice(type, **CONTACT, unsubscribed=False)).type == "contact.updated"


@pytest.mark.parametrize("type", ["email.sent", "email.scheduled", "contact.deleted", "domain.updated", "new.kind"])
def test_other_kinds_mean_nothing(type: str) -> None:
    assert RESEND.parse(notice(type), NOW) == []


def test_a_repeat_is_the_same_event_and_every_event_has_its_id() -> None:
    assert only(notice("email.opened")).source_id == only(notice("email.opened")).source_id
    both = RESEND.parse(notice("email.delivered", to=["a@example.com", "b@example.com"]), NOW)
    assert [e.source_id for e in both] == ["msg_1", "msg_1:1"]
    assert [e.data["address"] for e in both] == ["a@example.com", "b@example.com"]
    long = only(notice("email.opened", id="m" * 300)).source_id
    assert len(long) == 64
    assert long != only(notice("email.opened", id="m" * 301)).source_id


def test_mail_that_is_none_of_ours() -> None:
    for tags in (None, {}, {"other": "x"}, {"touch": ""}):
        assert "touch" not in only(notice("email.delivered", tags=tags)).data


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"^created_at: "):
        RESEND.parse(arriving(b'{"type": "email.sent"}'), NOW)
    with pytest.raises(ValueError, match=r"^webhook-id: is missing$"):
        RESEND.parse(Request("POST", URL, {}, notice("email.opened").body), NOW)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
TYPES = st.sampled_from(
    ["email.bounced", "email.clicked", "email.suppressed", "email.failed", "email.received", "contact.updated"]
)
PARTS = [
    "email_id",
    "to",
    "from",
    "tags",
    "bounce",
    "click",
    "failed",
    "suppressed",
    "email",
    "updated_at",
    "unsubscribed",
]


@given(TYPES, st.dictionaries(st.sampled_from(PARTS), ANY | st.just("9999-12-31T23:59:59-12:00")), ANY, st.binary())
def test_junk_bodies_parse_or_raise_a_value_error(type: str, data: dict[str, Any], whole: Any, raw: bytes) -> None:
    for request in (notice(type, **data), arriving(json.dumps(whole).encode()), arriving(raw)):
        try:
            RESEND.parse(request, NOW)
        except ValueError as error:
            assert "\n" not in str(error)


@respx.mock
async def test_a_mail_goes_out(resend: Resend) -> None:
    route = respx.post(EMAILS).respond(200, json={"id": "4ef9-a417"})
    assert await resend.send(MESSAGE) == Accepted("4ef9-a417")
    request = route.calls.last.request
    assert json.loads(request.content) == {
        "from": "Fernhill Studio <hello@fernhill.example.com>",
        "to": ["Alice@example.com"],
        "subject": "Grüße, and two things",
        "text": "Hello\n",
        "html": "<p>Hello</p>",
        "headers": {
            "Auto-Submitted": "auto-generated",
            "Feedback-ID": "second:welcome:promotional:fernhill.example.com",
            "List-Unsubscribe": "<https://hub.example.com/u/t0ken>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
        "tags": [{"name": "touch", "value": "0b5a-11--greet_them--2"}],
    }
    assert request.headers["idempotency-key"] == KEY
    assert request.headers["authorization"] == f"Bearer {API_KEY}"
    assert request.headers["user-agent"] == "perennial"


@respx.mock
async def test_no_way_out_and_text_alone(resend: Resend) -> None:
    route = respx.post(EMAILS).respond(200, json={"id": "1"})
    await resend.send(replace(MESSAGE, html=None, unsubscribe_url=None))
    body = json.loads(route.calls.last.request.content)
    assert "html" not in body
    assert not {"List-Unsubscribe", "List-Unsubscribe-Post"} & body["headers"].keys()


@pytest.mark.parametrize(
    ("status", "name", "kind", "delay"),
    [
        (400, "validation_error", NeverAgain, None),
        (400, "invalid_idempotency_key", NeverAgain, None),
        (401, "missing_api_key", NeverAgain, None),
        (403, "invalid_api_key", NeverAgain, None),
        (409, "concurrent_idempotent_requests", Unknown, None),
        (422, "missing_required_field", NeverAgain, None),
        (429, "rate_limit_exceeded", TryAgain, None),
        (429, "daily_quota_exceeded", TryAgain, timedelta(hours=1)),
        (429, "monthly_quota_exceeded", TryAgain, timedelta(hours=6)),
        (500, "application_error", Unknown, None),
    ],
)
@respx.mock
async def test_each_refusal(
    resend: Resend, status: int, name: str, kind: type[ConnectorError], delay: timedelta | None
) -> None:
    prose = "alice@example.com is not one we like"
    respx.post(EMAILS).respond(status, json={"statusCode": status, "name": name, "message": prose})
    with pytest.raises(kind) as caught:
        await resend.send(MESSAGE)
    assert caught.value.reason == f"{status} {name}"
    if isinstance(caught.value, TryAgain):
        assert caught.value.delay == delay
    for secret in (API_KEY, "lice@example.com", SECRET):
        assert secret not in repr(caught.value) + str(caught.value)


@respx.mock
async def test_the_provider_says_when(resend: Resend) -> None:
    respx.post(EMAILS).respond(429, json={"name": "rate_limit_exceeded"}, headers={"retry-after": "3"})
    with pytest.raises(TryAgain) as caught:
        await resend.send(MESSAGE)
    assert caught.value.delay == timedelta(seconds=3)


@respx.mock
async def test_a_key_that_went_with_another_text_was_taken_then(resend: Resend) -> None:
    respx.post(EMAILS).respond(409, json={"name": "invalid_idempotent_request"})
    assert await resend.send(MESSAGE) == Accepted(KEY)


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"to": "alice"}, BadAddress, "not an e-mail address"),
        ({"subject": "a\r\nBcc: eve@example.com"}, NeverAgain, "subject holds a control character"),
        ({"subject": "x" * 901}, NeverAgain, "subject: is longer than 900"),
        ({"unsubscribe_url": "mailto:stop@example.com"}, NeverAgain, "unsubscribe_url is not"),
        ({"key": "a b"}, NeverAgain, "key does not fit into a tag"),
        ({"key": "a" * 257}, NeverAgain, "key does not fit into a tag"),
    ],
)
@respx.mock
async def test_what_is_refused_before_a_call(
    resend: Resend, changes: dict[str, str], kind: type[NeverAgain], says: str
) -> None:
    with pytest.raises(kind, match=says):
        await resend.send(replace(MESSAGE, **changes))
    assert not respx.calls


async def test_what_is_not_set_is_named() -> None:
    with pytest.raises(NeverAgain, match="RESEND_API_KEY"):
        await made(api_key=None).send(MESSAGE)
    with pytest.raises(NeverAgain, match="no address to send from"):
        await Resend(ResendSettings(_env_file=None, api_key=API_KEY)).send(MESSAGE)
    with pytest.raises(ValueError, match="is not a sender"):
        Resend(ResendSettings(_env_file=None), from_address="Fernhill")
    with pytest.raises(NeverAgain):
        await RESEND.look_up(KEY)
