"""Whatever the policy, the history, the zone and the clocks: who follows the gate breaks no rule and always ends.

Several journeys of one contact ask at random times, each again when it is told to or when what held it is over. Every
answer is compared with what ``gate_oracle`` works out from the history by itself: first with the gate as a function,
then with the real transaction, many asking at once.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from contacts import database, pauses, tables
from contacts.claims import Claim, Gate
from contacts.events import Event
from contacts.facts import Facts, Happening, apply, mailed
from contacts.gate import Ask, Drop, Past, Pause, Send, Situation, Wait, Waiting, decide
from contacts.intake import Intake
from contacts.policy import WEEK, Cap, Experiment, Policy, Priority, QuietHours, SendWindow, StatedCap, Tier
from contacts.specs import Card, on
from tests.contacts.gate_oracle import (
    MAIL,
    NUMBER,
    RELEASES,
    Answer,
    Halt,
    Seen,
    Told,
    Wish,
    is_quiet,
    is_within,
    windows_exceeded,
)
from tests.contacts.support import a_run, card, changed, rows, told
from tests.databases import Databases

JOURNEYS = ("a", "b", "c", "d")
MOST_ASKS = 400
"""Once for each day of a hold, each opening of the hours, each slot another takes: nothing here needs more."""

# Clocks that are changed, in both hemispheres; offsets of half and three quarters of an hour; none at all.
ZONES = (
    None, "UTC", "Europe/Berlin", "America/New_York", "Australia/Sydney", "Australia/Lord_Howe", "Pacific/Chatham",
    "America/Santiago", "Asia/Kathmandu", "Asia/Kolkata", "Australia/Eucla", "Africa/Casablanca", "Pacific/Kiritimati",
)  # fmt: skip
STARTS = [datetime(2026, *day, tzinfo=UTC) for day in ((1, 14), (3, 6), (3, 27), (4, 2), (9, 25), (10, 2), (10, 22))]


# Policies

some_channels = st.lists(st.sampled_from(["email", "sms"]), min_size=1, unique=True).map(tuple)
some_purposes = st.lists(st.sampled_from(["promotional", "lifecycle", "transactional"]), min_size=1, unique=True).map(
    tuple
)
quarters = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 45]))
spans = st.sampled_from([0.25, 0.5, 1, 1, 2, 3, 5])
"""Few, and touches are asked for just so far apart: every window is met on its edge."""

nights = st.builds(
    lambda channels, purposes, ends: QuietHours(channels=channels, purposes=purposes, start=ends[0], end=ends[1]),
    some_channels,
    some_purposes,
    st.tuples(quarters, quarters).filter(lambda ends: ends[0] != ends[1]),
)
windows = st.builds(
    lambda channels, purposes, start, end, days: SendWindow(
        channels=channels, purposes=purposes, start=start, end=end, days=days
    ),
    some_channels,
    some_purposes,
    quarters,
    quarters,
    st.lists(st.sampled_from(WEEK), min_size=2, unique=True).map(tuple),
)
caps = st.builds(
    lambda channels, purposes, most, days: Cap(channels=channels, purposes=purposes, max=most, days=days),
    some_channels,
    some_purposes,
    st.integers(1, 3),
    spans,
)
stated = st.builds(
    lambda channels, most, days: StatedCap(channels=channels, purposes=("promotional",), max=most, days=days),
    some_channels,
    st.integers(1, 2),
    spans,
)
throttled = st.builds(
    Tier, name=st.just("t"), after_days=spans, max=st.integers(1, 2), days=spans, journeys=st.just(())
)
resting = st.builds(Tier, name=st.just("t"), after_days=spans, journeys=st.sampled_from([("d",), ("c",), ("c", "d")]))
experiments = st.builds(Experiment, name=st.sampled_from("xyzw"), journeys=st.just(("b",)), hold_out=st.just(0.5))


@st.composite
def policies(draw: st.DrawFn, crowded: bool) -> dict[str, Any]:
    """Random rules; where many messages compete, with windows that are full and without hours that hide it."""
    hours: dict[str, Any] = {"quiet_hours": (), "send_windows": ()}
    if not crowded or draw(st.booleans()):
        hours["quiet_hours"] = tuple(draw(st.lists(nights, max_size=2)))
        if draw(st.booleans()):
            hours["send_windows"] = tuple(draw(st.lists(windows, min_size=1, max_size=2)))
        assume(leaves_time(**hours))
    return {
        **hours,
        "caps": tuple(draw(st.lists(caps, min_size=1 if crowded else 0, max_size=2))),
        "frequency": draw(st.dictionaries(st.just("weekly"), stated, min_size=1 if crowded else 0)),
        "tiers": tuple(draw(st.lists(throttled if crowded else st.one_of(throttled, resting), max_size=2))),
        "priority": Priority(
            journeys=tuple(draw(st.permutations(JOURNEYS))[: draw(st.integers(2 if crowded else 0, 4))]),
            hold_hours=draw(st.sampled_from([0.25, 1, 6])),
        ),
        "experiments": () if crowded else tuple(draw(st.lists(experiments, max_size=1))),
        "echo_days": draw(spans),
        "hold_days": {"operator": draw(spans), "conversation": draw(spans)},
    }


def leaves_time(quiet_hours: tuple[QuietHours, ...], send_windows: tuple[SendWindow, ...]) -> bool:
    """Whether every kind of touch has some time of the week; no other policy can be loaded."""
    week = [datetime(2001, 1, 1) + timedelta(minutes=15 * n) for n in range(7 * 96)]  # noqa: DTZ001
    for channel in ("email", "sms"):
        for purpose in ("promotional", "lifecycle", "transactional"):
            quiet = [q for q in quiet_hours if channel in q.channels and purpose in q.purposes]
            open_ = [w for w in send_windows if channel in w.channels and purpose in w.purposes]
            if not any(
                (not open_ or any(is_within(local, w) for w in open_)) and not any(is_quiet(local, q) for q in quiet)
                for local in week
            ):
                return False
    return True


# Histories


@dataclass
class World:
    """Everything that will happen to one contact, and what their journeys want to send."""

    changes: Mapping[str, Any]
    zone: str | None
    start: datetime
    history: list[Told]
    halts: list[Halt]
    wishes: list[Wish]
    contact_id: str

    @property
    def first(self) -> Told:
        """What makes them reachable, long before."""
        known = {"email": MAIL, "phone": NUMBER}
        zone = {"timezone": self.zone} if self.zone else {}
        return Told(self.start - timedelta(days=40), "contact.updated", {**known, **zone})


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "page": ("page.viewed", {"page": "home"}),
    "read": ("message.opened", {"machine": False}),
    "machine": ("message.opened", {"machine": True}),
    "perhaps": ("message.opened", {"machine": None}),
    "bounce": ("message.bounced", {"address": MAIL, "permanent": True}),
    "complaint": ("message.complained", {"address": MAIL}),
    "works again": ("address.reactivated", {"address": MAIL}),
    "out": ("message.unsubscribed", {"channel": "email"}),
    "no mail": ("consent.withdrawn", {"channel": "email", "purpose": "promotional"}),
    "no more": ("consent.withdrawn", {"channel": "all"}),
    "yes mail": ("consent.granted", {"channel": "email", "purpose": "promotional"}),
    "yes": ("consent.granted", {"channel": "all"}),
    "ticket": ("ticket.opened", {"ticket_id": "7"}),
    "solved": ("ticket.solved", {"ticket_id": "7"}),
    "ticket too": ("ticket.opened", {"ticket_id": "8"}),
    "solved too": ("ticket.solved", {"ticket_id": "8"}),
    "talks": ("conversation.started", {"conversation_id": "1"}),
    "talked": ("conversation.ended", {"conversation_id": "1"}),
    "held": ("hold.opened", {"hold_id": "h"}),
    "let go": ("hold.released", {"hold_id": "h"}),
    "pause": ("contact.paused", {"days": 3}),
    "resumed": ("contact.resumed", {}),
    "weekly": ("contact.updated", {"frequency": "weekly"}),
    "moves": ("contact.updated", {"timezone": "Asia/Kathmandu"}),
    "erased": ("contact.erased", {}),
}
MILD = ["page", "read", "machine", "machine", "perhaps", "weekly", "weekly", "moves", "held", "let go", "talks"]
"""What leaves room for others' messages to be in the way."""
OFTEN = [
    "page",
    "read",
    "machine",
    "machine",
    "ticket",
    "solved",
    "talks",
    "talked",
    "held",
    "let go",
    "pause",
    "weekly",
]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    crowded = draw(st.booleans())
    start = draw(st.sampled_from(STARTS)) + timedelta(minutes=15 * draw(st.integers(0, 95)))

    def moment(first: int, last: int) -> datetime:
        return start + timedelta(minutes=15 * draw(st.integers(first, last)))

    allowed = "all" if crowded else draw(st.sampled_from(["all", "all", "all", "email", "none"]))
    history = [Told(start - timedelta(days=30), "consent.granted", {"channel": allowed})] if allowed != "none" else []
    kinds = st.sampled_from(MILD) if crowded else st.one_of(st.sampled_from(OFTEN), st.sampled_from(sorted(KINDS)))
    for kind in draw(st.lists(kinds, max_size=4 if crowded else 7)):
        type, data = KINDS[kind]
        history.append(Told(moment(-96, 8 * 96), type, data))
    if draw(st.booleans()):
        history.append(Told(moment(-48, 96), "custom.over", {"journey": draw(st.sampled_from(JOURNEYS))}))
    halts = [
        Halt(scope, name, begins, begins + timedelta(minutes=15 * draw(st.integers(1, 4 * 96))), draw(st.booleans()))
        for scope, name in draw(
            st.lists(
                st.sampled_from([("all", ""), ("channel", "email"), ("journey", "b")]),
                max_size=0 if crowded else 2,
                unique=True,
            )
        )
        for begins in [moment(0, 6 * 96)]
    ]
    purposes = ["promotional"] * 3 + ["lifecycle"] + ([] if crowded else ["transactional"])
    wishes: list[Wish] = []
    for n in range(draw(st.integers(4 if crowded else 2, 8))):
        # Seconds keep asks off the quarters, where events are; some are on them, where hours begin and end.
        at = moment(-96, 96 if crowded else 4 * 96) + timedelta(seconds=draw(st.sampled_from([0, 0, 1, 450])))
        if wishes and draw(st.booleans()):
            at = draw(st.sampled_from(wishes)).at + draw(st.sampled_from([0, 1])) * timedelta(days=draw(spans))
        wishes.append(
            Wish(
                key=f"k{n}",
                journey=draw(st.sampled_from(JOURNEYS)),
                template=f"t{n}" if crowded else draw(st.sampled_from("uvw")),
                channel=draw(st.sampled_from(["email", "email", "sms"])),
                purpose=draw(st.sampled_from(purposes)),
                at=at,
                worth=timedelta(days=draw(st.sampled_from([1, 9, 12] if crowded else [0.01, 0.25, 1, 3, 9]))),
                ends=draw(st.sampled_from(["sent", "sent", "sent", "unknown", "failed", "claimed", "given back"])),
            )
        )
    history.sort(key=lambda event: event.at)
    who = f"c-{draw(st.integers(0, 9))}"
    return World(draw(policies(crowded)), draw(st.sampled_from(ZONES)), start, history, halts, wishes, who)


# The gate as a function


def as_pause(halt: Halt) -> Pause:
    return Pause(halt.scope, halt.name, "r", halt.ends if halt.by_itself else None)  # type: ignore[arg-type]


def as_ask(wish: Wish, now: datetime) -> Ask:
    return Ask(wish.key, wish.template, wish.channel, wish.purpose, wish.journey, now, wish.valid_until)


def as_answer(verdict: Send | Wait | Drop) -> Answer:
    match verdict:
        case Send():
            return Answer("send")
        case Wait():
            return Answer("wait", verdict.reason, verdict.until, verdict.hold)
        case Drop():
            because = verdict.inputs.get("because") if verdict.reason == "valid_for" else None
            return Answer("drop", verdict.reason, because=because)


def inputs_agree(seen: Seen, wish: Wish, now: datetime, inputs: Mapping[str, Any]) -> bool:
    """Whether a touch that went out keeps how full the windows were."""
    return [cap["in_window"] for cap in inputs.get("caps", [])] == seen.counts(wish, now)


@dataclass
class Life:
    """Plays a world against ``decide``."""

    world: World
    policy: Policy
    asks: Counter[str] = field(default_factory=Counter)
    ends: dict[str, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seen = Seen(self.policy, self.world.contact_id)
        self.facts = Facts(self.world.contact_id)
        self.due = {wish.key: wish.at for wish in self.world.wishes}
        self.waits_for: dict[str, str] = {}

    def play(self) -> "Life":
        wishes = {wish.key: wish for wish in self.world.wishes}
        moments: list[tuple[datetime, int, Any]] = [(event.at, 0, event) for event in self.world.history]
        moments += [(halt.begins, 1, halt) for halt in self.world.halts]
        moments += [(halt.ends, 2, halt) for halt in self.world.halts if not halt.by_itself]
        ahead = [(self.world.first.at, 0, self.world.first), *sorted(moments, key=lambda m: m[:2])]
        while self.due or ahead:
            key = min(self.due, key=lambda k: (self.due[k], k), default=None)
            if ahead and (key is None or ahead[0][0] <= self.due[key]):
                self._happens(*ahead.pop(0))
            elif key is not None:
                self._ask(wishes[key], self.due.pop(key))
        return self

    def _happens(self, now: datetime, kind: int, what: Any) -> None:
        if kind == 0:
            self.seen.hear(what)
            self.facts = apply(self.facts, Happening(uuid4().hex, what.type, what.at, what.data), self.policy)
            over = what.type in RELEASES or what.type == "contact.resumed"
        elif kind == 1:
            self.seen.halts.append(what)
            over = False
        else:
            self.seen.halts.remove(what)
            over = True
        for key in list(self.waits_for) if over else ():
            self.due[key] = now

    def _ask(self, wish: Wish, now: datetime) -> None:
        self.asks[wish.key] += 1
        assert self.asks[wish.key] < MOST_ASKS, f"{wish} never ends"
        self.waits_for.pop(wish.key, None)
        seen = self.seen
        past = [Past(k, s.channel, s.purpose, s.at, s.template) for k, s in seen.slots.items()]  # type: ignore[arg-type]
        waiting = [
            Waiting(k, q.wish.journey, q.wish.channel, q.wish.purpose, q.until, q.wish.valid_until)
            for k, q in seen.queue.items()
        ]
        halts = [as_pause(halt) for halt in seen.halts]
        ended_by = "custom.over" if wish.journey in seen.over else None
        verdict = decide(as_ask(wish, now), Situation(self.facts, ended_by, past, waiting, halts), self.policy)
        answer = as_answer(verdict)
        assert answer == seen.expected(wish, now), f"{wish} at {now}"
        if isinstance(verdict, Send):
            assert inputs_agree(seen, wish, now, verdict.inputs)
        seen.answered(wish, now, answer)
        if answer.verdict == "wait":
            assert answer.until is not None
            assert now < answer.until <= wish.valid_until
            self.due[wish.key] = answer.until
            if answer.hold is not None:
                self.waits_for[wish.key] = answer.hold
            return
        self.ends[wish.key] = answer
        if answer.verdict == "send":
            seen.settled(wish, now)
            if wish.ends == "sent":
                self.facts = mailed(self.facts, now)
            if wish.ends == "given back":
                # The provider was busy; it is tried again a little later.
                again = replace(wish, ends="sent")
                self.world.wishes[[w.key for w in self.world.wishes].index(wish.key)] = again
                self._ask(again, now + timedelta(minutes=1))


@given(worlds())
@settings(max_examples=400)
def test_every_answer_is_right_no_rule_is_broken_and_everything_ends(policy: Policy, world: World) -> None:
    life = Life(world, changed(policy, **world.changes)).play()
    assert life.ends.keys() == {wish.key for wish in world.wishes}
    assert all(answer.verdict == "send" or answer.reason for answer in life.ends.values())
    assert windows_exceeded(life.policy, list(life.seen.slots.values())) == []


# The real transaction


def cards() -> tuple[Card, ...]:
    """Journeys that nothing starts here, each ended by its own event."""
    return tuple(card(name, exits=on("custom.over", journey=name)) for name in JOURNEYS)


@dataclass
class Road:
    """Plays a world against ``Gate.claim``: what falls into the same three quarters of an hour is done at once."""

    world: World
    policy: Policy
    engine: AsyncEngine

    def __post_init__(self) -> None:
        self.gate = Gate(self.policy, "test")
        self.intake = Intake(self.engine, cards(), self.policy)
        self.wishes = {wish.key: wish for wish in self.world.wishes}
        self.due = {wish.key: wish.at for wish in self.world.wishes}
        self.held: dict[str, datetime] = {}
        self.events: dict[str, Told] = {}
        self.between: list[tuple[int, str, Any, datetime]] = []
        self.runs: dict[str, str] = {}
        self.contact_id = ""

    async def play(self) -> "Road":
        first = self.world.first
        receipt = await self.intake.remember(self._event(first), first.at)
        assert receipt.contact_id is not None
        self.contact_id = receipt.contact_id
        self.runs = {j: await a_run(self.engine, self.contact_id, journey=j, entered=first.at) for j in JOURNEYS}
        halts = [(halt.begins, "halt", halt) for halt in self.world.halts]
        halts += [(halt.ends, "go on", halt) for halt in self.world.halts if not halt.by_itself]
        changes = sorted(halts, key=lambda change: change[0])
        ahead = list(self.world.history)
        while self.due or ahead or changes:
            begins = min([*self.due.values(), *(e.at for e in ahead[:1]), *(c[0] for c in changes[:1])])
            if changes and changes[0][0] == begins:
                await self._halt(*changes.pop(0))
                continue
            ends = min([begins + timedelta(minutes=45), *(c[0] for c in changes[:1])])
            events = [event for event in ahead if event.at <= ends]
            ahead = ahead[len(events) :]
            asking = {key: self.due.pop(key) for key in sorted(self.due) if self.due[key] <= ends}
            await self._at_once(events, asking)
        return self

    def _event(self, event: Told) -> Event:
        id = f"e{len(self.events)}"
        self.events[id] = event
        return told(event.type, event.at, who={"email": MAIL}, id=id, **event.data)

    async def _halt(self, now: datetime, kind: str, halt: Halt) -> None:
        async with self.engine.begin() as conn:
            if kind == "halt":
                await pauses.call(conn, as_pause(halt), by="mia", now=now)
            else:
                await pauses.end(conn, halt.scope, halt.name, by="mia", now=now)
                self._let_go(now)
        await self._note(kind, halt, now)

    def _let_go(self, now: datetime) -> None:
        self.due |= {key: max(asked, now) for key, asked in self.held.items()}
        self.held.clear()

    async def _note(self, kind: str, what: Any, now: datetime) -> None:
        """Something that takes no number of its own was done after all that has one by now."""
        async with self.engine.connect() as conn:
            number = (await conn.execute(sa.text("SELECT last_value FROM acts"))).scalar_one()
        self.between.append((number, kind, what, now))

    async def _at_once(self, events: list[Told], asking: Mapping[str, datetime]) -> None:
        # Every other touch is asked for twice at the same time, as by a worker that was thought dead.
        attempts = [key for n, key in enumerate(asking) for _ in range(1 + n % 2)]
        recorded = [self.intake.record(self._event(event), event.at) for event in events]
        claims, _ = await asyncio.gather(
            asyncio.gather(*(self._claim(self.wishes[key], asking[key]) for key in attempts)), asyncio.gather(*recorded)
        )
        for key, now in asking.items():
            mine = [claim for asked, claim in zip(attempts, claims, strict=True) if asked == key]
            assert Counter(claim.status for claim in mine)["claimed"] <= 1, "claimed twice"
            await self._goes_on(self.wishes[key], now, mine)
        if any(event.type in RELEASES or event.type == "contact.resumed" for event in events):
            self._let_go(max(event.at for event in events))

    async def _claim(self, wish: Wish, now: datetime) -> Claim:
        async with self.engine.begin() as conn:
            return await self.gate.claim(
                conn, as_ask(wish, now), run_id=self.runs[wish.journey], contact_id=self.contact_id, stage="s"
            )

    async def _goes_on(self, wish: Wish, now: datetime, claims: list[Claim]) -> None:
        statuses = {claim.status for claim in claims}
        if "claimed" in statuses and "unknown" not in statuses:
            [claimed] = [claim for claim in claims if claim.status == "claimed"]
            await self._settle(wish, now, claimed.touch_id)
        elif statuses == {"waiting"}:
            # Of two attempts the later one knows more.
            async with self.engine.connect() as conn:
                query = sa.select(tables.touches).where(tables.touches.c.id == claims[0].touch_id)
                touch = (await conn.execute(query)).one()
            if touch.status == "waiting":
                assert touch.hold in {claim.hold for claim in claims}
                assert now < touch.wait_until <= wish.valid_until
                self.due[wish.key] = touch.wait_until
                if touch.hold is not None:
                    self.held[wish.key] = now

    async def _settle(self, wish: Wish, now: datetime, touch_id: str) -> None:
        if wish.ends == "claimed":
            return
        async with self.engine.begin() as conn:
            if wish.ends == "given back":
                await self.gate.release(conn, touch_id, "busy")
                self.wishes[wish.key] = replace(wish, ends="sent")
                self.due[wish.key] = now + timedelta(minutes=1)
            else:
                await self.gate.settle(conn, touch_id, wish.ends, now)
        await self._note("settled", wish, now)

    async def check(self) -> None:
        """Goes through everything again in the order in which it was done, and has each answer worked out anew."""
        seen = Seen(self.policy, self.contact_id)
        acts: list[tuple[float, str, Any, datetime]] = [(n + 0.5, *rest) for n, *rest in self.between]
        for event in await rows(self.engine, tables.events):
            if event.source_id in self.events:
                acts.append((event.act, "event", self.events[event.source_id], event.received_at))
        keys = {touch.id: touch.key for touch in await rows(self.engine, tables.touches)}
        for row in await rows(self.engine, tables.decisions):
            acts.append((row.act, "decision", row, row.at))
        for _, kind, what, now in sorted(acts, key=lambda act: act[0]):
            match kind:
                case "event":
                    seen.hear(what)
                case "halt":
                    seen.halts.append(what)
                case "go on":
                    seen.halts.remove(what)
                case "settled":
                    seen.settled(what, now)
                case "decision":
                    wish = self.wishes[keys[what.touch_id]]
                    because = what.inputs.get("because") if what.reason == "valid_for" else None
                    answer = Answer(what.verdict, what.reason, what.until, what.hold, because)
                    assert answer == seen.expected(wish, now), f"{wish} at {now}"
                    assert what.verdict != "send" or inputs_agree(seen, wish, now, what.inputs)
                    seen.answered(wish, now, answer)
        assert windows_exceeded(self.policy, list(seen.slots.values())) == []
        for touch in await rows(self.engine, tables.touches):
            assert touch.status != "waiting", "it asks no more"
            assert touch.status != "claimed" or self.wishes[touch.key].ends == "claimed", "nobody knows of it"


@pytest.mark.timeout(600)  # many transactions, on a machine that may be busy
@given(worlds())
@settings(
    max_examples=15, phases=[Phase.explicit, Phase.reuse, Phase.generate], suppress_health_check=[HealthCheck.too_slow]
)
def test_every_claim_is_right_whatever_is_asked_and_told_at_once(
    policy: Policy, databases: Databases, world: World
) -> None:
    async def played(url: str) -> None:
        engine = database.connect(url, pool_size=8)
        try:
            road = Road(world, changed(policy, segments=(), **world.changes), engine)
            await (await road.play()).check()
        finally:
            await engine.dispose()

    with databases.lent() as url:
        asyncio.run(played(url))
