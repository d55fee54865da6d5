"""Values fetched as a touch goes out: fresh where they can be, and never a reason to be late or silent."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, ClassVar

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import live
from activities import signatures as ask
from activities.live import Fetched, fetch
from connectors import http
from connectors.base import Message
from connectors.errors import TryAgain
from connectors.stripe import Stripe, StripeSettings
from contacts import tables
from contacts.events import Identity, event, identities
from templates.render import Need
from tests.activities.conftest import MORNING, House

HEADLINE = "214 orders came from search this year."
USAGE = Need(type="usage", fallback="", live_seconds=5)


@dataclass
class Source:
    """Answers, fails, or takes its time: for ever where it has no answer ready."""

    name: ClassVar[str] = "source"
    answer: Any = None
    asked: list[tuple[str, Sequence[Identity]]] = field(default_factory=list)
    while_asked: Any = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, answer: Any) -> "Source":
        source = cls(answer)
        source.ready.set()
        return source

    def knows(self, name: str) -> bool:
        return name in ("usage", "milestone")

    async def fetch(self, name: str, person: Sequence[Identity], about: Mapping[str, Any]) -> Mapping[str, Any] | None:
        self.asked.append((name, person))
        if self.while_asked is not None:
            await self.while_asked()
        await self.ready.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


def soon(seconds: float = 0.01) -> Need:
    return USAGE.model_copy(update={"live_seconds": seconds})


async def test_a_value_that_is_there_is_live() -> None:
    source = Source.of({"headline": HEADLINE})
    assert await fetch([source], {"usage": USAGE}, (), {}) == Fetched(
        {"usage": {"headline": HEADLINE}}, {"usage": "live"}
    )


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (None, "missing"),
        ({}, "junk"),
        ({"headline": ""}, "junk"),
        ({"headline": 7}, "junk"),
        ("a headline", "junk"),
        ([HEADLINE], "junk"),
        (TryAgain("source", "503"), "broken: 503"),
        (ValueError("alice@example.com"), "broken: ValueError"),
        (RecursionError(), "broken: RecursionError"),
    ],
)
async def test_every_other_answer_falls_back_and_says_why(answer: Any, outcome: str) -> None:
    assert await fetch([Source.of(answer)], {"usage": USAGE}, (), {}) == Fetched({}, {"usage": outcome})


async def test_the_first_source_that_knows_it_is_asked() -> None:
    class Elsewhere(Source):
        def knows(self, name: str) -> bool:
            return name == "invoice"

    first, second, third = Elsewhere.of({}), Source.of({"headline": HEADLINE}), Source.of({"headline": "Another."})
    found = await fetch([first, second, third], {"usage": USAGE}, (), {})
    assert (found.values, first.asked, third.asked) == ({"usage": {"headline": HEADLINE}}, [], [])
    assert (await fetch([first], {"usage": USAGE}, (), {})).outcomes == {"usage": "no_source"}


async def test_without_a_source_everything_falls_back() -> None:
    assert await fetch([], {"usage": USAGE}, (), {}) == Fetched({}, {"usage": "no_source"})


async def test_an_answer_that_does_not_come_is_late() -> None:
    assert await fetch([Source()], {"usage": soon()}, (), {}) == Fetched({}, {"usage": "late"})


async def test_one_that_is_late_keeps_no_other_from_being_live() -> None:
    """They are asked at once: the second is asked while the first is still waited for."""
    both = asyncio.Event()

    class Two(Source):
        async def fetch(
            self, name: str, person: Sequence[Identity], about: Mapping[str, Any]
        ) -> Mapping[str, Any] | None:
            self.asked.append((name, person))
            if len(self.asked) == 2:
                both.set()
            await both.wait()
            if name == "milestone":
                await asyncio.Event().wait()
            return {"headline": HEADLINE}

    milestone = Need(type="milestone", fallback="", live_seconds=0.05)
    found = await fetch([Two()], {"milestone": milestone, "usage": USAGE}, (), {})
    assert found == Fetched({"usage": {"headline": HEADLINE}}, {"milestone": "late", "usage": "live"})


async def test_a_fetch_that_is_cancelled_ends() -> None:
    source = Source()
    fetching = asyncio.create_task(fetch([source], {"usage": USAGE}, (), {}))
    while not source.asked:  # noqa: ASYNC110  # it has nothing to wait for but its turn
        await asyncio.sleep(0)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["headline", "x"]), inner, max_size=2),
)


@given(anything)
async def test_junk_is_never_more_than_a_fallback(answer: Any) -> None:
    found = await fetch([Source.of(answer)], {"usage": USAGE}, (), {})
    assert set(found.outcomes) == {"usage"}
    assert found.outcomes["usage"] in ("live", "missing", "junk")
    assert (found.values == {}) is (found.outcomes["usage"] != "live")


# As part of a touch.


def value(house: House, **changes: Any) -> ask.DeliverRequest:
    return house.touch("renewal_value", **{"purpose": "lifecycle", "context": {"renewal": {}}, **changes})


async def sent(house: House, attempt: ActivityEnvironment, source: Source | None, **changes: Any) -> str:
    """What the contact reads."""
    act = replace(house.deliver, live_facts=[source] if source else [])
    assert (await attempt.run(act.deliver, value(house, **changes))).status == "sent"
    return " ".join(house.outside.delivered[-1].text.split())


async def test_what_is_fetched_is_what_the_contact_reads(house: House, attempt: ActivityEnvironment) -> None:
    source = Source.of({"headline": HEADLINE})
    assert HEADLINE in await sent(house, attempt, source)
    assert (await house.the_touch()).live == {"usage": "live"}
    [(name, person)] = source.asked
    assert name == "usage"
    assert Identity("email", "alice@example.com") in person


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        (None, "no_source"),
        (Source.of(None), "missing"),
        (Source.of({"headline": "<b></b>"}), "junk"),
        (Source.of(TryAgain("source", "no answer")), "broken: no answer"),
    ],
    ids=["none", "missing", "junk", "broken"],
)
async def test_without_it_the_message_goes_out_with_its_fallback(
    house: House, attempt: ActivityEnvironment, source: Source | None, outcome: str
) -> None:
    text = await sent(house, attempt, source, context={"renewal": {}, "usage": {"headline": "What was so last week."}})
    assert "Open the yearly page in your workspace." in text
    assert "last week" not in text
    assert (await house.the_touch()).live == {"usage": outcome}


async def test_one_that_hangs_is_given_up(
    house: House, attempt: ActivityEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(sources: Any, needs: Any, person: Any, about: Any) -> Fetched:
        return await fetch(sources, dict.fromkeys(needs, soon()), person, about)

    monkeypatch.setattr(live, "fetch", at_once)
    assert "Open the yearly page" in await sent(house, attempt, Source())
    assert (await house.the_touch()).live == {"usage": "late"}


async def test_a_message_that_wants_nothing_live_asks_for_nothing(house: House, attempt: ActivityEnvironment) -> None:
    source = Source.of({"headline": HEADLINE})
    assert (await attempt.run(replace(house.deliver, live_facts=[source]).deliver, house.touch())).status == "sent"
    assert source.asked == []
    assert (await house.the_touch()).live is None


async def test_nobody_is_asked_while_the_gate_says_wait_or_drop(house: House, attempt: ActivityEnvironment) -> None:
    source = Source.of({"headline": HEADLINE})
    act = replace(house.deliver, live_facts=[source])
    night = MORNING + timedelta(hours=14)
    assert (await attempt.run(act.deliver, value(house, at=night))).status == "waiting"
    await house.tell("consent.withdrawn", at=night, channel="email")
    assert (await attempt.run(act.deliver, value(house, at=night + timedelta(hours=12)))).status == "dropped"
    assert source.asked == []


async def test_nothing_is_claimed_while_it_is_fetched(house: House, attempt: ActivityEnvironment) -> None:
    """What is acknowledged meanwhile is heeded, as it would be without a fetch."""
    source = Source.of({"headline": HEADLINE})

    async def opts_out() -> None:
        assert await house.rows(tables.touches) == []
        await house.tell("consent.withdrawn", channel="email")

    source.while_asked = opts_out
    delivery = await attempt.run(replace(house.deliver, live_facts=[source]).deliver, value(house))
    assert (delivery.status, delivery.reason) == ("dropped", "consent_withdrawn")
    assert not house.outside.calls


async def test_each_attempt_fetches_anew(house: House, attempt: ActivityEnvironment) -> None:
    house.outside.fail(TryAgain("recording", "503"))
    source = Source.of({"headline": "Yesterday's news."})
    act = replace(house.deliver, live_facts=[source])
    with pytest.raises(ApplicationError):
        await attempt.run(act.deliver, value(house))
    source.answer = {"headline": HEADLINE}
    assert HEADLINE in await sent(house, attempt, source)
    # What is settled is not asked about again.
    await attempt.run(act.deliver, value(house))
    assert len(source.asked) == 2


async def test_nothing_of_it_enters_a_history(house: House, attempt: ActivityEnvironment) -> None:
    source = Source.of({"headline": HEADLINE})
    delivery = await attempt.run(replace(house.deliver, live_facts=[source]).deliver, value(house))
    assert HEADLINE not in repr(delivery)


# The invoice of a payment that failed, as Stripe has it when the mail goes out.

FAILED = {
    "invoice_id": "in_1",
    "number": "FERN-0042",
    "value": 4900,
    "currency": "EUR",
    "hosted_invoice_url": "https://invoice.example.com/then",
    "retry_at": "2030-03-06T09:00:00+00:00",
}
TRIED = {
    "value": 4900,
    "currency": "EUR",
    "number": "FERN-0042",
    "card_url": "https://invoice.example.com/then",
    "retry_at": "2030-03-06T09:00:00+00:00",
}
NOW_OPEN = {
    "id": "in_1",
    "status": "open",
    "customer": "cus_1",
    "number": "FERN-0042",
    "amount_remaining": 3900,
    "currency": "eur",
    "hosted_invoice_url": "https://invoice.example.com/now",
    "next_payment_attempt": int((MORNING + timedelta(days=5)).timestamp()),
}
INVOICE = "https://api.stripe.com/v1/invoices/in_1"


@pytest.fixture
async def stripe(house: House) -> AsyncIterator[Stripe]:
    """Alice pays by Stripe, whose network edge is faked."""
    known = identities(("email", "alice@example.com"), ("stripe", "cus_1"))
    told = event("contact.updated", source="stripe", source_id="evt_0", occurred_at=MORNING, identities=known)
    await house.intake.record(told, MORNING)
    async with http.new_client() as client:
        with respx.mock:
            yield Stripe(StripeSettings(_env_file=None, api_key=SecretStr("rk_1")), client)


async def reminded(house: House, attempt: ActivityEnvironment, stripe: Stripe, template: str) -> Message:
    """The mail about the failed payment, with what the run was told at its latest try."""
    entry = {"id": "e", "type": "invoice.payment_failed", "occurred_at": MORNING.isoformat(), "data": FAILED}
    wanted = replace(house.touch(template, context={"invoice": TRIED}), purpose="transactional", entry=entry)
    act = replace(house.deliver, live_facts=[stripe])
    assert (await attempt.run(act.deliver, wanted)).status == "sent"
    return house.outside.delivered[-1]


@pytest.mark.parametrize("template", ["payment_failed_second", "payment_last"])
async def test_a_mail_about_a_payment_says_what_is_still_open(
    house: House, attempt: ActivityEnvironment, stripe: Stripe, template: str
) -> None:
    """Ten euros were credited after the latest try, and the next one was put off."""
    route = respx.get(INVOICE).respond(json=NOW_OPEN)
    mail = await reminded(house, attempt, stripe, template)
    text = " ".join(mail.text.split())
    for said in ("€39.00", "(invoice FERN-0042)", "https://invoice.example.com/now", "9 March 2030"):
        assert said in text
    for was in ("€49.00", "invoice.example.com/then", "6 March 2030"):
        assert was not in mail.subject + text
    assert route.call_count == 1
    assert (await house.the_touch()).live == {"invoice": "live"}


async def test_the_first_mail_says_what_failed(house: House, attempt: ActivityEnvironment, stripe: Stripe) -> None:
    """What is open by now is another matter: the payment that did not go through was of so much."""
    assert "€49.00" in (await reminded(house, attempt, stripe, "payment_failed")).subject
    assert (await house.the_touch()).live is None


async def test_where_nobody_tries_again_no_try_is_announced(
    house: House, attempt: ActivityEnvironment, stripe: Stripe
) -> None:
    respx.get(INVOICE).respond(json={**NOW_OPEN, "next_payment_attempt": None})
    assert "We try" not in (await reminded(house, attempt, stripe, "payment_last")).text


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (httpx.Response(200, json={**NOW_OPEN, "status": "paid"}), "missing"),
        (httpx.Response(200, json={**NOW_OPEN, "customer": "cus_2"}), "missing"),
        (httpx.Response(200, json={**NOW_OPEN, "hosted_invoice_url": None}), "missing"),
        (httpx.Response(404, json={"error": {"code": "resource_missing"}}), "missing"),
        (httpx.Response(401, json={"error": {"code": "api_key_expired"}}), "broken: 401 api_key_expired"),
        (
            httpx.Response(200, json={**NOW_OPEN, "amount_remaining": "much"}),
            "broken: 200 with a body of another shape",
        ),
        (httpx.ReadTimeout("slow"), "broken: no answer (ReadTimeout)"),
    ],
    ids=["paid", "another's", "no page", "gone", "refused", "junk", "silent"],
)
async def test_without_it_the_mail_says_what_the_latest_try_said(
    house: House, attempt: ActivityEnvironment, stripe: Stripe, answer: Any, outcome: str
) -> None:
    respx.get(INVOICE).mock(side_effect=[answer])
    text = " ".join((await reminded(house, attempt, stripe, "payment_failed_second")).text.split())
    for said in ("€49.00", "(invoice FERN-0042)", "https://invoice.example.com/then", "6 March 2030"):
        assert said in text
    assert (await house.the_touch()).live == {"invoice": outcome}


def test_what_was_told_keeps_the_parts_that_nobody_has_a_word_on() -> None:
    needs = {"invoice": Need(type="invoice", live_seconds=2, live_else="told"), "usage": USAGE}
    told = {"invoice": TRIED, "usage": {"headline": "Last week."}, "first_name": "Alice"}
    fetched = Fetched({"invoice": {"value": 1, "retry_at": None}}, {"invoice": "live", "usage": "late"})
    assert live.freshest(told, fetched, needs) == {
        "invoice": {**TRIED, "value": 1, "retry_at": None},
        "first_name": "Alice",
    }
    assert live.freshest({}, fetched, needs) == {"invoice": {"value": 1, "retry_at": None}}
