"""What is longer than a system takes never leaves this house: it is refused before the call, by its name.

``FITS`` says of each system how long every field may be that it is sent; a connector, or a field of one, that is not
there fails here. What bounds a name or a key for all systems alike is tried in ``test_fields``.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.base import Alert, CardPages, Crm, LiveFacts, Message, Person, Sender, Sink, Task, Told
from connectors.configured import CONNECTORS
from connectors.errors import ConnectorError, NeverAgain
from connectors.fields import ABILITIES
from connectors.limits import LINE, TEXT
from contacts.events import identities
from tests.connectors.network import SETTINGS, Network, somebody

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MARK = "zebra"
ADDRESS = {
    "email": "zoe@example.com",
    "sms": "+15005550009",
    "social": "41",
    "chat": "6329bd9ffe4e2e91dac76188",
    "mail": "zoe@example.com",
    "gift": "zoe@example.com",
}
LIVES_AT = {
    "name": "Zoë Ash", "line1": "12 Main Street", "city": "Springfield", "region": "IL", "postal_code": "62701"
}  # fmt: skip
WHO = identities(("email", "zoe@example.com"), ("phone", "+4930901820"), ("user", "u-1"), ("manychat", "41"))
CRM_ID = "100000000000000001"

Act = Callable[[Any, str], Awaitable[object]]


def _person(field: str) -> Act:
    return lambda crm, text: crm.upsert(Person("zoe@example.com", **{field: text}))


def _task(field: str) -> Act:
    ordinary = {"key": "k-1", "title": "Call Zoe", "body": "She asked.", "due": AT, "owner": "Sam"}
    return lambda crm, text: crm.task(CRM_ID, Task(**{**ordinary, field: text}))


def _told(type: str, field: str) -> Act:
    return lambda sink, text: sink.tell(Told("0b5a-11", type, AT, "c-1", WHO, {field: text}))


def _message(made: Callable[[str], Mapping[str, Any]]) -> Act:
    def send(sender: Any, text: str) -> Awaitable[object]:
        ordinary = {"key": "k-1", "subject": "Hello", "text": "Hi Zoe", "purpose": "lifecycle"}
        ordinary["metadata"] = {"address": json.dumps(LIVES_AT)}
        return sender.send(Message(**{**ordinary, "to": ADDRESS[sender.channel], **made(text)}))

    return send


def _with(**metadata: str) -> Mapping[str, Any]:
    return {"metadata": {"address": json.dumps(LIVES_AT), **metadata}}


def _living(field: str, **more: str) -> Act:
    return _message(lambda text: _with(address=json.dumps({**LIVES_AT, **more, field: text})))


ACTS: Mapping[tuple[Any, str], Act] = {
    (Crm, "a first name"): _person("first_name"),
    (Crm, "a last name"): _person("last_name"),
    (Crm, "a phone number"): _person("phone"),
    (Crm, "a company"): _person("company"),
    (Crm, "a property"): lambda crm, text: crm.upsert(Person("zoe@example.com", properties={"plan": text})),
    (Crm, "a title"): _task("title"),
    (Crm, "a body"): _task("body"),
    (Crm, "an owner"): _task("owner"),
    (Crm, "a note"): lambda crm, text: crm.note(CRM_ID, "k-1", text, AT),
    (Crm, "a stage"): lambda crm, text: crm.stage(CRM_ID, text),
    (Sink, "a trait"): _told("contact.updated", "first_name"),
    (Sink, "another trait"): _told("contact.updated", "favourite"),
    (Sink, "a company told"): _told("contact.identified", "company"),
    (Sink, "a time zone"): _told("contact.identified", "timezone"),
    (Sink, "what was bought"): _told("purchase.completed", "note"),
    (Sink, "what happened"): _told("custom.seen", "note"),
    (Sink, "a segment"): _told("segment.joined", "segment"),
    (Sender, "a key"): _message(lambda text: {"key": text.replace("é", "e")}),
    (Sender, "a subject"): _message(lambda text: {"subject": text}),
    (Sender, "a text"): _message(lambda text: {"text": text}),
    (Sender, "HTML"): _message(lambda text: {"html": text}),
    (Sender, "text and HTML"): _message(lambda text: {"text": text[: len(text) // 2], "html": text[len(text) // 2 :]}),
    (Sender, "a card"): _message(lambda text: {"card": text}),
    (Sender, "a journey"): _message(lambda text: _with(journey=text)),
    (Sender, "a template"): _message(lambda text: _with(template=text)),
    (Sender, "a recipient's name"): _message(lambda text: _with(name=text)),
    (Sender, "a campaign"): _message(lambda text: _with(campaign=text)),
    (Sender, "products"): _message(lambda text: _with(products=text)),
    (Sender, "a name on the envelope"): _living("name"),
    (Sender, "a company on the envelope"): _living("company"),
    (Sender, "a street"): _living("line1"),
    (Sender, "a floor"): _living("line2"),
    (Sender, "a street abroad"): _living("line1", country="DE"),
    (Sender, "a code"): _living("postal_code"),
    (Alert, "an alert's title"): lambda alert, text: alert.alert("k-1", text, "body"),
    (Alert, "an alert's body"): lambda alert, text: alert.alert("k-1", "title", text),
    (Alert, "an alert's link"): lambda alert, text: alert.alert("k-1", "title", "body", text),
    (CardPages, "a click"): lambda pages, text: pages.card_page("cus_1", text.replace("é", "e")),
    (LiveFacts, "an invoice"): lambda facts, text: facts.fetch("invoice", WHO, {"invoice_id": text}),
}


@dataclass(frozen=True)
class Most:
    """How long a text may be.

    Attributes:
        length: As its system counts.
        filler: What such a text is full of.
        weight: As what each of these counts.
        less: How much shorter a text is that surely fits: it is counted with others, or would take its time.
    """

    length: int
    filler: str = "é"
    weight: int = 1
    less: int = 0

    def fits(self) -> str:
        return self._text(self.length - self.less)

    def is_too_long(self) -> str:
        return self._text(self.length + 1)

    def _text(self, length: int) -> str:
        full, rest = divmod(length - len(MARK), self.weight)
        return MARK + self.filler * full + "x" * rest


def among(most: Most) -> Most:
    """... of which our own words are a part: a key at the foot of a text, a body around it."""
    return Most(most.length, most.filler, most.weight, less=500)


def size(length: int, less: int = 0) -> Most:
    """In bytes."""
    return Most(length, "é", 2, less)


A_LINE, A_TEXT = Most(LINE), among(Most(TEXT))
HEADERS = {"a subject": Most(900)}
FEEDBACK = {"a journey": Most(900), "a template": Most(900)}
MIB = 1024 * 1024


def mail(length: int) -> Most:
    """In bytes; what fits is not tried at that size."""
    return size(length, less=length - 1000)


FITS: Mapping[str, Mapping[str, Most]] = {
    "activecampaign": {
        **dict.fromkeys(("a first name", "a last name", "a phone number", "a title"), Most(255)),
        **dict.fromkeys(("a body", "an owner", "a note"), A_TEXT),
        "a property": Most(TEXT),
    },
    "calendly": {},
    "clickfunnels": {"a trait": A_LINE},
    "customerio": {
        **dict.fromkeys(("a trait", "another trait", "a company told", "a time zone"), size(1_000)),
        **dict.fromkeys(("what was bought", "what happened", "a segment"), size(100_000, less=500)),
    },
    "gohighlevel": {
        **dict.fromkeys(("a first name", "a last name", "a phone number", "a company", "a title"), A_LINE),
        **dict.fromkeys(("a body", "an owner", "a note"), A_TEXT),
        **dict.fromkeys(("a trait", "a company told", "a time zone", "a segment"), A_LINE),
        "a property": Most(TEXT),
    },
    "hubspot": {
        **dict.fromkeys(("a first name", "a last name", "a company", "a property"), Most(65_536)),
        "a phone number": Most(1_000),
        **dict.fromkeys(("a body", "an owner", "a note"), among(Most(65_536))),
        "a title": Most(65_536),
        "what was bought": size(510_000),
        "what happened": Most(1_024),
    },
    "intercom": {
        **dict.fromkeys(("a first name", "a last name", "a phone number", "a title"), A_LINE),
        **dict.fromkeys(("a body", "an owner", "a note"), A_TEXT),
        "a property": Most(255),
        "a stage": Most(255),
        "a text": Most(TEXT),
    },
    "klaviyo": {
        **dict.fromkeys(("a trait", "another trait", "a company told", "a time zone"), size(100_000, less=500)),
        **dict.fromkeys(("what was bought", "what happened", "a segment"), size(100_000)),
    },
    "lob": {
        "a key": Most(256, "e"),
        "a text": among(Most(10_000)),
        "a name on the envelope": Most(40),
        "a company on the envelope": Most(40),
        "a street": Most(64),
        "a floor": Most(64),
        "a street abroad": Most(200),
        "a code": Most(40),
    },
    "mailgun": {**HEADERS, **FEEDBACK, "text and HTML": mail(25 * MIB)},
    "make": {},
    "manychat": {"a text": Most(2_000), "a trait": Most(TEXT), "a segment": Most(TEXT)},
    "postmark": {
        **HEADERS, **FEEDBACK, **dict.fromkeys(("a text", "HTML"), mail(5 * MIB)), "a key": Most(320, "e"),
    },
    "resend": {**HEADERS, **FEEDBACK, "text and HTML": mail(40 * MIB), "a key": Most(256, "e")},
    "salesforce": {
        "a first name": Most(40),
        "a last name": Most(80),
        "a phone number": Most(40),
        "a property": Most(131_072),
        "a title": Most(255),
        **dict.fromkeys(("a body", "an owner", "a note"), among(Most(32_000))),
    },
    "sendgrid": {**HEADERS, **FEEDBACK, "text and HTML": mail(30 * MIB)},
    "sendoso": {"a card": Most(2_000), "a recipient's name": Most(100)},
    "ses": {**HEADERS, "text and HTML": mail(40 * MIB), "a key": Most(256, "e")},
    "slack": {"an alert's link": Most(3_000)},
    "stripe": {"a click": Most(255, "e"), "an invoice": Most(5_000)},
    "tremendous": {
        "a card": Most(2_000),
        "a recipient's name": Most(100),
        "a campaign": Most(LINE),
        "products": Most(TEXT),
    },
    "twilio": {"a text": Most(1_600, "😀", 2)},
    "zendesk": {
        **dict.fromkeys(("a first name", "a last name", "a phone number", "a title"), Most(255)),
        **dict.fromkeys(("a body", "an owner", "a note"), size(65_535, less=500)),
        "a property": size(65_535),
    },
}  # fmt: skip

FOR_ALL = {"a key", "a stage"}
"""What is bounded for all systems alike, where one has no bound of its own."""

NOT_REFUSED = {
    # They are cut, as the page says: a short alert is better than none.
    ("slack", "an alert's title"),
    ("slack", "an alert's body"),
    # A template's name, which only describes a letter.
    ("lob", "a template"),
    # Text and HTML are counted together.
    *((name, part) for name in ("mailgun", "resend", "sendgrid", "ses") for part in ("a text", "HTML")),
    # The event goes without a value that is too long, as its page says.
    *(("intercom", what) for ability, what in ACTS if ability is Sink),
    # Only a whole event can be too long: test_make.
    *(("make", what) for ability, what in ACTS if ability is Sink),
}
"""What need not be refused by itself, and why."""


async def _tried(name: str, act: Act, text: str, **settings: Any) -> tuple[bool, ConnectorError | None]:
    """Whether the text left the house, and what the connector said to it."""
    network, said = Network(answer=somebody), None
    try:
        await act(network.made(name, **settings), text)
    except ConnectorError as error:
        said = error
    return any(MARK in sent for sent in network.sent), said


def test_every_system_that_is_sent_anything_is_here() -> None:
    """But for a relay of mail, whose name we do not know: what a header can carry is tried in ``test_mail``."""
    assert set(CONNECTORS) - set(SETTINGS) == {"smtp"}
    assert {name for name in SETTINGS if ABILITIES & set(dir(Network().made(name)))} == set(FITS)


@pytest.mark.parametrize("name", FITS)
async def test_too_long_is_refused_before_the_call(name: str, tmp_path: Path) -> None:
    settings = {"token_file": tmp_path / "tokens"} if name == "sendoso" else {}
    connector = Network().made(name)
    for (ability, what), act in ACTS.items():
        if not isinstance(connector, ability):
            continue
        most = FITS[name].get(what)
        if most is None:
            goes_out, _ = await _tried(name, act, MARK, **settings)
            assert not goes_out or what in FOR_ALL or (name, what) in NOT_REFUSED, f"how long may {what} be?"
            continue
        goes_out, said = await _tried(name, act, most.fits(), **settings)
        assert goes_out, f"{what} that fits is refused: {said}"
        goes_out, said = await _tried(name, act, most.is_too_long(), **settings)
        assert not goes_out, f"{what} that is too long goes out"
        assert isinstance(said, NeverAgain), what
        assert any(words in said.reason for words in ("is longer than", "at most", "does not fit")), what
        assert MARK not in said.reason


@pytest.mark.parametrize(("network", "length"), [("instagram", 1_000), ("telegram", 4_096), ("whatsapp", 4_096)])
async def test_a_message_through_manychat_is_as_long_as_its_network_takes(network: str, length: int) -> None:
    act = ACTS[Sender, "a text"]
    assert (await _tried("manychat", act, Most(length).fits(), network=network))[0]
    assert not (await _tried("manychat", act, Most(length).is_too_long(), network=network))[0]


async def _all_told(name: str, type: str, data: Mapping[str, Any], **settings: Any) -> tuple[bool, str]:
    def tell(sink: Any, _: str) -> Awaitable[object]:
        return sink.tell(Told("0b5a-11", type, AT, "c-1", WHO, data))

    goes_out, said = await _tried(name, tell, "", **settings)
    return goes_out, said.reason if said else ""


def _many(number: int, text: str = MARK) -> dict[str, str]:
    return {f"p{n}": text for n in range(number)}


@pytest.mark.parametrize(
    ("name", "type", "most", "with_it"),
    [("customerio", "contact.updated", 300, 2), ("klaviyo", "custom.seen", 400, 0), ("hubspot", "custom.seen", 50, 0)],
)
async def test_no_more_fields_go_out_than_a_system_takes(name: str, type: str, most: int, with_it: int) -> None:
    settings = {"event_properties": [*_many(most + 1)]} if name == "hubspot" else {}
    assert (await _all_told(name, type, _many(most - with_it), **settings))[0]
    refused = (False, f"{most + 1} fields are more than {most}")
    assert await _all_told(name, type, _many(most + 1 - with_it), **settings) == refused


async def test_the_name_of_an_attribute_can_be_too_long() -> None:
    assert (await _all_told("customerio", "contact.updated", {"é" * 75: MARK}))[0]
    refused = (False, "the name of a field is longer than 150 bytes")
    assert await _all_told("customerio", "contact.updated", {"é" * 75 + "e": MARK}) == refused


async def test_what_fits_by_itself_can_be_too_long_together() -> None:
    long = MARK + "x" * 90_000
    assert (await _all_told("klaviyo", "custom.seen", {"items": [{"note": long}] * 50}))[0]
    assert await _all_told("klaviyo", "custom.seen", {"items": [{"note": long}] * 60}) == (
        False,
        "event: is longer than 5,000,000 bytes",
    )
    assert await _all_told("klaviyo", "custom.seen", {"items": [{"note": long + long}, {"note": "short"}]}) == (
        False,
        "items: is longer than 100,000 bytes",
    )
    tokens = {"event_properties": [*_many(3)]}
    assert (await _all_told("hubspot", "purchase.completed", _many(2, long * 5), **tokens))[0]
    assert await _all_told("hubspot", "purchase.completed", _many(3, long * 4), **tokens) == (
        False,
        "data: is longer than 1,000,000 bytes",
    )


async def test_intercom_goes_without_what_is_too_long() -> None:
    for act in (ACTS[Sink, "a trait"], ACTS[Sink, "what happened"]):
        assert (await _tried("intercom", act, Most(255).fits()))[0]
        assert await _tried("intercom", act, Most(255).is_too_long()) == (False, None)
