"""Where the links in our messages lead: one click stops, a look changes nothing, and every choice is the contact's."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa
from bs4 import BeautifulSoup
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import facts, preferences
from contacts.events import event, identities
from contacts.specs import Purpose
from contacts.tables import events
from door.door import Door
from door.people import CHANNELS, PURPOSES
from settings import Settings
from tests.gateway.support import NOW, Stopped, Stored, client_of, unique

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@dataclass
class Reader:
    """A contact who got a message with our links in it."""

    contact_id: str
    email: str
    unsubscribe: str
    preferences: str


@pytest.fixture
async def new_reader(door: Door, settings: Settings) -> Callable[..., Reader]:
    async def make(*granted: Purpose, purpose: Purpose = "promotional") -> Reader:
        email = f"{unique()}@example.com"
        contact_id = ""
        given = [("contact.identified", {"email": email, "phone": "+4930901820"})]
        given += [("consent.granted", {"channel": "email", "purpose": p}) for p in granted]
        for type, data in given:
            fact = event(
                type,
                source="t",
                source_id=unique(),
                occurred_at=NOW,
                identities=identities(("email", email)),
                data=data,
            )
            contact_id = (await door.intake.record(fact, NOW)).contact_id or ""
        links = preferences.links(settings.secret, settings.public_url, contact_id, "email", purpose, unique("touch"))
        paths = [urlsplit(links[name]).path for name in ("unsubscribe_url", "preferences_url")]
        return Reader(contact_id, email, *paths)

    return make  # type: ignore[return-value]


def words(answer: httpx.Response) -> str:
    return " ".join(BeautifulSoup(answer.text, "html.parser").main.get_text(" ").split())  # type: ignore[union-attr]


def boxes(answer: httpx.Response) -> dict[str, bool]:
    found = BeautifulSoup(answer.text, "html.parser").select("input[type=checkbox]")
    return {str(box["value"]): box.has_attr("checked") for box in found}


async def count(engine: AsyncEngine, contact_id: str) -> int:
    async with engine.connect() as conn:
        query = sa.select(sa.func.count()).where(events.c.contact_id == contact_id)
        return (await conn.execute(query)).scalar_one()


class TestOneClick:
    @pytest.mark.parametrize("multipart", [True, False])
    async def test_a_post_acts_at_once(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], stored: Stored, multipart: bool
    ) -> None:
        reader = await new_reader("promotional", "lifecycle")
        body = {"files": {"List-Unsubscribe": (None, "One-Click")}} if multipart else {"data": ONE_CLICK}
        answer = await client.post(reader.unsubscribe, **body)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        assert await stored.consent("email", reader.email) == {"email/promotional": False, "email/lifecycle": True}
        last = await stored.events("email", reader.email)
        assert [e.data["purpose"] for e in last if e.type == "message.unsubscribed"] == ["promotional"]

    async def test_a_second_post_is_answered_the_same_and_changes_nothing(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], engine: AsyncEngine
    ) -> None:
        reader = await new_reader("promotional")
        first = await client.post(reader.unsubscribe, data=ONE_CLICK)
        before = await count(engine, reader.contact_id)
        second = await client.post(reader.unsubscribe, data=ONE_CLICK)
        assert (first.status_code, first.text) == (second.status_code, second.text)
        assert await count(engine, reader.contact_id) == before

    async def test_who_comes_back_can_leave_again_by_the_same_link(
        self, new_door: Callable[..., Door], new_reader: Callable[..., Reader], engine: AsyncEngine, settings: Settings,
        stored: Stored,
    ) -> None:  # fmt: skip
        reader = await new_reader("promotional")
        ticked = {"shown": ["email/promotional"], "ticked": ["email/promotional"], "do": "save"}
        steps = [
            (reader.unsubscribe, ONE_CLICK, False),
            (reader.preferences, ticked, True),
            (reader.unsubscribe, ONE_CLICK, False),
        ]
        for hour, (path, form, allowed) in enumerate(steps, start=1):
            later = settings.model_copy(update={"clock": Stopped(start=NOW + timedelta(hours=hour))})
            async with client_of(new_door(engine, settings=later)) as client:
                await client.post(path, data=form)
            assert (await stored.consent("email", reader.email))["email/promotional"] is allowed

    async def test_it_stops_what_the_message_was(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], stored: Stored
    ) -> None:
        reader = await new_reader("promotional", "lifecycle", purpose="lifecycle")
        await client.post(reader.unsubscribe, data=ONE_CLICK)
        assert await stored.consent("email", reader.email) == {"email/promotional": True, "email/lifecycle": False}

    @pytest.mark.parametrize("path", ["unsubscribe", "preferences"])
    async def test_a_look_changes_nothing(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], engine: AsyncEngine, path: str
    ) -> None:
        reader = await new_reader("promotional")
        before = await count(engine, reader.contact_id)
        answer = await client.get(getattr(reader, path))
        assert answer.status_code == 200
        assert await count(engine, reader.contact_id) == before

    async def test_the_page_has_a_button_that_does_what_a_mail_program_does(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], stored: Stored
    ) -> None:
        reader = await new_reader("promotional")
        page = BeautifulSoup((await client.get(reader.unsubscribe)).text, "html.parser")
        form = page.form
        assert form is not None
        fields = {str(field["name"]): str(field["value"]) for field in form.find_all("input")}
        await client.request(str(form["method"]), str(form["action"]), data=fields)
        assert (await stored.consent("email", reader.email))["email/promotional"] is False

    async def test_a_post_that_says_something_else_does_nothing(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], stored: Stored
    ) -> None:
        reader = await new_reader("promotional")
        for body in ({}, {"List-Unsubscribe": "Maybe"}):
            assert (await client.post(reader.unsubscribe, data=body)).status_code == 400
        assert (await stored.consent("email", reader.email))["email/promotional"] is True


class TestPreferencePage:
    async def test_shows_what_is_so(self, client: httpx.AsyncClient, new_reader: Callable[..., Reader]) -> None:
        reader = await new_reader("lifecycle")
        answer = await client.get(reader.preferences)
        assert boxes(answer) == {
            "email/promotional": False, "email/lifecycle": True, "sms/promotional": False, "sms/lifecycle": False,
        }  # fmt: skip
        assert reader.email not in answer.text
        assert f"{reader.email[0]}…@example.com" in words(answer)

    async def test_saves_and_says_so(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], stored: Stored
    ) -> None:
        reader = await new_reader("lifecycle")
        shown = list(boxes(await client.get(reader.preferences)))
        answer = await client.post(
            reader.preferences, data={"shown": shown, "ticked": ["email/promotional"], "do": "save"}
        )
        assert "From now on you get: News and offers, by email" in words(answer)
        assert boxes(answer)["email/promotional"] is True
        consents = (await stored.facts("email", reader.email))["consents"]
        assert {name for name, c in consents.items() if c["granted"]} == {"email/promotional"}
        assert {c["evidence"] for c in consents.values()} == {"preference page"}

    async def test_saving_twice_says_it_once(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], engine: AsyncEngine
    ) -> None:
        reader = await new_reader("promotional")
        form = {"shown": ["email/promotional"], "do": "save"}
        await client.post(reader.preferences, data=form)
        before = await count(engine, reader.contact_id)
        await client.post(reader.preferences, data=form)
        assert await count(engine, reader.contact_id) == before

    async def test_a_box_that_was_not_shown_is_left_alone(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], stored: Stored
    ) -> None:
        reader = await new_reader("promotional", "lifecycle")
        await client.post(reader.preferences, data={"shown": ["email/promotional"], "do": "save"})
        assert await stored.consent("email", reader.email) == {"email/promotional": False, "email/lifecycle": True}

    async def test_an_empty_box_outlasts_what_a_purchase_implies(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], stored: Stored, door: Door
    ) -> None:
        reader = await new_reader()
        await client.post(reader.preferences, data={"shown": ["email/promotional", "email/lifecycle"], "do": "save"})
        who = identities(("email", reader.email))
        bought = {"order_id": "1"}
        later = event(
            "purchase.completed", source="t", source_id=unique(), occurred_at=NOW, identities=who, data=bought
        )
        await door.intake.record(later, NOW)
        assert (await stored.consent("email", reader.email))["email/lifecycle"] is False

    async def test_stop_everything(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], stored: Stored, engine: AsyncEngine
    ) -> None:
        reader = await new_reader("promotional", "lifecycle")
        answer = await client.post(reader.preferences, data={"do": "stop"})
        assert "We have stopped everything" in words(answer)
        consents = await stored.consent("email", reader.email)
        assert len(consents) == 14, "seven channels, two purposes"
        assert not any(consents.values())
        before = await count(engine, reader.contact_id)
        await client.post(reader.preferences, data={"do": "stop"})
        assert await count(engine, reader.contact_id) == before

    async def test_junk_in_the_form_does_nothing(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], engine: AsyncEngine
    ) -> None:
        reader = await new_reader("promotional")
        before = await count(engine, reader.contact_id)
        junk = {"shown": ["email/everything", "x"], "ticked": ["pigeon/promotional"], "do": "dance"}
        assert (await client.post(reader.preferences, data=junk)).status_code == 200
        upload = {"shown": ("a.bin", b"\xff\x00"), "ticked": ("b.bin", b"\x00"), "do": ("c", b"stop")}
        assert (await client.post(reader.preferences, files=upload)).status_code == 200
        broken = {"content-type": "multipart/form-data; boundary=x"}
        assert (await client.post(reader.preferences, content=b"--x\r\nnope", headers=broken)).status_code < 500
        assert await count(engine, reader.contact_id) == before


class TestLinks:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize("path", ["/u/", "/preferences/"])
    @pytest.mark.parametrize("token", ["x", "WyJhIl0.x", "%00", "a" * 3000, "é"])
    async def test_a_link_that_is_not_ours_is_a_friendly_400(
        self, client: httpx.AsyncClient, method: str, path: str, token: str
    ) -> None:
        answer = await client.request(method, path + token, data=ONE_CLICK if method == "POST" else None)
        assert answer.status_code == 400
        assert "This link does not work" in words(answer)

    async def test_a_genuine_link_of_an_unknown_contact_looks_the_same(
        self, client: httpx.AsyncClient, settings: Settings
    ) -> None:
        token = preferences.make(settings.secret, "00000000-0000-4000-8000-000000000000", "email", "promotional", "t")
        forged = await client.get("/preferences/x")
        assert (await client.get(f"/preferences/{token}")).text == forged.text

    async def test_pages_are_not_kept_framed_or_indexed(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader]
    ) -> None:
        reader = await new_reader()
        for path in (reader.unsubscribe, reader.preferences, "/u/x"):
            headers = (await client.get(path)).headers
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store"
            assert "default-src 'none'" in headers["content-security-policy"]

    async def test_without_a_database_a_person_gets_a_page(
        self, client_without_database: httpx.AsyncClient, settings: Settings
    ) -> None:
        token = preferences.make(settings.secret, "00000000-0000-4000-8000-000000000000", "email", "promotional", "t")
        answer = await client_without_database.get(f"/preferences/{token}", headers={"accept": "text/html"})
        assert answer.status_code == 503
        assert "Please try again" in words(answer)


class TestToken:
    SECRET = SecretStr("s" * 32)

    def test_carries_the_claim_and_no_address(self) -> None:
        token = preferences.make(self.SECRET, "c-1", "email", "lifecycle", "touch-1")
        assert preferences.read(self.SECRET, token) == preferences.Claim("c-1", "email", "lifecycle", "touch-1")
        assert "/" not in token

    def test_nobody_opts_out_of_receipts(self) -> None:
        with pytest.raises(ValueError, match="nobody opts out"):
            preferences.make(self.SECRET, "c-1", "email", "transactional", "t")

    def test_the_page_has_words_for_every_choice(self) -> None:
        assert (set(CHANNELS), set(PURPOSES)) == (set(facts.CHANNELS), set(facts.MARKETING))

    def test_another_secret_or_a_changed_letter_is_bad(self) -> None:
        token = preferences.make(self.SECRET, "c-1", "email", "promotional", "t")
        with pytest.raises(preferences.BadToken):
            preferences.read(SecretStr("t" * 32), token)
        for at in range(len(token) - 1):  # the last letter carries bits that mean nothing
            changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
            with pytest.raises(preferences.BadToken):
                preferences.read(self.SECRET, changed)
