"""Lob: one piece a key, for ever; addresses and their limits; signatures; what the post says."""

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
from connectors.base import Message, Refused, Request, Sender, Source
from connectors.errors import BadAddress, ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.lob import Lob, LobSettings

SECRET = "secret-of-the-webhook"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MILLISECONDS = str(int(NOW.timestamp() * 1000))
URL = "https://hub.example.com/webhooks/lob"
API = "https://api.lob.com/v1"
ADDRESS = {
    "name": "Zoë Ash",
    "line1": "12 Main Street",
    "line2": "Unit 4",
    "city": "Springfield",
    "region": "IL",
    "postal_code": "62701",
    "country": "us",
}


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> Lob:
    given = {"api_key": "test_abc", "signing_secret": SECRET, "sender": "adr_1", **settings}
    return Lob(LobSettings(_env_file=None, **given), client)


LOB = made()


def to(**address: Any) -> Message:
    metadata = {"template": "letter_thank_you", "address": json.dumps({**ADDRESS, **address})}
    return Message(
        "run-1/thank/1",
        "zoe@example.com",
        "Thank you",
        "Dear Zoë,\n\n1 < 2 & so on.",
        purpose="lifecycle",
        metadata=metadata,
    )


LETTER = to()


@pytest.fixture
async def lob() -> AsyncIterator[Lob]:
    async with http.new_client() as client:
        yield made(client)


class Printer:
    """Pieces as Lob keeps them: a key makes one, for a day; the list knows the metadata for ever."""

    def __init__(self, path: str = "letters") -> None:
        self.pieces: list[dict[str, Any]] = []
        self.keys: dict[str, dict[str, Any]] = {}
        self.listed = respx.get(f"{API}/{path}").mock(side_effect=self.find)
        self.made = respx.post(f"{API}/{path}").mock(side_effect=self.make)

    def find(self, request: httpx.Request) -> httpx.Response:
        touch = request.url.params["metadata[touch]"]
        found = [p for p in self.pieces if p["metadata"]["touch"] == touch][:1]
        return httpx.Response(200, json={"data": found, "object": "list", "count": len(found)})

    def make(self, request: httpx.Request) -> httpx.Response:
        key = request.headers["idempotency-key"]
        if key not in self.keys:
            body = json.loads(request.content)
            piece = {"id": f"ltr_{len(self.pieces) + 1}", "metadata": body["metadata"]}
            self.pieces.append(piece)
            self.keys[key] = piece
        return httpx.Response(200, json=self.keys[key])

    def a_day_later(self) -> None:
        self.keys.clear()

    @property
    def sent(self) -> Any:
        return json.loads(self.made.calls.last.request.content)


def test_what_it_is() -> None:
    assert isinstance(LOB, Sender)
    assert isinstance(LOB, Source)
    assert (LOB.channel, LOB.idempotent, LOB.listed_within) == ("mail", True, None)


@respx.mock
async def test_a_letter(lob: Lob) -> None:
    printer = Printer()
    assert (await lob.send(LETTER)).provider_id == "ltr_1"
    sent = printer.sent
    assert sent["to"] == {
        "name": "Zoë Ash",
        "address_line1": "12 Main Street",
        "address_line2": "Unit 4",
        "address_city": "Springfield",
        "address_state": "IL",
        "address_zip": "62701",
        "address_country": "US",
    }
    assert (sent["from"], sent["use_type"], sent["description"]) == ("adr_1", "operational", "letter_thank_you")
    assert sent["metadata"] == {"touch": "run-1/thank/1", "email": "zoe@example.com"}
    assert "<p>Dear Zoë,</p><p>1 &lt; 2 &amp; so on.</p>" in sent["file"]
    assert (sent["color"], sent["double_sided"], sent["address_placement"]) == (False, False, "insert_blank_page")
    headers = printer.made.calls.last.request.headers
    assert headers["idempotency-key"] == "run-1/thank/1"
    assert headers["authorization"] == "Basic dGVzdF9hYmM6"  # test_abc:


@respx.mock
async def test_the_same_key_prints_once_within_a_day_and_after_it(lob: Lob) -> None:
    printer = Printer()
    first = await lob.send(LETTER)
    assert await lob.send(LETTER) == first
    printer.a_day_later()
    assert await lob.send(LETTER) == first
    assert len(printer.pieces) == 1
    assert (await lob.send(replace(LETTER, key="run-1/thank/2"))).provider_id == "ltr_2"


@respx.mock
async def test_while_the_list_lags_the_key_holds(lob: Lob) -> None:
    printer = Printer()
    respx.get(f"{API}/letters").respond(json={"data": []})
    assert await lob.send(LETTER) == await lob.send(LETTER)
    assert len(printer.pieces) == 1


@respx.mock
async def test_a_filter_lob_did_not_understand_finds_nobody_elses(lob: Lob) -> None:
    printer = Printer()
    respx.get(f"{API}/letters").respond(json={"data": [{"id": "ltr_9", "metadata": {"touch": "run-9/thank/1"}}]})
    assert (await lob.send(LETTER)).provider_id == "ltr_1"
    assert printer.made.called


@respx.mock
async def test_promotion_is_marketing(lob: Lob) -> None:
    printer = Printer()
    await lob.send(replace(LETTER, purpose="promotional"))
    assert printer.sent["use_type"] == "marketing"


@respx.mock
async def test_a_template_gets_the_text() -> None:
    printer = Printer()
    await made(template="tmpl_1").send(LETTER)
    assert printer.sent["file"] == "tmpl_1"
    assert printer.sent["merge_variables"] == {"subject": "Thank you", "text": LETTER.text}


@respx.mock
async def test_a_postcard() -> None:
    printer = Printer("postcards")
    await made(piece="postcard", front="tmpl_front", template="tmpl_back", size="6x9").send(LETTER)
    assert (printer.sent["front"], printer.sent["back"], printer.sent["size"]) == ("tmpl_front", "tmpl_back", "6x9")
    assert "file" not in printer.sent


@pytest.mark.parametrize(
    ("message", "settings", "said"),
    [
        (replace(LETTER, metadata={}), {}, "metadata.address: there is no postal address"),
        (replace(LETTER, metadata={"address": "12 Main Street"}), {}, "metadata.address: Invalid JSON"),
        (replace(LETTER, metadata={"address": "{}"}), {}, "metadata.address.name: "),
        (to(line1=""), {}, "metadata.address.line1: "),
        (to(country="USA"), {}, "metadata.address.country: "),
        (to(planet="Mars"), {}, "metadata.address.planet: "),
        (to(name="n" * 41), {}, "metadata.address.name: is longer than 40"),
        (to(company="n" * 41), {}, "metadata.address.company: is longer than 40"),
        (to(line1="l" * 65), {}, "metadata.address.line1: is longer than 64"),
        (to(line2="l" * 65), {}, "metadata.address.line2: is longer than 64"),
        (to(postal_code="l" * 41), {}, "metadata.address.postal_code: is longer than 40"),
        (to(city="l" * 201), {}, "metadata.address.city: "),
        (to(region="Illinois"), {}, "metadata.address: in the US"),
        (to(postal_code=None), {}, "metadata.address: in the US"),
        (replace(LETTER, text="x" * 10_000), {}, "text as a page: is longer than 10,000"),
        (replace(LETTER, text="x" * 25_000), {"template": "tmpl_1"}, "subject and text: is longer than 25,000"),
        (replace(LETTER, key='a"b'), {}, "touch does not fit"),
        (replace(LETTER, to="a\\b@example.com"), {}, "email does not fit"),
        (replace(LETTER, to="a" * 501), {}, "to: is longer than 500"),
        (LETTER, {"sender": None}, "LOB_SENDER"),
        (LETTER, {"piece": "postcard"}, "LOB_FRONT"),
        (LETTER, {"api_key": None}, "LOB_API_KEY"),
    ],
)
@respx.mock
async def test_what_is_refused_before_any_call(message: Message, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(NeverAgain) as caught:
        await made(**settings).send(message)
    assert caught.value.reason.startswith(said) or said in caught.value.reason
    for secret in ("Main Street", "Springfield", "Illinois", "zoe@"):
        assert secret not in str(caught.value)
    assert not respx.calls


@respx.mock
async def test_abroad_lines_may_be_longer_and_there_are_no_states(lob: Lob) -> None:
    printer = Printer()
    await lob.send(to(country="DE", line1="l" * 199, region=None, line2=None, postal_code="10115"))
    assert printer.sent["to"]["address_country"] == "DE"
    assert "address_state" not in printer.sent["to"]


VERIFY = f"{API}/us_verifications"


@pytest.mark.parametrize("answer", ["deliverable", "deliverable_missing_unit", "deliverable_incorrect_unit"])
@respx.mock
async def test_an_address_the_post_delivers_to(answer: str) -> None:
    Printer()
    asked = respx.post(VERIFY).respond(json={"id": "us_ver_1", "deliverability": answer})
    await made(verify_us=True).send(LETTER)
    assert json.loads(asked.calls.last.request.content) == {
        "primary_line": "12 Main Street",
        "secondary_line": "Unit 4",
        "city": "Springfield",
        "state": "IL",
        "zip_code": "62701",
    }


@respx.mock
async def test_an_address_the_post_does_not_deliver_to() -> None:
    printer = Printer()
    respx.post(VERIFY).respond(json={"id": "us_ver_1", "deliverability": "undeliverable"})
    with pytest.raises(BadAddress):
        await made(verify_us=True).send(LETTER)
    assert not printer.made.called


@respx.mock
async def test_nobody_is_asked_about_addresses_abroad_or_unasked() -> None:
    Printer()
    asked = respx.post(VERIFY).respond(json={"id": "us_ver_1", "deliverability": "undeliverable"})
    await made(verify_us=True).send(to(country="DE"))
    await made().send(replace(LETTER, key="other"))
    assert not asked.called


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "rate_limit_exceeded", TryAgain),
        (408, "request_timeout", Unknown),
        (500, "internal_server_error", Unknown),
        (503, "service_unavailable", TryAgain),
        (401, "invalid_api_key", http.Rejected),
        (403, "feature_limit_reached", http.Rejected),
        (422, "invalid", http.Rejected),
        (422, "failed_deliverability_strictness", BadAddress),
    ],
)
@respx.mock
async def test_refusals(lob: Lob, status: int, code: str, kind: type[ConnectorError]) -> None:
    Printer()
    said = {"error": {"message": "12 Main Street is wrong", "status_code": status, "code": code}}
    respx.post(f"{API}/letters").respond(status, json=said)
    with pytest.raises(ConnectorError) as caught:
        await lob.send(LETTER)
    assert type(caught.value) is kind
    assert caught.value.reason == f"{status} {code}"
    assert "test_abc" not in str(caught.value)


async def test_there_is_nothing_to_look_up(lob: Lob) -> None:
    with pytest.raises(NeverAgain):
        await lob.look_up(LETTER.key)


def signed(body: bytes, *, secret: str = SECRET, sent: str = MILLISECONDS) -> Request:
    mac = hmac.new(secret.encode(), sent.encode() + b"." + body, hashlib.sha256).hexdigest()
    return Request("POST", URL, {"lob-signature": mac, "lob-signature-timestamp": sent}, body)


def refusal(request: Request, lob: Lob = LOB) -> Refused:
    with pytest.raises(Refused) as caught:
        lob.verify(request, NOW)
    return caught.value


def test_a_vector_worked_out_apart_from_this_code() -> None:
    # printf %s '1772442000000.{}' | openssl dgst -sha256 -hmac secret-of-the-webhook
    headers = {
        "lob-signature": "85a6aa7f3285075b8f0166f14a475407fc8838b8cb290b70c4a949f537acb0bb",
        "lob-signature-timestamp": "1772442000000",
    }
    LOB.verify(Request("POST", URL, headers, b"{}"), NOW)


@pytest.mark.parametrize(("seconds", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
@pytest.mark.parametrize("unit", [1, 1000])
def test_age_counts_both_ways_in_either_unit(seconds: int, taken: bool, unit: int) -> None:
    arriving = signed(b"{}", sent=str((int(NOW.timestamp()) + seconds) * unit))
    if taken:
        LOB.verify(arriving, NOW)
    else:
        assert refusal(arriving).status == 401


def test_whatever_is_altered_is_refused() -> None:
    good = signed(b"{}")
    for forged in (
        signed(b"{}", secret="other"),
        Request("POST", URL, good.headers, b"{} "),
        Request("POST", URL, {**good.headers, "lob-signature-timestamp": MILLISECONDS[:-3]}, b"{}"),
        Request("POST", URL, {}, b"{}"),
    ):
        assert refusal(forged).status == 401


def test_several_secrets_and_none() -> None:
    made(signing_secret=f"other,{SECRET}").verify(signed(b"{}"), NOW)
    assert "no signing secret" in refusal(signed(b"{}"), made(signing_secret=None)).reason


@pytest.mark.parametrize("sent", ["", "soon", "-1", "1.5", "١", "9" * 15])
def test_malformed_timestamps(sent: str) -> None:
    assert refusal(signed(b"{}", sent=sent)).status == 400


@given(st.text(min_size=1), st.text() | st.integers().map(str), st.binary())
def test_junk_is_refused(signature: str, sent: str, body: bytes) -> None:
    with pytest.raises(Refused):
        LOB.verify(Request("POST", URL, {"lob-signature": signature, "lob-signature-timestamp": sent}, body), NOW)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        LOB.parse(Request("POST", URL, {}, body), NOW)
    assert "\n" not in str(caught.value)


def notice(kind: str, **fields: Any) -> Request:
    metadata = {"touch": "run-1/thank/1", "email": "zoe@example.com"}
    body = {
        "id": "evt_1",
        "body": {"id": "ltr_1", "object": "letter", "metadata": metadata, "to": {"name": "Zoë"}},
        "reference_id": "ltr_1",
        "event_type": {"id": kind, "enabled_for_test": True, "resource": "letters", "object": "event_type"},
        "date_created": "2026-03-09T10:00:00.000Z",
        "object": "event",
        **fields,
    }
    return Request("POST", URL, {}, json.dumps(body).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["id", "body", "event_type", "date_created"]), JSON),
    st.dictionaries(st.sampled_from(["touch", "email"]), JSON),
)
def test_junk_notices_parse_or_raise_a_value_error(fields: dict[str, Any], metadata: dict[str, Any]) -> None:
    body = {"id": "ltr_1", "metadata": metadata}
    try:
        LOB.parse(notice("letter.delivered", **{"body": body, **fields}), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("kind", "type", "more"),
    [
        ("letter.delivered", "message.delivered", {}),
        ("postcard.delivered", "message.delivered", {}),
        ("letter.certified.delivered", "message.delivered", {}),
        ("postcard.returned_to_sender", "message.bounced", {"permanent": True, "reason": "returned_to_sender"}),
        ("letter.certified.returned_to_sender", "message.bounced", {"permanent": True, "reason": "returned_to_sender"}),
        ("letter.rejected", "message.bounced", {"permanent": False, "reason": "rejected"}),
        ("letter.failed", "message.bounced", {"permanent": False, "reason": "failed"}),
    ],
)
def test_what_the_post_says(kind: str, type: str, more: dict[str, Any]) -> None:
    (event,) = LOB.parse(notice(kind), NOW)
    assert (event.type, event.source, event.source_id) == (type, "lob", "evt_1")
    assert event.occurred_at == datetime(2026, 3, 9, 10, 0, tzinfo=UTC)
    assert {(i.kind, i.value) for i in event.identities} == {("email", "zoe@example.com")}
    known = {"channel": "mail", "touch": "run-1/thank/1", "provider_id": "ltr_1", "machine": False}
    assert event.data == {**known, **more}


@pytest.mark.parametrize(
    "kind",
    [
        "letter.created",
        "letter.mailed",
        "letter.in_transit",
        "letter.re-routed",
        "letter.return_envelope.delivered",
        "letter.return_envelope.returned_to_sender",
        "check.delivered",
        "address.created",
        "delivered",
    ],
)
def test_the_rest_of_its_way_means_nothing(kind: str) -> None:
    assert LOB.parse(notice(kind), NOW) == []


def test_a_piece_that_is_not_ours_names_nobody() -> None:
    (event,) = LOB.parse(notice("letter.delivered", body={"id": "ltr_2"}), NOW)
    assert event.identities == ()
    assert "touch" not in event.data


def test_a_time_far_off_is_refused_and_not_an_error() -> None:
    assert refusal(signed(b"{}", sent="9" * 14)).status == 401
    assert refusal(signed(b"{}", sent=str(int((NOW + timedelta(days=1)).timestamp())))).status == 401
