"""A card link leads to a page made at the click, or to where else a card can be changed."""

from collections.abc import Callable
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from connectors.errors import TryAgain
from contacts import card_link
from contacts.events import event, identities
from contacts.policy import Links
from door.door import Door
from settings import Settings
from tests.contacts.support import changed
from tests.gateway.support import NOW, client_of, unique


class Pages:
    """A provider that makes pages."""

    name: ClassVar[str] = "stripe"

    def __init__(self) -> None:
        self.made: list[tuple[str, str]] = []
        self.away = False

    async def card_page(self, customer_id: str, key: str) -> str:
        if self.away:
            raise TryAgain("stripe", "503")
        self.made.append((customer_id, key))
        return f"https://billing.example.com/p/{len(self.made)}"


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def door(new_door: Callable[..., Door], engine: object, pages: Pages) -> Door:
    return new_door(engine, card_pages=pages)


async def customer(door: Door, settings: Settings, *, id: str | None = "cus") -> str:
    """The path of a contact's link."""
    names = [("email", f"{unique()}@example.com"), *([("stripe", unique(id))] if id else [])]
    fact = event("contact.updated", source="t", source_id=unique(), occurred_at=NOW, identities=identities(*names))
    contact_id = (await door.intake.record(fact, NOW)).contact_id
    return urlsplit(card_link.url(settings.secret, settings.public_url, str(contact_id))).path


async def test_each_click_makes_a_page_of_its_own(door: Door, settings: Settings, pages: Pages) -> None:
    path = await customer(door, settings)
    async with client_of(door) as client:
        answers = [await client.get(path) for _ in range(2)]
    assert [a.status_code for a in answers] == [303, 303]
    assert [a.headers["location"] for a in answers] == [f"https://billing.example.com/p/{n}" for n in (1, 2)]
    assert {a.headers["cache-control"] for a in answers} == {"no-store"}
    (first, key), (second, other) = pages.made
    assert first == second
    assert first.startswith("cus")
    assert key != other


@pytest.mark.parametrize("why", ["away", "no customer", "no provider"])
async def test_without_a_page_the_business_has_one(
    new_door: Callable[..., Door], engine: object, settings: Settings, pages: Pages, why: str
) -> None:
    door = new_door(engine, card_pages=None if why == "no provider" else pages)
    pages.away = why == "away"
    path = await customer(door, settings, id=None if why == "no customer" else "cus")
    async with client_of(door) as client:
        assert (await client.get(path)).headers["location"] == door.intake.policy.links.billing


async def test_where_there_is_none_it_says_so(
    new_door: Callable[..., Door], engine: object, settings: Settings, pages: Pages
) -> None:
    door = new_door(engine)
    path = await customer(door, settings)
    object.__setattr__(door.intake, "policy", changed(door.intake.policy, links=Links()))
    async with client_of(door) as client:
        assert (await client.get(path)).status_code == 503


async def test_a_link_that_is_not_ours(door: Door, settings: Settings, pages: Pages) -> None:
    path = await customer(door, settings)
    async with client_of(door) as client:
        for wrong in (path[:-1], "/card/x", "/card/" + "a" * 5000, path.replace("/card/", "/u/")):
            assert (await client.get(wrong)).status_code == 400
    assert pages.made == []
