"""Chatbase: a SHA-1 MAC without a time, leads known by what they say, and polling."""

import hashlib
import hmac
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
from connectors.base import Poller, Refused, Request, Source
from connectors.chatbase import PAGE, Chatbase, ChatbaseSettings
from connectors.errors import ConnectorError, NeverAgain, TryAgain
from contacts.events import Event

SECRET = "secret-of-the-bot"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/chatbase"
LEADS = "https://www.chatbase.co/api/v1/get-leads"


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> Chatbase:
    given = {"signing_secret": SECRET, "api_key": "key-1", "chatbots": "bot-1, bot-2", **settings}
    return Chatbase(ChatbaseSettings(_env_file=None, **given), client)


CHATBASE = made()


def signed(body: bytes, secret: str = SECRET) -> Request:
    mac = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
    return Request("POST", URL, {"x-chatbase-signature": mac}, body)


def refusal(request: Request, chatbase: Chatbase = CHATBASE) -> Refused:
    with pytest.raises(Refused) as caught:
        chatbase.verify(request, NOW)
    return caught.value


def lead(**fields: Any) -> dict[str, Any]:
    return {
        "conversationId": "conv-1",
        "customerEmail": "Zoe@Example.com",
        "customerName": "Zoë Ash",
        "customerPhone": "+49 30 901820",
        **fields,
    }


def notice(payload: dict[str, Any], bot: str = "bot-1", type: str = "leads.submit") -> Request:
    return Request("POST", URL, {}, json.dumps({"eventType": type, "chatbotId": bot, "payload": payload}).encode())


def who(event: Event) -> set[tuple[str, str]]:
    return {(i.kind, i.value) for i in event.identities}


def test_what_it_is() -> None:
    assert isinstance(CHATBASE, Source)
    assert isinstance(CHATBASE, Poller)


def test_a_vector_worked_out_apart_from_this_code() -> None:
    # printf %s '{}' | openssl dgst -sha1 -hmac secret-of-the-bot
    CHATBASE.verify(
        Request("POST", URL, {"x-chatbase-signature": "3289b9d8c7aa8f8d73dfdf6b4be640bcf44bade2"}, b"{}"), NOW
    )


def test_the_signature_is_over_the_bytes_as_they_came() -> None:
    CHATBASE.verify(signed('{ "a":  "Zoë" }'.encode()), NOW)
    for forged in (
        Request("POST", URL, signed(b'{"a": 1}').headers, b'{"a":1}'),
        signed(b"{}", secret="other"),
        Request("POST", URL, {"x-chatbase-signature": hmac.new(SECRET.encode(), b"{}", "sha256").hexdigest()}, b"{}"),
        Request("POST", URL, {"x-chatbase-signature": ""}, b"{}"),
        Request("POST", URL, {}, b"{}"),
    ):
        assert refusal(forged).status == 401


def test_several_secrets_and_none() -> None:
    made(signing_secret=f"other,{SECRET}").verify(signed(b"{}"), NOW)
    assert "no signing secret" in refusal(signed(b"{}"), made(signing_secret=None)).reason


@given(st.text(), st.binary())
def test_junk_is_refused(signature: str, body: bytes) -> None:
    with pytest.raises(Refused):
        CHATBASE.verify(Request("POST", URL, {"x-chatbase-signature": signature}, body), NOW)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        CHATBASE.parse(Request("POST", URL, {}, body), NOW)
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*lead(), "email", "createdAt"]), JSON))
def test_junk_leads_parse_or_raise_a_value_error(fields: dict[str, Any]) -> None:
    try:
        CHATBASE.parse(notice(lead(**fields)), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


def test_a_lead() -> None:
    form, person = CHATBASE.parse(notice(lead()), NOW)
    assert (form.type, form.source, form.occurred_at) == ("form.submitted", "chatbase", NOW)
    assert form.data == {"form": "chatbase", "answers": {}, "chatbot": "bot-1", "conversation": "conv-1"}
    assert who(form) == {("email", "zoe@example.com"), ("phone", "+4930901820")}
    assert (person.type, person.data) == ("contact.updated", {"name": "Zoë Ash"})
    assert person.source_id != form.source_id


def test_no_consent_and_no_conversation_come_of_it() -> None:
    for event in CHATBASE.parse(notice(lead()), NOW):
        assert "consent" not in event.data
        assert not event.type.startswith(("conversation.", "consent."))


def test_a_lead_is_known_by_what_it_says_and_the_id_gives_nobody_away() -> None:
    def id_of(fields: dict[str, Any], bot: str = "bot-1", at: datetime = NOW) -> str:
        return CHATBASE.parse(notice(lead(**fields), bot), at)[0].source_id

    assert id_of({}) == id_of({"customerEmail": "zoe@example.com "}, at=NOW + timedelta(days=1))
    others = [id_of({"conversationId": "conv-2"}), id_of({"customerEmail": "b@example.com"}), id_of({}, "bot-2")]
    assert len({id_of({}), *others}) == 4
    assert "zoe" not in id_of({}).lower()


@pytest.mark.parametrize(
    "fields", [{"customerEmail": None, "customerPhone": "030 901820"}, {"customerEmail": "", "customerPhone": ""}]
)
def test_who_leaves_no_address_is_nobody(fields: dict[str, Any]) -> None:
    assert CHATBASE.parse(notice(lead(**fields)), NOW) == []


def test_other_events_mean_nothing() -> None:
    assert CHATBASE.parse(notice({"conversationId": 1}, type="conversations.closed"), NOW) == []


def test_what_does_not_parse_is_named_without_its_value() -> None:
    with pytest.raises(ValueError, match=r"^customerEmail: ") as caught:
        CHATBASE.parse(notice(lead(customerEmail=["zoe@example.com"])), NOW)
    assert "zoe" not in str(caught.value)


@pytest.fixture
async def chatbase() -> AsyncIterator[Chatbase]:
    async with http.new_client() as client:
        yield made(client)


def row(n: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"l-{n}",
        "name": "Zoë Ash",
        "email": f"z{n}@example.com",
        "created_at": "2026-03-02T08:30:00Z",
        **fields,
    }


@pytest.mark.parametrize(
    "shape",
    [
        lambda rows: {"data": rows},
        lambda rows: {"collectedCustomers": rows},
        lambda rows: {"collectedCustomers": {"data": rows}},
    ],
)
@respx.mock
async def test_leads_are_found_wherever_they_are(chatbase: Chatbase, shape: Any) -> None:
    begun = (await chatbase.poll(None, NOW)).cursor
    route = respx.get(LEADS).respond(json=shape([row()]))
    found = await chatbase.poll(begun, NOW)
    assert [(e.type, e.occurred_at) for e in found.events] == [
        ("form.submitted", datetime(2026, 3, 2, 8, 30, tzinfo=UTC)),
        ("contact.updated", datetime(2026, 3, 2, 8, 30, tzinfo=UTC)),
    ]
    assert dict(route.calls.last.request.url.params) == {
        "chatbotId": "bot-1",
        "startDate": "2026-03-01",
        "endDate": "2026-03-03",
        "page": "1",
        "size": "100",
    }
    assert route.calls.last.request.headers["authorization"] == "Bearer key-1"


@respx.mock
async def test_polling_goes_through_every_bot_and_page(chatbase: Chatbase) -> None:
    cursor = (await chatbase.poll(None, NOW)).cursor
    answers = [[row(n) for n in range(PAGE)], [row(200)], []]
    route = respx.get(LEADS).mock(side_effect=[httpx.Response(200, json={"data": rows}) for rows in answers])
    pages = []
    for minute in range(3):
        pages.append(await chatbase.poll(cursor, NOW + timedelta(minutes=15 + minute)))
        cursor = pages[-1].cursor
    assert [p.more for p in pages] == [True, True, False]
    asked = [(c.request.url.params["chatbotId"], c.request.url.params["page"]) for c in route.calls]
    assert asked == [("bot-1", "1"), ("bot-1", "2"), ("bot-2", "1")]
    assert json.loads(cursor) == {"since": "2026-03-02T09:15:00Z", "began": "2026-03-02T09:15:00Z", "bot": 0, "page": 1}


@respx.mock
async def test_a_polled_lead_of_a_named_conversation_is_the_one_the_webhook_told(chatbase: Chatbase) -> None:
    begun = (await chatbase.poll(None, NOW)).cursor
    respx.get(LEADS).respond(json={"data": [row(email="zoe@example.com", conversation_id="conv-1")]})
    found = await chatbase.poll(begun, NOW)
    assert [e.source_id for e in found.events] == [e.source_id for e in CHATBASE.parse(notice(lead()), NOW)]


@respx.mock
async def test_old_leads_and_unreadable_ones_do_not_come_with_the_others(chatbase: Chatbase) -> None:
    begun = (await chatbase.poll(None, NOW)).cursor
    rows = [row(1, created_at="2026-02-20T00:00:00Z"), row(2, created_at="lately"), row(3)]
    respx.get(LEADS).respond(json={"data": rows})
    found = await chatbase.poll(begun, NOW)
    assert {i.value for e in found.events for i in e.identities} == {"z3@example.com"}


async def test_without_bots_nothing_is_polled() -> None:
    begun = (await made(chatbots=None).poll(None, NOW)).cursor
    assert (await made(chatbots=" , ").poll(begun, NOW)).events == []


@pytest.mark.parametrize(("status", "kind"), [(429, TryAgain), (500, TryAgain), (401, NeverAgain), (404, NeverAgain)])
@respx.mock
async def test_refusals(chatbase: Chatbase, status: int, kind: type[ConnectorError]) -> None:
    begun = (await chatbase.poll(None, NOW)).cursor
    respx.get(LEADS).respond(status, json={"message": "no bot of zoe@example.com"})
    with pytest.raises(kind) as caught:
        await chatbase.poll(begun, NOW)
    assert caught.value.reason == str(status)
    assert "key-1" not in str(caught.value)


@respx.mock
async def test_an_answer_of_another_shape_is_asked_for_again(chatbase: Chatbase) -> None:
    begun = (await chatbase.poll(None, NOW)).cursor
    respx.get(LEADS).respond(json={"leads": []})
    with pytest.raises(TryAgain, match="another shape"):
        await chatbase.poll(begun, NOW)


async def test_without_a_key_nothing_is_asked() -> None:
    begun = (await made().poll(None, NOW)).cursor
    with pytest.raises(NeverAgain, match="CHATBASE_API_KEY"):
        await made(api_key=None).poll(begun, NOW)
