"""Sendoso: never two gifts for one touch, tokens that work once, and webhooks that name nobody."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from connectors import http
from connectors.base import Message, Refused, Request, Sender, Source
from connectors.errors import BadAddress, ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.sendoso import LONGEST_CARD, Sendoso, SendosoSettings

SECRET = "whsec_c2VjcmV0LW9mLXRoZS13ZWJob29rLWVuZHBvaW50"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/sendoso?event=send.delivered"
API = "https://app.sendoso.com"
GIFT = Message("run-1/celebrate/1", "zoe@example.com", "A present", "Ask first whether they may", purpose="lifecycle")
ADDRESS = {
    "name": "Zoë Ash",
    "line1": "12 Main Street",
    "line2": "Unit 4",
    "city": "Springfield",
    "region": "IL",
    "postal_code": "62701",
}


def made(folder: Path, client: httpx.AsyncClient | None = None, **settings: Any) -> Sendoso:
    given = {
        "client_id": "client-1",
        "client_secret": "client-secret",
        "refresh_token": "refresh-0",
        "token_file": folder / "sendoso" / "tokens.json",
        "touch_id": 77,
        "signing_secret": SECRET,
        **settings,
    }
    return Sendoso(SendosoSettings(_env_file=None, **given), client)


@pytest.fixture
async def sendoso(tmp_path: Path) -> AsyncIterator[Sendoso]:
    async with http.new_client() as client:
        yield made(tmp_path, client)


class Vendor:
    """Sendoso's own: a refresh token works once, and every order is carried out."""

    def __init__(self, valid: str = "refresh-0") -> None:
        self.valid = valid
        self.access = ""
        self.granted = 0
        self.gifts: list[Any] = []
        self.tokens = respx.post(f"{API}/oauth/token").mock(side_effect=self.grant)
        self.sends = respx.post(f"{API}/api/v3/send").mock(side_effect=self.send)

    def grant(self, request: httpx.Request) -> httpx.Response:
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        assert (form["grant_type"], form["client_id"]) == ("refresh_token", "client-1")
        assert form["client_secret"] == "client-secret"
        if form["refresh_token"] != self.valid:
            return httpx.Response(400, json={"error": "invalid_grant"})
        self.granted += 1
        self.valid, self.access = f"refresh-{self.granted}", f"access-{self.granted}"
        tokens = {"access_token": self.access, "refresh_token": self.valid, "expires_in": 7200, "token_type": "bearer"}
        return httpx.Response(200, json=tokens)

    def send(self, request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] != f"Bearer {self.access}":
            return httpx.Response(401, json={"success": False, "message": "The access token is invalid"})
        self.gifts.append(json.loads(request.content)["send"])
        answer = {"success": True, "message": "ok", "tracking_code": f"code-{len(self.gifts)}"}
        return httpx.Response(200, json=answer)


def test_what_it_is(tmp_path: Path) -> None:
    sendoso = made(tmp_path)
    assert isinstance(sendoso, Sender)
    assert isinstance(sendoso, Source)
    assert (sendoso.channel, sendoso.idempotent, sendoso.listed_within) == ("gift", False, None)
    assert SendosoSettings(_env_file=None).calls_per_second == 10


@respx.mock
async def test_an_egift(sendoso: Sendoso) -> None:
    vendor = Vendor()
    assert (await sendoso.send(GIFT)).provider_id == "code-1"
    assert vendor.gifts == [
        {"touch_id": 77, "email": "zoe@example.com", "via": "single_email_address", "via_from": "Perennial"}
    ]


@respx.mock
async def test_a_message_may_say_more(sendoso: Sendoso) -> None:
    vendor = Vendor()
    await sendoso.send(replace(GIFT, metadata={"name": "Zoë", "touch_id": "78"}))
    (gift,) = vendor.gifts
    assert (gift["name"], gift["touch_id"]) == ("Zoë", 78)


@pytest.mark.parametrize("kind", ["egift", "collect_address"])
@pytest.mark.parametrize("card", ["Dear Zoë,\n\nWell done!", "c" * LONGEST_CARD])
@respx.mock
async def test_the_card_goes_out_and_what_is_written_for_a_colleague_does_not(
    tmp_path: Path, kind: str, card: str
) -> None:
    vendor = Vendor()
    await made(tmp_path, kind=kind).send(replace(GIFT, card=card))
    (gift,) = vendor.gifts
    assert gift["custom_message"] == card
    assert "Ask first" not in json.dumps(gift)


@respx.mock
async def test_a_parcel_whose_address_is_asked_for(tmp_path: Path) -> None:
    vendor = Vendor()
    await made(tmp_path, kind="collect_address").send(GIFT)
    (gift,) = vendor.gifts
    assert (gift["via"], gift["no_address"], gift["confirm_address"]) == ("single_person_or_company", True, True)
    assert (gift["address_confirmation_via"], gift["resume_with_unconfirmed_address"]) == ("email", False)


@respx.mock
async def test_a_parcel_to_an_address(tmp_path: Path) -> None:
    vendor, sendoso = Vendor(), made(tmp_path, kind="collect_address")
    await sendoso.send(replace(GIFT, metadata={"address": json.dumps(ADDRESS)}))
    abroad = {**ADDRESS, "country": "DE", "region": None, "phone": "+49 30 901820"}
    await sendoso.send(replace(GIFT, metadata={"address": json.dumps(abroad)}))
    home, far = vendor.gifts
    assert (home["name"], home["address"], home["city"]) == ("Zoë Ash", "12 Main Street, Unit 4", "Springfield")
    assert (home["state"], home["zip"], home["country"], home["confirm_address"]) == ("IL", "62701", "US", False)
    assert "mobile_no" not in home
    assert (far["country"], far["state"], far["mobile_no"]) == ("DE", "", 4930901820)


@respx.mock
async def test_a_parcel_abroad_without_a_phone_is_asked_for(tmp_path: Path) -> None:
    vendor = Vendor()
    abroad = replace(GIFT, metadata={"address": json.dumps({**ADDRESS, "country": "DE"})})
    await made(tmp_path, kind="collect_address").send(abroad)
    [gift] = vendor.gifts
    assert (gift["no_address"], "city" in gift) == (True, False)


@respx.mock
async def test_an_egift_stays_one_though_the_address_is_known(sendoso: Sendoso) -> None:
    vendor = Vendor()
    await sendoso.send(replace(GIFT, metadata={"address": json.dumps(ADDRESS)}))
    [gift] = vendor.gifts
    assert (gift["via"], "city" in gift) == ("single_email_address", False)


@pytest.mark.parametrize(
    ("message", "settings", "said"),
    [
        (replace(GIFT, purpose="transactional"), {}, "purpose: "),
        (replace(GIFT, metadata={"touch_id": "seven"}), {}, "SENDOSO_TOUCH_ID"),
        (replace(GIFT, metadata={"touch_id": "1" * 19}), {}, "SENDOSO_TOUCH_ID"),
        (GIFT, {"touch_id": None}, "SENDOSO_TOUCH_ID"),
        (replace(GIFT, metadata={"name": "n" * 101}), {}, "metadata.name: is longer than 100"),
        (replace(GIFT, card="c" * (LONGEST_CARD + 1)), {}, "card: is longer than 2,000"),
        (replace(GIFT, metadata={"address": "{}"}), {"kind": "collect_address"}, "metadata.address.name"),
        (GIFT, {"client_id": None}, "SENDOSO_CLIENT_ID"),
        (GIFT, {"client_secret": None}, "SENDOSO_CLIENT_SECRET"),
        (GIFT, {"refresh_token": None}, "SENDOSO_REFRESH_TOKEN"),
        (GIFT, {"token_file": None}, "SENDOSO_TOKEN_FILE"),
    ],
)
@respx.mock
async def test_what_is_refused_before_any_call(
    tmp_path: Path, message: Message, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(NeverAgain) as caught:
        await made(tmp_path, **settings).send(message)
    assert said in caught.value.reason
    assert not respx.calls


async def test_an_address_that_is_none(sendoso: Sendoso) -> None:
    with pytest.raises(BadAddress):
        await sendoso.send(replace(GIFT, to="+4930901820"))


@pytest.mark.parametrize("fault", [httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut"), httpx.Response(502)])
@respx.mock
async def test_a_lost_answer_is_unknown_and_nothing_is_sent_again(sendoso: Sendoso, fault: Any) -> None:
    vendor = Vendor()
    vendor.sends.mock(side_effect=[fault])
    with pytest.raises(Unknown):
        await sendoso.send(GIFT)
    assert vendor.sends.call_count == 1


@pytest.mark.parametrize(
    "answer", [{"success": False, "tracking_code": "c"}, {"success": True}, {"tracking_code": "c"}]
)
@respx.mock
async def test_an_answer_without_a_tracking_code_is_unknown(sendoso: Sendoso, answer: dict[str, Any]) -> None:
    Vendor().sends.respond(json=answer)
    with pytest.raises(Unknown):
        await sendoso.send(GIFT)


@respx.mock
async def test_a_call_that_never_arrived_may_be_made_again(sendoso: Sendoso) -> None:
    vendor = Vendor()
    vendor.sends.mock(side_effect=httpx.ConnectTimeout("away"))
    with pytest.raises(TryAgain):
        await sendoso.send(GIFT)


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (429, TryAgain, "429"),
        (400, http.Rejected, "400"),
        (404, http.Rejected, "404 the campaign is not there or does not run now"),
    ],
)
@respx.mock
async def test_refusals(sendoso: Sendoso, status: int, kind: type[ConnectorError], reason: str) -> None:
    Vendor().sends.respond(status, json={"success": False, "message": "zoe@example.com can't be sent to"})
    with pytest.raises(ConnectorError) as caught:
        await sendoso.send(GIFT)
    assert (type(caught.value), caught.value.reason) == (kind, reason)
    assert "access-1" not in str(caught.value)


async def test_it_cannot_be_asked(sendoso: Sendoso) -> None:
    with pytest.raises(NeverAgain):
        await sendoso.look_up(GIFT.key)


@respx.mock
async def test_a_token_is_used_while_it_lasts_by_all_and_after_a_restart(tmp_path: Path) -> None:
    vendor = Vendor()
    for _ in range(2):
        await made(tmp_path).send(GIFT)
    assert (vendor.granted, len(vendor.gifts)) == (1, 2)
    kept = tmp_path / "sendoso" / "tokens.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text())["refresh_token"] == "refresh-1"
    assert "refresh-0" not in kept.read_text()


def expire(folder: Path) -> None:
    kept = folder / "sendoso" / "tokens.json"
    soon = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "expires_at": soon}))


@respx.mock
async def test_a_token_about_to_end_is_renewed_with_the_one_that_followed(tmp_path: Path) -> None:
    vendor = Vendor()
    await made(tmp_path).send(GIFT)
    expire(tmp_path)
    await made(tmp_path).send(GIFT)
    assert (vendor.granted, vendor.valid, len(vendor.gifts)) == (2, "refresh-2", 2)


@respx.mock
async def test_many_at_once_renew_once(tmp_path: Path) -> None:
    vendor = Vendor()
    workers = [made(tmp_path), made(tmp_path)]
    await asyncio.gather(*(w.send(replace(GIFT, key=f"k{n}")) for n, w in enumerate(workers * 3)))
    assert (vendor.granted, len(vendor.gifts)) == (1, 6)


@respx.mock
async def test_a_token_that_was_withdrawn_is_let_go(tmp_path: Path) -> None:
    vendor = Vendor()
    sendoso = made(tmp_path)
    await sendoso.send(GIFT)
    vendor.access = "withdrawn"
    with pytest.raises(TryAgain, match="withdrawn"):
        await sendoso.send(GIFT)
    await sendoso.send(GIFT)
    assert (vendor.granted, len(vendor.gifts)) == (2, 2)


@respx.mock
async def test_a_new_token_that_is_not_taken_is_no_reason_to_make_more(tmp_path: Path) -> None:
    vendor = Vendor()
    vendor.sends.respond(401)
    with pytest.raises(NeverAgain):
        await made(tmp_path).send(GIFT)
    assert vendor.granted == 1


@respx.mock
async def test_a_refresh_token_that_is_used_up_asks_for_a_person(tmp_path: Path) -> None:
    vendor = Vendor(valid="another")
    with pytest.raises(NeverAgain, match="authorize Perennial at Sendoso again") as caught:
        await made(tmp_path).send(GIFT)
    assert "refresh-0" not in str(caught.value)
    assert not vendor.sends.called


@respx.mock
async def test_a_new_token_of_a_persons_counts_more_than_the_file(tmp_path: Path) -> None:
    vendor = Vendor()
    await made(tmp_path).send(GIFT)
    # They authorized again, which ended everything that came before.
    vendor.valid, vendor.access = "refresh-new", "withdrawn"
    assert (await made(tmp_path, refresh_token="refresh-new").send(GIFT)).provider_id == "code-2"


@respx.mock
async def test_a_renewal_without_an_answer_sent_nothing(tmp_path: Path) -> None:
    vendor = Vendor()
    vendor.tokens.mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(TryAgain):
        await made(tmp_path).send(GIFT)
    assert not vendor.sends.called


@respx.mock
async def test_a_file_that_holds_something_else_is_begun_anew(tmp_path: Path) -> None:
    vendor = Vendor()
    (tmp_path / "sendoso").mkdir()
    (tmp_path / "sendoso" / "tokens.json").write_text("{}")
    await made(tmp_path).send(GIFT)
    assert vendor.granted == 1


FOREVER = Sendoso(SendosoSettings(_env_file=None, signing_secret=SECRET))


def signed(body: bytes, *, at: datetime = NOW, id: str = "msg_1", url: str = URL) -> Request:
    headers = {
        "svix-id": id,
        "svix-timestamp": str(int(at.timestamp())),
        "svix-signature": Webhook(SECRET).sign(id, at, body.decode()),
    }
    return Request("POST", url, headers, body)


def refusal(request: Request, sendoso: Sendoso = FOREVER) -> Refused:
    with pytest.raises(Refused) as caught:
        sendoso.verify(request, NOW)
    return caught.value


def notice(url: str = URL, **fields: Any) -> Request:
    body = {"send_gid": "gid-1", "status_changed_at": "2026-03-02T08:59:00Z", **fields}
    return signed(json.dumps(body).encode(), url=url)


def test_svix_signs() -> None:
    FOREVER.verify(signed(b"{}"), NOW)
    good = signed(b"{}")
    for forged in (
        Request("POST", URL, good.headers, b"{} "),
        Request("POST", URL, {**good.headers, "svix-id": "msg_2"}, b"{}"),
        signed(b"{}", at=NOW + timedelta(seconds=301)),
        signed(b"{}", at=NOW - timedelta(seconds=301)),
        Request("POST", URL, {}, b"{}"),
    ):
        assert refusal(forged).status == 401


@pytest.mark.parametrize("secret", [None, "", "not base64!", "whsk_AAAA"])
def test_without_a_secret_everything_is_refused(secret: str | None) -> None:
    sendoso = Sendoso(SendosoSettings(_env_file=None, signing_secret=secret))
    assert refusal(signed(b"{}"), sendoso).status == 401


@given(st.text(), st.text(), st.text(), st.binary())
def test_junk_is_refused(id: str, sent: str, signature: str, body: bytes) -> None:
    headers = {"svix-id": id, "svix-timestamp": sent, "svix-signature": signature}
    with pytest.raises(Refused):
        FOREVER.verify(Request("POST", URL, headers, body), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["send_gid", "status_changed_at", "email"]), JSON), st.text())
def test_junk_notices_parse_or_raise_a_value_error(fields: dict[str, Any], url: str) -> None:
    try:
        FOREVER.parse(replace(notice(**fields), url=url), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        FOREVER.parse(Request("POST", URL, {}, body), NOW)
    assert "\n" not in str(caught.value)


def test_a_body_as_sendoso_documents_it_names_nobody() -> None:
    assert FOREVER.parse(notice(), NOW) == []


@pytest.mark.parametrize(
    ("status", "type", "more"),
    [
        ("send.delivered", "message.delivered", {}),
        ("send.opened", "message.opened", {}),
        ("send.clicked", "message.clicked", {}),
        ("send.bounced", "message.bounced", {"permanent": False}),
        ("send.undeliverable", "message.bounced", {"permanent": False}),
        ("send.failed", "message.bounced", {"permanent": False}),
        ("send.invalid_email_format", "message.bounced", {"permanent": True}),
        ("send.redeemed", "custom.gift_redeemed", {}),
        ("send.expired", "custom.gift_expired", {}),
        ("send.canceled", "custom.gift_canceled", {}),
        ("send.out_of_stock", "custom.gift_failed", {"reason": "out_of_stock"}),
        ("send.insufficient_funds", "custom.gift_failed", {"reason": "insufficient_funds"}),
    ],
)
def test_one_that_names_somebody(status: str, type: str, more: dict[str, Any]) -> None:
    request = notice(f"https://hub.example.com/webhooks/sendoso?event={status}", email="zoe@example.com")
    (event,) = FOREVER.parse(request, NOW)
    assert (event.type, event.source_id) == (type, "msg_1")
    assert event.occurred_at == datetime(2026, 3, 2, 8, 59, tzinfo=UTC)
    assert {(i.kind, i.value) for i in event.identities} == {("email", "zoe@example.com")}
    assert event.data["provider_id"] == "gid-1"
    assert "touch" not in event.data
    assert more.items() <= event.data.items()


@pytest.mark.parametrize("query", ["", "?event=send.shipped", "?event=send.opened&event=send.delivered", "?other=1"])
def test_a_status_that_is_none_of_ours_means_nothing(query: str) -> None:
    request = notice(f"https://hub.example.com/webhooks/sendoso{query}", email="zoe@example.com")
    assert FOREVER.parse(request, NOW) == []
