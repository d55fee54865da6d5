"""Values fetched as a touch goes out: fresh where they can be, and never a reason to be late or silent."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import live
from activities import signatures as ask
from activities.live import Fetched, fetch
from connectors.errors import TryAgain
from contacts import tables
from contacts.events import Identity
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

    async def fetch(self, name: str, person: Sequence[Identity]) -> Mapping[str, Any] | None:
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
    assert await fetch(source, {"usage": USAGE}, ()) == Fetched({"usage": {"headline": HEADLINE}}, {"usage": "live"})


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
    assert await fetch(Source.of(answer), {"usage": USAGE}, ()) == Fetched({}, {"usage": outcome})


async def test_without_a_source_everything_falls_back() -> None:
    assert await fetch(None, {"usage": USAGE}, ()) == Fetched({}, {"usage": "no_source"})


async def test_an_answer_that_does_not_come_is_late() -> None:
    assert await fetch(Source(), {"usage": soon()}, ()) == Fetched({}, {"usage": "late"})


async def test_one_that_is_late_keeps_no_other_from_being_live() -> None:
    """They are asked at once: the second is asked while the first is still waited for."""
    both = asyncio.Event()

    class Two(Source):
        async def fetch(self, name: str, person: Sequence[Identity]) -> Mapping[str, Any] | None:
            self.asked.append((name, person))
            if len(self.asked) == 2:
                both.set()
            await both.wait()
            if name == "milestone":
                await asyncio.Event().wait()
            return {"headline": HEADLINE}

    milestone = Need(type="milestone", fallback="", live_seconds=0.05)
    found = await fetch(Two(), {"milestone": milestone, "usage": USAGE}, ())
    assert found == Fetched({"usage": {"headline": HEADLINE}}, {"milestone": "late", "usage": "live"})


async def test_a_fetch_that_is_cancelled_ends() -> None:
    source = Source()
    fetching = asyncio.create_task(fetch(source, {"usage": USAGE}, ()))
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
    found = await fetch(Source.of(answer), {"usage": USAGE}, ())
    assert set(found.outcomes) == {"usage"}
    assert found.outcomes["usage"] in ("live", "missing", "junk")
    assert (found.values == {}) is (found.outcomes["usage"] != "live")


# As part of a touch.


def value(house: House, **changes: Any) -> ask.DeliverRequest:
    return house.touch("renewal_value", **{"purpose": "lifecycle", "context": {"renewal": {}}, **changes})


async def sent(house: House, attempt: ActivityEnvironment, source: Source | None, **changes: Any) -> str:
    """What the contact reads."""
    act = replace(house.deliver, live_facts=source)
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
    async def at_once(source: Any, needs: Any, person: Any) -> Fetched:
        return await fetch(source, dict.fromkeys(needs, soon()), person)

    monkeypatch.setattr(live, "fetch", at_once)
    assert "Open the yearly page" in await sent(house, attempt, Source())
    assert (await house.the_touch()).live == {"usage": "late"}


async def test_a_message_that_wants_nothing_live_asks_for_nothing(house: House, attempt: ActivityEnvironment) -> None:
    source = Source.of({"headline": HEADLINE})
    assert (await attempt.run(replace(house.deliver, live_facts=source).deliver, house.touch())).status == "sent"
    assert source.asked == []
    assert (await house.the_touch()).live is None


async def test_nobody_is_asked_while_the_gate_says_wait_or_drop(house: House, attempt: ActivityEnvironment) -> None:
    source = Source.of({"headline": HEADLINE})
    act = replace(house.deliver, live_facts=source)
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
    delivery = await attempt.run(replace(house.deliver, live_facts=source).deliver, value(house))
    assert (delivery.status, delivery.reason) == ("dropped", "consent_withdrawn")
    assert not house.outside.calls


async def test_each_attempt_fetches_anew(house: House, attempt: ActivityEnvironment) -> None:
    house.outside.fail(TryAgain("recording", "503"))
    source = Source.of({"headline": "Yesterday's news."})
    act = replace(house.deliver, live_facts=source)
    with pytest.raises(ApplicationError):
        await attempt.run(act.deliver, value(house))
    source.answer = {"headline": HEADLINE}
    assert HEADLINE in await sent(house, attempt, source)
    # What is settled is not asked about again.
    await attempt.run(act.deliver, value(house))
    assert len(source.asked) == 2


async def test_nothing_of_it_enters_a_history(house: House, attempt: ActivityEnvironment) -> None:
    source = Source.of({"headline": HEADLINE})
    delivery = await attempt.run(replace(house.deliver, live_facts=source).deliver, value(house))
    assert HEADLINE not in repr(delivery)
