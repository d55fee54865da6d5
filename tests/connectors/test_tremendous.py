"""Tremendous: one gift a key, never worth more than allowed; what its refusals mean; and what became of gifts."""

import hashlib
import hmac
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

from connectors import http
from connectors.base import Message, Poller, Refused, Request, Sender, Source
from connectors.errors import BadAddress, ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.tremendous import LONGEST_CARD, PAGE, Tremendous, TremendousSettings

SECRET = "private-key-of-the-webhook"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/tremendous"
API = "https://testflight.tremendous.com/api/v2"


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> Tremendous:
    given = {
        "api_key": "TEST_key",
        "base_url": API,
        "signing_secret": SECRET,
        "funding_source": "BALANCE",
        "campaign": "CAMP1",
        "amount": "25.00",
        "currency": "EUR",
        **settings,
    }
    return Tremendous(TremendousSettings(_env_file=None, **given), client)


TREMENDOUS = made()
GIFT = Message("run-1/celebrate/1", "zoe@example.com", "A present", "Ask first whether they may", purpose="lifecycle")


def asking(**metadata: str) -> Message:
    return replace(GIFT, metadata=metadata)


@pytest.fixture
async def tremendous() -> AsyncIterator[Tremendous]:
    async with http.new_client() as client:
        yield made(client)


class Account:
    """Orders as Tremendous keeps them: the first with an external id is the only one."""

    def __init__(self, status: str = "EXECUTED") -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.status = status
        self.route = respx.post(f"{API}/orders").mock(side_effect=self.order)

    def order(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        key = body["external_id"]
        new = key not in self.orders
        number = len(self.orders) + 1
        made = {"id": f"ORD{number}", "external_id": key, "status": self.status, "rewards": [{"id": f"REW{number}"}]}
        self.orders.setdefault(key, made)
        return httpx.Response(200 if new else 201, json={"order": self.orders[key]})

    @property
    def sent(self) -> Any:
        return json.loads(self.route.calls.last.request.content)


def test_what_it_is() -> None:
    for ability in (Sender, Source, Poller):
        assert isinstance(TREMENDOUS, ability)
    assert (TREMENDOUS.channel, TREMENDOUS.idempotent, TREMENDOUS.listed_within) == ("gift", True, None)


@respx.mock
async def test_a_gift(tremendous: Tremendous) -> None:
    account = Account()
    accepted = await tremendous.send(asking(journey="value-realized"))
    assert accepted.provider_id == "REW1"
    assert account.sent == {
        "external_id": "run-1/celebrate/1",
        "payment": {"funding_source_id": "BALANCE"},
        "reward": {
            "value": {"denomination": 25.0, "currency_code": "EUR"},
            "recipient": {"email": "zoe@example.com"},
            "delivery": {"method": "EMAIL"},
            "campaign_id": "CAMP1",
        },
    }
    assert account.route.calls.last.request.headers["authorization"] == "Bearer TEST_key"


@respx.mock
async def test_the_same_key_again_makes_no_other_gift(tremendous: Tremendous) -> None:
    account = Account()
    first = await tremendous.send(GIFT)
    assert await tremendous.send(GIFT) == first
    other = await tremendous.send(replace(GIFT, key="run-1/celebrate/2"))
    assert other.provider_id == "REW2"
    assert len(account.orders) == 2


@respx.mock
async def test_a_message_may_say_what_is_given(tremendous: Tremendous) -> None:
    account = Account()
    await tremendous.send(asking(amount="12.5", currency="eur", campaign="CAMP2", products="P1, P2", name="Zoë"))
    reward = account.sent["reward"]
    assert reward["value"] == {"denomination": 12.5, "currency_code": "EUR"}
    assert (reward["campaign_id"], reward["products"]) == ("CAMP2", ["P1", "P2"])
    assert reward["recipient"] == {"email": "zoe@example.com", "name": "Zoë"}


@pytest.mark.parametrize("card", ["Dear Zoë,\n\nCheers!", "c" * LONGEST_CARD])
@respx.mock
async def test_the_card_goes_out_and_what_is_written_for_a_colleague_does_not(
    tremendous: Tremendous, card: str
) -> None:
    account = Account()
    await tremendous.send(replace(GIFT, card=card))
    assert account.sent["reward"]["delivery"] == {"method": "EMAIL", "meta": {"message": card}}
    assert "Ask first" not in json.dumps(account.sent)


async def test_a_card_that_is_too_long_is_refused_before_any_call(tremendous: Tremendous) -> None:
    with respx.mock, pytest.raises(NeverAgain, match=r"^tremendous: card: is longer than 2,000 characters$"):
        await tremendous.send(replace(GIFT, card="c" * (LONGEST_CARD + 1)))


@pytest.mark.parametrize(
    ("settings", "metadata", "said"),
    [
        ({}, {"amount": "25.01"}, "more than 25.00 EUR"),
        ({"limit": "40"}, {"amount": "40.01"}, "more than 40 EUR"),
        ({"limit": "20"}, {}, "more than 20 EUR"),
        ({"amount": None}, {"amount": "5"}, "TREMENDOUS_LIMIT"),
        ({"amount": None, "limit": "9"}, {}, "TREMENDOUS_AMOUNT"),
        ({}, {"currency": "USD"}, "metadata.currency"),
        ({}, {"amount": "lots"}, "metadata.amount"),
        ({}, {"amount": "-5"}, "metadata.amount"),
        ({}, {"amount": "0"}, "metadata.amount"),
        ({}, {"amount": "NaN"}, "metadata.amount"),
        ({}, {"amount": "Infinity"}, "metadata.amount"),
        ({}, {"amount": "sNaN"}, "metadata.amount"),
        ({}, {"amount": "1e999999"}, "more than 25.00 EUR"),
        ({}, {"amount": "1e-999999"}, "metadata.amount"),
        ({}, {"amount": "5.005"}, "metadata.amount"),
        ({"currency": "JPY"}, {"amount": "5.5"}, "metadata.amount"),
        ({"funding_source": None}, {}, "TREMENDOUS_FUNDING_SOURCE"),
        ({"campaign": None}, {}, "TREMENDOUS_CAMPAIGN"),
        ({"api_key": None}, {}, "TREMENDOUS_API_KEY"),
        ({}, {"name": "n" * 101}, "metadata.name: is longer than 100"),
    ],
)
@respx.mock
async def test_no_money_leaves_without_bounds(settings: dict[str, Any], metadata: dict[str, str], said: str) -> None:
    account = Account()
    with pytest.raises(NeverAgain) as caught:
        await made(**settings).send(asking(**metadata))
    assert said in caught.value.reason
    assert not account.route.called


@respx.mock
async def test_within_the_limit_it_goes() -> None:
    account = Account()
    await made(limit="40").send(asking(amount="40"))
    await made(amount=None, limit="9").send(replace(asking(amount="9.00"), key="k2"))
    await made(currency="JPY", amount="500").send(replace(GIFT, key="k3"))
    assert [o["external_id"] for o in account.orders.values()] == ["run-1/celebrate/1", "k2", "k3"]


async def test_an_address_that_is_none(tremendous: Tremendous) -> None:
    with pytest.raises(BadAddress):
        await tremendous.send(replace(GIFT, to="+4930901820"))


@pytest.mark.parametrize("status", ["FAILED", "CANCELED"])
@respx.mock
async def test_an_order_that_came_to_nothing(tremendous: Tremendous, status: str) -> None:
    Account(status)
    with pytest.raises(NeverAgain, match=status.lower()):
        await tremendous.send(GIFT)


@respx.mock
async def test_an_order_that_waits_for_a_yes_at_tremendous_is_accepted(tremendous: Tremendous) -> None:
    Account("PENDING APPROVAL")
    assert (await tremendous.send(GIFT)).provider_id == "REW1"


@respx.mock
async def test_an_empty_account_is_asked_again_hours_later(tremendous: Tremendous) -> None:
    respx.post(f"{API}/orders").respond(402, json={"errors": {"message": "no funds for zoe@example.com"}})
    with pytest.raises(TryAgain) as caught:
        await tremendous.send(GIFT)
    assert caught.value.delay == timedelta(hours=6)
    assert "zoe" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (409, Unknown),
        (429, TryAgain),
        (500, Unknown),
        (503, Unknown),
        (401, http.Rejected),
        (422, http.Rejected),
    ],
)
@respx.mock
async def test_refusals(tremendous: Tremendous, status: int, kind: type[ConnectorError]) -> None:
    payload = {"reward": {"recipient": {"email": ["zoe@example.com is none"]}}}
    respx.post(f"{API}/orders").respond(status, json={"errors": {"message": "zoe@example.com", "payload": payload}})
    with pytest.raises(ConnectorError) as caught:
        await tremendous.send(GIFT)
    assert type(caught.value) is kind
    assert caught.value.reason == f"{status} reward recipient email"
    assert "zoe" not in str(caught.value)
    assert "TEST_key" not in str(caught.value)


async def test_there_is_nothing_to_look_up(tremendous: Tremendous) -> None:
    with pytest.raises(NeverAgain):
        await tremendous.look_up(GIFT.key)


def signed(body: bytes, secret: str = SECRET) -> Request:
    mac = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return Request("POST", URL, {"tremendous-webhook-signature": f"sha256={mac}"}, body)


def refusal(request: Request, tremendous: Tremendous = TREMENDOUS) -> Refused:
    with pytest.raises(Refused) as caught:
        tremendous.verify(request, NOW)
    return caught.value


def test_a_vector_worked_out_apart_from_this_code() -> None:
    # printf %s '{}' | openssl dgst -sha256 -hmac private-key-of-the-webhook
    mac = "2e7f052c69adb43ccd35c3ee79cabaabfd08b5d7988676e2f3a3b28584eb68f5"
    TREMENDOUS.verify(Request("POST", URL, {"tremendous-webhook-signature": f"sha256={mac}"}, b"{}"), NOW)


def test_whatever_is_altered_is_refused() -> None:
    header = signed(b"{}").headers["tremendous-webhook-signature"]
    for value, body in (
        (header, b"{} "),
        (header.removeprefix("sha256="), b"{}"),
        (header.replace("sha256", "sha1"), b"{}"),
        ("sha256=", b"{}"),
        ("", b"{}"),
    ):
        assert refusal(Request("POST", URL, {"tremendous-webhook-signature": value}, body)).status == 401
    assert refusal(signed(b"{}", secret="other")).status == 401


def test_several_secrets_and_none() -> None:
    made(signing_secret=f"other,{SECRET}").verify(signed(b"{}"), NOW)
    assert "no signing secret" in refusal(signed(b"{}"), made(signing_secret=None)).reason


@given(st.text(), st.binary())
def test_junk_is_refused(signature: str, body: bytes) -> None:
    with pytest.raises(Refused):
        TREMENDOUS.verify(Request("POST", URL, {"tremendous-webhook-signature": signature}, body), NOW)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        TREMENDOUS.parse(Request("POST", URL, {}, body), NOW)
    assert "\n" not in str(caught.value)


def notice(event: str, /, **fields: Any) -> Request:
    body = {
        "event": event,
        "uuid": "w-1",
        "created_utc": "2026-03-02T08:59:00Z",
        "payload": {"resource": {"id": "REW1", "type": "rewards"}, "meta": {}},
        **fields,
    }
    return Request("POST", URL, {}, json.dumps(body).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["event", "uuid", "created_utc", "payload"]), JSON))
def test_junk_notices_parse_or_raise_a_value_error(fields: dict[str, Any]) -> None:
    try:
        TREMENDOUS.parse(notice("REWARDS.CANCELED", **fields), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("event", "type", "more"),
    [
        ("REWARDS.DELIVERY.SUCCEEDED", "message.delivered", {"machine": False}),
        (
            "REWARDS.DELIVERY.FAILED",
            "message.bounced",
            {"permanent": False, "reason": "delivery_failed", "machine": False},
        ),
        ("REWARDS.CANCELED", "custom.gift_canceled", {}),
        ("REWARDS.FLAGGED", "custom.gift_flagged", {}),
        ("ORDERS.CANCELED", "custom.gift_canceled", {}),
        ("ORDERS.FAILED", "custom.gift_failed", {}),
    ],
)
def test_what_webhooks_say(event: str, type: str, more: dict[str, Any]) -> None:
    (told,) = TREMENDOUS.parse(notice(event), NOW)
    assert (told.type, told.source_id) == (type, f"{event}/REW1")
    assert told.occurred_at == datetime(2026, 3, 2, 8, 59, tzinfo=UTC)
    assert told.data == {"channel": "gift", "provider_id": "REW1", "resource": "rewards", **more}


@pytest.mark.parametrize("text", ["2026-03-02 08:59:00 UTC", "2026-03-02T08:59:00", "2026-03-02T09:59:00+01:00"])
def test_times_are_utc_as_their_name_says(text: str) -> None:
    (told,) = TREMENDOUS.parse(notice("REWARDS.CANCELED", created_utc=text), NOW)
    assert told.occurred_at == datetime(2026, 3, 2, 8, 59, tzinfo=UTC)


@pytest.mark.parametrize("event", ["ORDERS.CREATED", "ORDERS.APPROVED", "INVOICES.PAID", "NEW.KIND"])
def test_other_events_mean_nothing(event: str) -> None:
    assert TREMENDOUS.parse(notice(event), NOW) == []


def order(n: int, status: str | None, email: str | None = "zoe@example.com") -> dict[str, Any]:
    reward = {
        "id": f"REW{n}",
        "delivery": {"method": "EMAIL", "status": status} if status else None,
        "recipient": {"email": email, "name": None},
    }
    return {"id": f"ORD{n}", "external_id": f"run-{n}/celebrate/1", "status": "EXECUTED", "rewards": [reward]}


@respx.mock
async def test_orders_name_the_touch_and_the_recipient(tremendous: Tremendous) -> None:
    begun = (await tremendous.poll(None, NOW)).cursor
    orders = [
        order(1, "SUCCEEDED"),
        order(2, "FAILED"),
        order(3, "PENDING"),
        order(4, None),
        order(5, "SUCCEEDED", None),
    ]
    route = respx.get(f"{API}/orders").respond(json={"orders": [*orders, {"id": "ORD6", "rewards": None}]})
    later = NOW + timedelta(hours=1)
    found = await tremendous.poll(begun, later)
    delivered, failed = found.events
    assert (delivered.type, delivered.source_id) == ("message.delivered", "REWARDS.DELIVERY.SUCCEEDED/REW1")
    assert (delivered.occurred_at, found.more) == (later, False)
    assert {(i.kind, i.value) for i in delivered.identities} == {("email", "zoe@example.com")}
    assert delivered.data == {
        "channel": "gift",
        "touch": "run-1/celebrate/1",
        "provider_id": "REW1",
        "address": "zoe@example.com",
        "machine": False,
    }
    assert (failed.type, failed.data["permanent"]) == ("message.bounced", False)
    asked = route.calls.last.request.url.params
    assert (asked["created_at[gte]"], asked["limit"], asked["offset"]) == ("2026-03-02T09:00:00+00:00", "100", "0")


@respx.mock
async def test_a_delivery_told_twice_is_one_event(tremendous: Tremendous) -> None:
    begun = (await tremendous.poll(None, NOW)).cursor
    respx.get(f"{API}/orders").respond(json={"orders": [order(1, "SUCCEEDED")]})
    (polled,) = (await tremendous.poll(begun, NOW)).events
    (told,) = TREMENDOUS.parse(notice("REWARDS.DELIVERY.SUCCEEDED"), NOW)
    assert polled.source_id == told.source_id


@respx.mock
async def test_gifts_are_watched_for_a_fortnight(tremendous: Tremendous) -> None:
    cursor = (await tremendous.poll(None, NOW)).cursor
    route = respx.get(f"{API}/orders").mock(
        side_effect=[
            httpx.Response(200, json={"orders": [order(n, "PENDING") for n in range(PAGE)]}),
            httpx.Response(200, json={"orders": []}),
            httpx.Response(200, json={"orders": []}),
        ]
    )
    one = await tremendous.poll(cursor, NOW + timedelta(days=3))
    two = await tremendous.poll(one.cursor, NOW + timedelta(days=3))
    three = await tremendous.poll(two.cursor, NOW + timedelta(days=20))
    assert [p.more for p in (one, two, three)] == [True, False, False]
    asked = [(c.request.url.params["offset"], c.request.url.params["created_at[gte]"][:10]) for c in route.calls]
    assert asked == [("0", "2026-03-02"), ("100", "2026-03-02"), ("0", "2026-03-08")]
