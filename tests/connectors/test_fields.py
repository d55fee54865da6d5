"""What no system can be sent is refused by every connector before it calls anybody, and the field is named."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from connectors.base import Message, Person, Task, Told
from connectors.configured import CONNECTORS, Place
from connectors.endpoint import Endpoint, EndpointSettings
from connectors.errors import NeverAgain
from connectors.fields import ABILITIES, LONGEST, LONGEST_TEXT, check_header, checked
from connectors.live import Live, LiveSettings
from contacts.events import Identity
from ops.webhook_check import only

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
IDENTITIES = [Identity("email", "zoe@example.com"), Identity("user", "42")]

ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "send": {
        "message": Message(
            "run-1/1", "zoe@example.com", "Hello", "Hello", purpose="lifecycle", metadata={"journey": "welcome"}
        )
    },
    "look_up": {"key": "run-1/1"},
    "upsert": {"person": Person("zoe@example.com", "Zoë", "Ash", "+4930901820", "Ash & Co", {"tier": "gold"})},
    "task": {"crm_id": "1", "task": Task("run-1/task", "Call Zoë", "Saw pricing", NOW, "sales")},
    "note": {"crm_id": "1", "key": "run-1/note", "body": "Saw pricing", "at": NOW},
    "stage": {"crm_id": "1", "stage": "customer"},
    "tell": {"told": Told("e-1", "purchase.completed", NOW, "c-1", IDENTITIES, {"value": 4900, "items": ["shoes"]})},
    "alert": {"key": "run-1/alert", "title": "Call Zoë", "body": "Saw pricing", "link": "https://hub.example.com"},
    "email": {"id": "1"},
    "card_page": {"customer_id": "cus_1", "key": "click-1"},
    "fetch": {"name": "usage", "person": IDENTITIES, "about": {"invoice_id": "in_1"}},
}
"""What each ability is given when all is well."""


def refused_at_once(request: httpx.Request) -> httpx.Response:
    pytest.fail(f"{request.method} {request.url} was called")


def every_connector() -> Iterator[Any]:
    client = httpx.AsyncClient(transport=httpx.MockTransport(refused_at_once))
    for name, known in CONNECTORS.items():
        given = {"host": "relay.example.com"} if name == "smtp" else {}
        yield known.make(only(known.settings, given), Place(mail_from="hello@example.com", client=client))
    secret = SecretStr("whsec_" + "c2VjcmV0LW9mLXR3ZW50eS1mb3VyLWJ5dGVz")
    yield Endpoint(
        "erp", "https://erp.example.com/hook", EndpointSettings(_env_file=None, secret=secret), client, private=False
    )
    yield Live(LiveSettings(_env_file=None, url="https://app.example.com", secret=SecretStr("s")), client)


EVERY = {connector.name: connector for connector in every_connector()}


def spoilt(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """An argument with one text in it that cannot be sent, and the name of the field that holds it."""
    if is_dataclass(value) and not isinstance(value, Identity | type):
        for field in fields(value):
            for where, bad in spoilt(getattr(value, field.name), field.name):
                yield where, replace(value, **{field.name: bad})
    elif isinstance(value, str):
        most = LONGEST.get(name, LONGEST_TEXT)
        for bad in ("a\0b", "half \ud83d", "x" * (most + 1)):
            yield name, bad
    elif isinstance(value, Mapping):
        for bad in ("\ud83d", "a\0", float("nan"), float("inf"), 10**400, ["\0"], {"deep": [float("nan")]}):
            yield f"{name}.note", {**value, "note": bad}
        yield name, {**value, "half \ud83d": 1}
        yield name, {**value, "x" * 1001: 1}
    elif isinstance(value, list):
        for bad in ("\0", "\ud83d", "x" * 1001):
            yield f"{name}.phone", [*value, Identity("phone", bad)]


@pytest.mark.parametrize("name", EVERY)
async def test_what_cannot_be_sent_is_refused_before_any_call(name: str) -> None:
    connector = EVERY[name]
    able = [ability for ability in sorted(ABILITIES) if hasattr(connector, ability)]
    mail = getattr(connector, "channel", None) == "email"
    for ability in able:
        given = ARGUMENTS[ability]
        for argument in given:
            for where, bad in spoilt(given[argument], argument):
                if mail and where in ("text", "html"):
                    continue
                with pytest.raises(NeverAgain) as caught:
                    await getattr(connector, ability)(**{**given, argument: bad})
                assert caught.value.connector == name
                assert caught.value.reason.startswith(where), (ability, argument)
                assert len(caught.value.reason) < 100
                json.dumps(caught.value.reason).encode()


def test_every_ability_is_known_here() -> None:
    assert ARGUMENTS.keys() == ABILITIES


def test_every_ability_of_every_connector_is_checked() -> None:
    open_doors = [
        f"{name}.{ability}"
        for name, connector in EVERY.items()
        for ability in ABILITIES
        if hasattr(connector, ability) and not hasattr(getattr(connector, ability), "__wrapped__")
    ]
    assert open_doors == []


@checked
class Tiny:
    """A CRM that takes everything it is given."""

    name = "tiny"

    async def note(self, crm_id: str, key: str, body: str, at: datetime) -> str:
        """Says what it was given."""
        return f"{crm_id} {key} {body} {at:%Y}"

    async def tell(self, told: Told) -> str | None:
        """Says what it was told."""
        return str(dict(told.data))


async def test_what_can_be_sent_passes_however_it_is_given() -> None:
    tiny = Tiny()
    assert await tiny.note("1", "k", "Grüße 🌱\n", NOW) == "1 k Grüße 🌱\n 2026"
    assert await tiny.note("", key="", body="x" * LONGEST_TEXT, at=NOW) == f"  {'x' * LONGEST_TEXT} 2026"
    data = {"value": -4900, "rate": 0.5, "none": None, "yes": True, "deep": [{"a": [1, "b"]}], "raw": b"\0"}
    assert await tiny.tell(Told("e", "custom.x", NOW, "c", IDENTITIES, data)) == str(data)
    assert Tiny.note.__doc__ == "Says what it was given."


async def test_the_reason_names_the_field_and_not_what_is_in_it() -> None:
    for given, reason in (
        ({"key": "zoe\0"}, "key: holds a character that cannot be sent"),
        ({"body": "z" * (LONGEST_TEXT + 1)}, "body: is longer than 1,048,576 characters"),
        ({"crm_id": "z" * 1001}, "crm_id: is longer than 1,000 characters"),
    ):
        with pytest.raises(NeverAgain) as caught:
            await Tiny().note(**{"crm_id": "1", "key": "k", "body": "b", "at": NOW, **given})
        assert caught.value.reason == reason


@pytest.mark.parametrize("value", ["clé", "a\nb", "\u202eabc", "a\x7f"])
def test_a_header_is_of_printable_ascii(value: str) -> None:
    check_header("tiny", "key", "run-1/1 ~")
    with pytest.raises(NeverAgain, match="key: holds a character that no header can carry"):
        check_header("tiny", "key", value)
