"""Where the links in our messages lead: one click stops, a look changes nothing, and every choice is the contact's."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, get_args
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa
from bs4 import BeautifulSoup
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import facts, preferences
from contacts.events import event, identities
from contacts.intake import Intake
from contacts.policy import Frequency, Policy
from contacts.specs import Purpose
from contacts.tables import events
from door.door import Door
from door.people import CHANNELS, FREQUENCIES, PURPOSES, TOPICS
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


@pytest.fixture
def client_after(new_door: Callable[..., Door], engine: AsyncEngine, settings: Settings) -> Callable[..., Any]:
    """``client_after(days=2)``: a client of the same app at a later time."""

    def make(**span: float) -> httpx.AsyncClient:
        later = settings.model_copy(update={"clock": Stopped(start=NOW + timedelta(**span))})
        return client_of(new_door(engine, settings=later))

    return make


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
        assert {name: on for name, on in boxes(answer).items() if not name.startswith("topic/")} == {
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
        assert len(consents) == len(facts.CHANNELS) * len(facts.MARKETING)
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


def offered(answer: httpx.Response) -> dict[str, list[str]]:
    """What a page would send as it stands, and with it every answer there is."""
    page = BeautifulSoup(answer.text, "html.parser")
    answers: dict[str, list[str]] = {}
    for field in page.select("input[type=radio], option"):
        name = field.get("name") or field.find_parent("select")["name"]  # type: ignore[index]
        answers.setdefault(str(name), []).append(str(field["value"]))
    return answers


def chosen(answer: httpx.Response) -> dict[str, str]:
    found = BeautifulSoup(answer.text, "html.parser").select("input[type=radio][checked]")
    return {str(field["name"]): str(field["value"]) for field in found}


ALL_TOPICS = [f"topic/{slug}" for slug in TOPICS]


class TestWishes:
    async def test_the_page_offers_what_the_business_has_and_the_policy_says(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader]
    ) -> None:
        answer = await client.get((await new_reader("promotional")).preferences)
        assert [name for name in boxes(answer) if name.startswith("topic/")] == ALL_TOPICS
        assert "Being found in search" in words(answer)
        assert "topic/general" not in answer.text
        assert offered(answer) == {
            "frequency": ["as_it_comes", "weekly", "monthly"],
            "preferred_channel": ["any", "email", "sms"],
            "days": ["14", "30", "90"],
        }
        assert chosen(answer) == {"frequency": "as_it_comes", "preferred_channel": "any"}
        assert "At most 1 in 30 days" in words(answer)

    async def test_it_asks_only_what_can_be_acted_on(
        self, new_door: Callable[..., Door], new_reader: Callable[..., Reader], engine: AsyncEngine, policy: Policy
    ) -> None:
        reader = await new_reader("promotional")
        monthly = {"monthly": policy.frequency["monthly"]}
        for frequency, answers in ((monthly, ["as_it_comes", "monthly"]), ({}, None)):
            intake = Intake(engine, (), policy.model_copy(update={"frequency": frequency}))
            async with client_of(new_door(engine, intake=intake)) as client:
                assert offered(await client.get(reader.preferences)).get("frequency") == answers
                said = await client.post(reader.preferences, data={"frequency": "weekly", "do": "save"})
                assert said.status_code == 200

    async def test_who_is_reached_in_one_way_is_not_asked_where(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], door: Door, stored: Stored
    ) -> None:
        reader = await new_reader("promotional")
        who = identities(("email", reader.email))
        gone = {"channel": "sms", "address": "+4930901820", "permanent": True}
        bounce = event("message.bounced", source="t", source_id=unique(), occurred_at=NOW, identities=who, data=gone)
        await door.intake.record(bounce, NOW)
        assert "preferred_channel" not in offered(await client.get(reader.preferences))
        await client.post(reader.preferences, data={"preferred_channel": "sms", "do": "save"})
        assert "preferred_channel" not in (await stored.facts("email", reader.email))["profile"]

    async def test_it_is_saved_shown_and_kept_with_its_evidence(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], stored: Stored, engine: AsyncEngine
    ) -> None:
        reader = await new_reader("promotional")
        form = {
            "shown": ["email/promotional", *ALL_TOPICS], "ticked": ["email/promotional", "topic/seo", "topic/checkout"],
            "frequency": "monthly", "preferred_channel": "sms", "do": "save",
        }  # fmt: skip
        answer = await client.post(reader.preferences, data=form)
        told = words(answer)
        assert "Saved, and it holds at once. From now on you get: News and offers, by email" in told
        assert "We write about: Making checkout easier to finish; Being found in search." in told
        assert "News and offers: at most 1 in 30 days." in told
        assert "we write by text message" in told
        assert chosen(answer) == {"frequency": "monthly", "preferred_channel": "sms"}
        [said] = [e for e in await stored.events("email", reader.email) if e.type == "contact.updated"]
        assert (said.source, said.data) == (
            "preferences",
            {
                "topics": ["checkout", "seo"],
                "frequency": "monthly",
                "preferred_channel": "sms",
                "evidence": "preference page",
            },
        )
        profile = (await stored.facts("email", reader.email))["profile"]
        assert {n: profile[n]["value"] for n in ("topics", "frequency", "preferred_channel")} == {
            "topics": ["checkout", "seo"], "frequency": "monthly", "preferred_channel": "sms",
        }  # fmt: skip
        before = await count(engine, reader.contact_id)
        assert words(await client.post(reader.preferences, data=form)) == told
        assert await count(engine, reader.contact_id) == before

    async def test_a_page_sent_twice_at_once_is_one_word(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], stored: Stored
    ) -> None:
        reader = await new_reader("promotional")
        save = {"shown": ALL_TOPICS, "ticked": ["topic/seo"], "frequency": "weekly", "do": "save"}
        for form in (save, {"days": "14", "do": "pause"}):
            answers = await asyncio.gather(*(client.post(reader.preferences, data=form) for _ in range(4)))
            assert {answer.status_code for answer in answers} == {200}
        types = [e.type for e in await stored.events("email", reader.email)]
        assert (types.count("contact.updated"), types.count("contact.paused")) == (1, 1)

    async def test_topics_not_shown_and_answers_not_given_are_left_alone(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], stored: Stored,
        client_after: Callable[..., Any],
    ) -> None:  # fmt: skip
        reader = await new_reader("promotional")
        first = {"shown": ALL_TOPICS, "ticked": ["topic/seo"], "frequency": "weekly", "do": "save"}
        await client.post(reader.preferences, data=first)
        second = {"shown": ["topic/checkout"], "ticked": ["topic/checkout"], "do": "save"}
        async with client_after(hours=1) as client_then:
            await client_then.post(reader.preferences, data=second)
        profile = (await stored.facts("email", reader.email))["profile"]
        assert (profile["topics"]["value"], profile["frequency"]["value"]) == (["checkout", "seo"], "weekly")

    async def test_every_wish_can_be_taken_back(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], client_after: Callable[..., Any]
    ) -> None:
        reader = await new_reader("promotional")
        wish = {"shown": ALL_TOPICS, "ticked": ["topic/seo"], "frequency": "weekly", "preferred_channel": "sms"}
        none = {"shown": ALL_TOPICS, "frequency": "as_it_comes", "preferred_channel": "any"}
        await client.post(reader.preferences, data={**wish, "do": "save"})
        async with client_after(hours=1) as client_then:
            answer = await client_then.post(reader.preferences, data={**none, "do": "save"})
        assert chosen(answer) == {"frequency": "as_it_comes", "preferred_channel": "any"}
        assert not any(on for name, on in boxes(answer).items() if name.startswith("topic/"))

    @pytest.mark.parametrize("field", ["shown", "ticked", "frequency", "preferred_channel", "days"])
    async def test_junk_in_any_field_says_nothing(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], engine: AsyncEngine, field: str
    ) -> None:
        reader = await new_reader("promotional")
        before = await count(engine, reader.contact_id)
        for junk in ("", "x", "topic/", "topic/general", "daily", "-1", "1e9", "Ω\x00", "a" * 5000):
            for do in ("save", "pause", "resume"):
                typed = await client.post(reader.preferences, data={field: junk, "do": do})
                upload = await client.post(reader.preferences, files={field: ("a.bin", junk.encode())}, data={"do": do})
                assert (typed.status_code, upload.status_code) == (200, 200), (junk, do)
        assert await count(engine, reader.contact_id) == before

    async def test_somebody_else_s_trait_with_markup_is_shown_as_text(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader]
    ) -> None:
        reader = await new_reader("promotional")
        form = {"ticked": ["<script>"], "shown": ["<script>"], "frequency": "<script>", "do": "<script>"}
        assert "<script" not in (await client.post(reader.preferences, data=form)).text


class TestBreak:
    async def test_a_break_is_taken_shown_and_ended(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], stored: Stored, engine: AsyncEngine,
        client_after: Callable[..., Any],
    ) -> None:  # fmt: skip
        reader = await new_reader("promotional")
        answer = await client.post(reader.preferences, data={"days": "30", "do": "pause"})
        assert "You are taking a break until 1 April 2026." in words(answer)
        assert "days" not in offered(answer)
        [said] = [e for e in await stored.events("email", reader.email) if e.type == "contact.paused"]
        assert (said.source, said.data) == ("preferences", {"days": 30, "evidence": "preference page"})
        assert "You are taking a break" in words(await client.get(reader.preferences))
        async with client_after(days=2) as client_then:
            answer = await client_then.post(reader.preferences, data={"do": "resume"})
            assert "Welcome back." in words(answer)
            assert "days" in offered(answer)
            before = await count(engine, reader.contact_id)
            await client_then.post(reader.preferences, data={"do": "resume"})
            assert await count(engine, reader.contact_id) == before

    async def test_a_break_is_over_by_itself(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], client_after: Callable[..., Any]
    ) -> None:
        reader = await new_reader("promotional")
        await client.post(reader.preferences, data={"days": "14", "do": "pause"})
        async with client_after(days=14) as client_then:
            assert "break until" not in words(await client_then.get(reader.preferences))

    async def test_choices_are_kept_and_can_be_changed_meanwhile(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], stored: Stored
    ) -> None:
        reader = await new_reader("promotional", "lifecycle")
        await client.post(reader.preferences, data={"days": "14", "do": "pause"})
        assert await stored.consent("email", reader.email) == {"email/promotional": True, "email/lifecycle": True}
        form = {"shown": ["email/promotional", "email/lifecycle"], "ticked": ["email/lifecycle"], "do": "save"}
        answer = await client.post(reader.preferences, data=form)
        assert "You are taking a break" in words(answer)
        assert "From then on you get: Help with what you bought, by email" in words(answer)

    async def test_who_gets_nothing_is_offered_no_break(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader]
    ) -> None:
        reader = await new_reader("promotional")
        answer = await client.post(reader.preferences, data={"do": "stop"})
        assert "days" not in offered(answer)
        await client.post(reader.preferences, data={"days": "14", "do": "pause"})
        answer = await client.get(reader.preferences)
        assert "Saved" not in words(answer)
        assert "break" not in words(answer)


class TestWhoseWordItIs:
    EVERYTHING: ClassVar[dict[str, Any]] = {
        "shown": ["email/promotional", *ALL_TOPICS], "ticked": ["topic/seo"], "frequency": "weekly", "days": "14",
    }  # fmt: skip

    async def test_only_the_link_counts_and_no_cookie_is_made(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], engine: AsyncEngine
    ) -> None:
        """There is no session that another site's form could ride on: who has not the link can say nothing."""
        reader = await new_reader("promotional")
        opened = await client.get(reader.preferences)
        assert "set-cookie" not in opened.headers
        assert "form-action 'self'" in opened.headers["content-security-policy"]
        before = await count(engine, reader.contact_id)
        for path in ("/preferences", "/preferences/", f"/preferences/{reader.contact_id}", reader.preferences[:-1]):
            answer = await client.post(path, data={**self.EVERYTHING, "do": "save"}, headers={"origin": "null"})
            assert answer.status_code in (400, 404, 405)
        assert await count(engine, reader.contact_id) == before

    @pytest.mark.parametrize("do", ["save", "stop", "pause", "resume"])
    async def test_a_link_that_is_opened_says_nothing_whatever_is_added_to_it(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], engine: AsyncEngine, do: str
    ) -> None:
        reader = await new_reader("promotional")
        before = await count(engine, reader.contact_id)
        asked = {**self.EVERYTHING, "do": do}
        assert (await client.get(reader.preferences, params=asked)).status_code == 200
        # Not by a query on a form that is sent either: the word is in the body.
        await client.post(reader.preferences, params=asked, data={})
        assert await count(engine, reader.contact_id) == before

    @pytest.mark.parametrize("do", ["save", "stop", "pause", "resume"])
    async def test_an_erased_contact_leaves_nothing_new_behind(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], engine: AsyncEngine, door: Door, do: str
    ) -> None:
        reader = await new_reader("promotional")
        who = identities(("contact", reader.contact_id))
        erased = event("contact.erased", source="t", source_id=unique(), occurred_at=NOW, identities=who)
        await door.intake.record(erased, NOW)
        before = await count(engine, reader.contact_id)
        answer = await client.post(reader.preferences, data={**self.EVERYTHING, "do": do})
        assert "we did. We send you nothing." in words(answer)
        assert not BeautifulSoup(answer.text, "html.parser").find_all("form")
        assert await count(engine, reader.contact_id) == before

    async def test_the_link_of_a_contact_who_turned_out_to_be_another_speaks_for_both(
        self, client: httpx.AsyncClient, new_reader: Callable[..., Reader], stored: Stored, door: Door
    ) -> None:
        kept, gone = await new_reader("promotional"), await new_reader("promotional")
        both = identities(("contact", kept.contact_id), ("contact", gone.contact_id))
        merged = event("contact.merged", source="t", source_id=unique(), occurred_at=NOW, identities=both)
        await door.intake.record(merged, NOW)
        for reader, frequency in ((gone, "weekly"), (kept, "monthly")):
            answer = await client.post(reader.preferences, data={"frequency": frequency, "do": "save"})
            assert answer.status_code == 200
            profiles = [(await stored.facts("email", r.email))["profile"] for r in (kept, gone)]
            assert profiles[0] == profiles[1]
        said = [e.data["frequency"] for e in await stored.events("email", gone.email) if e.type == "contact.updated"]
        assert sorted(said) == ["monthly", "weekly"]


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
        assert set(FREQUENCIES) == set(get_args(Frequency))

    def test_another_secret_or_a_changed_letter_is_bad(self) -> None:
        token = preferences.make(self.SECRET, "c-1", "email", "promotional", "t")
        with pytest.raises(preferences.BadToken):
            preferences.read(SecretStr("t" * 32), token)
        for at in range(len(token) - 1):  # the last letter carries bits that mean nothing
            changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
            with pytest.raises(preferences.BadToken):
                preferences.read(self.SECRET, changed)
