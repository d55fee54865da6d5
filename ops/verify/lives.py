"""No touch was claimed after what forbids it was acknowledged, and no event went without its effect.

A contact's life is gone through again, act by act, in the order of the numbers that the acts took while the contact's
row was locked. Nothing the gate wrote down is believed: the facts are made anew from the events, and the gate's checks
are asked again on what was true before each claim.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from contacts import facts as facts_module
from contacts import gate, routing
from contacts.events import identity
from contacts.facts import ADDRESSES, Facts, address_kind
from contacts.gate import Check, Drop, Passed, Past, Situation, Wait
from contacts.policy import Policy
from contacts.specs import Card, Happening
from ops.explain_words import REASONS
from ops.verify.findings import Finding
from ops.verify.rows import Claimed, Life, Merged, RunRow, Skipped, Stored

_CHECKS: tuple[Check, ...] = (
    gate.erased, gate.exited, gate.consent, gate.reachable, gate.held_out, gate.echoed, gate.paused, gate.held,
    gate.quiet, gate.windowed, gate.stated, gate.capped,
)  # fmt: skip

_NO_EXCUSE = ("erased", "exited", "consent_withdrawn", "suppressed", "paused")


@dataclass(frozen=True)
class Rules:
    """What lives are judged by.

    Attributes:
        late: How far apart two clocks may be, and how long what follows from an event may take, in journeys' time.
        since: Only what was done from then on is judged; None for everything.
        answered_since: By journey and type of event, since when such an event has begun the journey, or it is said why
            not. What came before did so under cards that knew nothing of it.
    """

    cards: Sequence[Card]
    policy: Policy
    late: timedelta
    since: datetime | None = None
    answered_since: Mapping[tuple[str, str], datetime] = field(default_factory=dict)

    def covers(self, at: datetime) -> bool:
        """Whether what was done at this time is to be judged."""
        return self.since is None or at >= self.since


def judged(life: Life, rules: Rules) -> list[Finding]:
    """Everything in a contact's life that ought not to be."""
    return [*_past_the_gate(life), *_Again(life, rules).findings()]


def _past_the_gate(life: Life) -> Iterator[Finding]:
    for touch in life.touches:
        if touch.status in ("claimed", "sent", "unknown", "failed") and not touch.claims:
            what = f"a touch is {touch.status}, and the gate never let it out"
            yield Finding("past-the-gate", touch.contact_id, what, {"touch": touch.id, "run": touch.run_id})


class _Again:
    """A life, gone through again."""

    def __init__(self, life: Life, rules: Rules) -> None:
        self._life = life
        self._rules = rules
        self._runs = {run.id: run for run in (*life.namesakes, *life.runs)}
        self._ending_types = frozenset(t for card in rules.cards for t in card.ending_types)
        self._facts: dict[str, Facts] = {}
        self._past: defaultdict[str, list[Past]] = defaultdict(list)
        self._kept: dict[str, str] = {}
        self._should_be_over: dict[str, str] = {}
        self._begun = {(run.journey, run.entry_event) for run in self._runs.values()}
        self._skips = Counter(life.skips)
        self._starting: defaultdict[str, list[Card]] = defaultdict(list)
        for card in rules.cards:
            for type in {type for trigger in card.trigger for type in trigger.types}:
                self._starting[type].append(card)
        self._longest_pattern = max((p.within for card in rules.cards for p in card.patterns), default=timedelta(0))
        self._done: defaultdict[str, list[Happening]] = defaultdict(list)

    def findings(self) -> Iterator[Finding]:
        for act in in_order(self._life):
            if isinstance(act, Merged):
                yield from self._exits_missed_in(act)
                self._merge(act)
            elif isinstance(act, Stored):
                event = self._as_routed(act)
                yield from self._exits_missed(act, event)
                yield from self._triggers_missed(act, event)
                known = self._facts_of(act.contact_id)
                self._facts[act.contact_id] = facts_module.apply(known, act.event, self._rules.policy)
                insort(self._done[act.contact_id], act.event, key=_when)
            else:
                yield from self._forbidden(act)
                if act.takes_slot:
                    ask = act.ask
                    past = Past(ask.key, ask.channel, ask.purpose, ask.now, ask.template)
                    self._past[self._owner(self._runs[act.run_id])].append(past)
        yield from _lost(self._facts_of(self._life.facts.contact_id), self._life, self._rules.policy)

    def _facts_of(self, contact_id: str) -> Facts:
        return self._facts.get(contact_id) or Facts(contact_id)

    def _owner(self, run: RunRow) -> str:
        """Whose the run is, as far as we have come."""
        contact_id = run.entered_for
        while contact_id in self._kept:
            contact_id = self._kept[contact_id]
        return contact_id

    def _merge(self, merged: Merged) -> None:
        self._kept[merged.gone] = merged.kept
        half_life = timedelta(days=self._rules.policy.score.half_life_days)
        both = (self._facts_of(merged.kept), self._facts_of(merged.gone))
        self._facts[merged.kept] = facts_module.merge(*both, half_life)
        self._past[merged.kept] += self._past.pop(merged.gone, [])
        self._done[merged.kept] = sorted([*self._done[merged.kept], *self._done.pop(merged.gone, [])], key=_when)

    # Claims.

    def _forbidden(self, claim: Claimed) -> Iterator[Finding]:
        if claim.act is None or not self._rules.covers(claim.ask.now):
            return
        run = self._runs[claim.run_id]
        who = self._owner(run)
        same_policy = claim.policy_version == self._rules.policy.version
        facts = self._facts_then(who, same_policy)
        ended_by = self._ended_by(run, claim.act)
        halts = [halt.pause for halt in self._life.halts if halt.binds(claim.act)]
        situation = Situation(facts, ended_by, self._past[who], pauses=halts, namesakes=self._namesakes(claim, facts))
        for check in _CHECKS:
            answer = check(claim.ask, situation, self._rules.policy)
            if not isinstance(answer, Passed) and (same_policy or _no_policy_excuses(answer)):
                yield self._claimed_all_the_same(claim, answer, ended_by)
                return

    def _ended_by(self, run: RunRow, act: int) -> str | None:
        """What had ended the run by then: an event's id, or that of the run."""
        if run.exited_at is not None and (run.exit_act or 0) < act:
            # Where two contacts turned out to be one, no event ended the run.
            return run.exit_event or run.id
        return self._should_be_over.get(run.id)

    def _namesakes(self, claim: Claimed, facts: Facts) -> dict[str, Facts]:
        """Who else was known by the address, and what was true of them then; nobody where that cannot be told.

        Their acts are numbered with ours, for the claim held their row as well. Since when an address is theirs only a
        clock says, and of one that came with a merge nothing does.
        """
        channel, act = claim.ask.channel, claim.act or 0
        address = identity(address_kind(channel), facts.address(channel))
        sharer = self._life.sharers.get(address) if address is not None else None
        if sharer is None or sharer.merged_act > act or sharer.since > claim.ask.now - self._rules.late:
            return {}
        known = [stored.event for stored in sharer.events if (stored.act or 0) < act]
        then = Facts(sharer.facts.contact_id)
        for event in known:
            then = facts_module.apply(then, event, self._rules.policy)
        return {channel: _with_words(then, sharer.facts, known)}

    def _facts_then(self, contact_id: str, same_policy: bool) -> Facts:
        """What was true then. A hold lasts as it was stored: how long is for the policy of its day to say."""
        stored = self._life.facts
        facts = _with_words(self._facts_of(contact_id), stored, self._done[contact_id])
        holds = dict(facts.holds)
        for name, hold in facts.holds.items():
            as_stored = stored.holds.get(name)
            if as_stored is not None and as_stored.opened_at == hold.opened_at:
                holds[name] = replace(hold, expires_at=as_stored.expires_at)
            elif not same_policy:
                del holds[name]
        return replace(facts, holds=holds)

    def _claimed_all_the_same(self, claim: Claimed, verdict: Wait | Drop, ended_by: str | None) -> Finding:
        ask = claim.ask
        because = REASONS.get(verdict.reason, verdict.reason)
        what = f"{ask.template} ({ask.channel}, {ask.purpose}) was claimed: {verdict.reason}. {because}"
        evidence = {"touch": claim.touch_id, "decision": str(claim.decision_id), "run": claim.run_id}
        event = ended_by if verdict.reason == "exited" else verdict.inputs.get("event")
        if event not in (None, claim.run_id):
            evidence["event"] = str(event)
        if verdict.reason == "consent_withdrawn" and "by" in verdict.inputs:
            evidence["contact"] = str(verdict.inputs["by"])
        if isinstance(verdict, Wait) and verdict.hold is not None:
            evidence["hold"] = verdict.hold
        return Finding("forbidden", self._life.facts.contact_id, what, evidence)

    # Exits.

    def _as_routed(self, stored: Stored) -> Happening:
        event = stored.event
        if event.type == "contact.identified":
            first = self._facts_of(stored.contact_id).identified_at is None
            return replace(event, data={**event.data, "first": first})
        return event

    def _exits_missed(self, stored: Stored, event: Happening) -> Iterator[Finding]:
        if stored.act is None or event.type not in self._ending_types or not self._rules.covers(stored.received_at):
            return
        for run in self._ended_by_rule(event, stored):
            mine = self._owner(run) == stored.contact_id
            marked = run.exited_at is not None and (not mine or (run.exit_act or 0) < stored.act)
            if not marked:
                yield from self._missed(run, event, "")

    def _exits_missed_in(self, merged: Merged) -> Iterator[Finding]:
        """What one had done, and what no run of the other was told when they turned out to be one."""
        if merged.act is None or not self._rules.covers(merged.at):
            return
        known = self._known_at(merged.act, merged.at)
        for mine, other in ((merged.kept, merged.gone), (merged.gone, merged.kept)):
            done = [event for event in self._done[other] if event.type in self._ending_types]
            for leaving, event in routing.learned(done, mine, cards=self._rules.cards, runs=known):
                yield from self._missed(self._runs[leaving.run.id], event, " when two turned out to be one")

    def _missed(self, run: RunRow, event: Happening, when: str) -> Iterator[Finding]:
        if run.exit_event == event.id or run.id in self._should_be_over:
            return
        self._should_be_over[run.id] = event.id
        what = f"{event.type} ends a run of {run.journey}, which was not told so{when}"
        yield Finding("exit-missed", run.contact_id, what, {"event": event.id, "run": run.id})

    def _ended_by_rule(self, event: Happening, stored: Stored) -> list[RunRow]:
        cards = [card for card in self._rules.cards if card.ends_on(event.type, event.data)]
        if not cards:
            return []
        plan = routing.route(
            event,
            Facts(stored.contact_id),
            cards=cards,
            runs=self._known_at(stored.act or 0, stored.received_at),
            endings=(),
            freed=(),
            now=stored.received_at,
        )
        # Whether a run gives way to a newer one is a matter of starts; here it is about ends.
        return [self._runs[leaving.run.id] for leaving in plan.exits if leaving.outcome != "superseded"]

    # Triggers.

    def _triggers_missed(self, stored: Stored, event: Happening) -> Iterator[Finding]:
        """An event that begins a journey by its card, which it did not begin; and nobody says why not."""
        cards = self._starting.get(event.type)
        if stored.act is None or cards is None or not self._rules.covers(stored.received_at):
            return
        recent = self._recent(stored.contact_id, event)
        for card in cards:
            since = self._rules.answered_since.get((card.name, event.type))
            if since is None or stored.received_at < since or (card.name, event.id) in self._begun:
                continue
            if not card.starts_on(event, recent) or card.ends_on(event.type, event.data):
                continue
            skip = Skipped(card.name, stored.received_at, event.type)
            if self._skips[skip]:
                # A line does not name its event. Of several that came in at one moment each has one of its own.
                self._skips[skip] -= 1
                continue
            what = f"{event.type} neither began {card.name} nor is it said why not"
            yield Finding("trigger-missed", self._life.facts.contact_id, what, {"event": event.id})

    def _recent(self, contact_id: str, event: Happening) -> list[Happening]:
        done = self._done[contact_id]
        first = bisect_left(done, event.occurred_at - self._longest_pattern, key=_when)
        return done[first : bisect_right(done, event.occurred_at, key=_when)]

    def _known_at(self, act: int, at: datetime) -> list[routing.Run]:
        """The runs there were when this act was done."""
        return [self._as_it_was(run, act, at) for run in self._runs.values() if (run.entry_act or 0) < act]

    def _as_it_was(self, run: RunRow, act: int, at: datetime) -> routing.Run:
        if run.exited_at is not None:
            is_open = (run.exit_act or 0) > act
        else:
            # Nothing orders the end that a run comes to by itself and an event but their clocks.
            is_open = run.ended_at is None or run.ended_at > at + self._rules.late
        return routing.Run(
            id=run.id,
            workflow_id=run.workflow_id,
            journey=run.journey,
            contact_id=self._owner(run),
            key=run.key,
            entered_at=run.entered_at,
            open=is_open,
            entry=run.entry,
        )


def in_order(life: Life) -> list[Merged | Stored | Claimed]:
    """What was done, in the order in which it was done; first what is from before acts were numbered."""
    acts: list[Merged | Stored | Claimed] = [*life.merges, *life.events, *life.claims]
    return sorted(acts, key=lambda act: act.act or 0)


def _with_words(facts: Facts, stored: Facts, known: Iterable[Happening]) -> Facts:
    """What an event means for consents is for the policy of its day to say.

    So a stored consent counts that only such a policy can have made of an event that was known by then.
    """
    consents, ids = dict(facts.consents), {event.id for event in known}
    for name, consent in stored.consents.items():
        if consent.event_id in ids and (name not in consents or consent.outweighs(consents[name])):
            consents[name] = consent
    return replace(facts, consents=consents)


def _no_policy_excuses(verdict: Wait | Drop) -> bool:
    return verdict.reason in _NO_EXCUSE or verdict.reason.startswith("hold_")


def _when(event: Happening) -> datetime:
    return event.occurred_at


_OUTRIGHT = ("consent.granted", "consent.withdrawn", "message.unsubscribed", "message.complained")
"""What says yes or no under every policy."""


def _lost(anew: Facts, life: Life, policy: Policy) -> Iterator[Finding]:
    """Facts that do not show what the events say: those that the gate reads, and that no policy has a part in."""
    said, shown = _words(anew), _words(life.facts)
    for name in sorted(said.keys() | shown.keys()):
        if name not in said or name not in shown or said[name][0] != shown[name][0]:
            yield _not_shown(life, name, said[name][1] if name in said else None)
    outright = Facts(life.facts.contact_id)
    for stored in life.events:
        if stored.event.type in _OUTRIGHT:
            outright = facts_module.apply(outright, stored.event, policy)
    for name, word in outright.consents.items():
        kept = life.facts.consents.get(name)
        # A policy may make a consent of what was said later elsewhere, and that counts more.
        if kept is None or word.outweighs(kept):
            yield _not_shown(life, f"consent {name}", word.event_id)


def _words(facts: Facts) -> dict[str, tuple[object, str | None]]:
    """What is said of a contact, by name: what must be the same, and the event that said it where that is kept."""
    words: dict[str, tuple[object, str | None]] = {}
    for suppression in facts.suppressed:
        words[f"suppression {suppression.name}"] = (suppression.reason, suppression.event_id)
    for name in (*sorted(ADDRESSES), "timezone"):
        if name in facts.profile:
            stamped = facts.profile[name]
            words[f"profile {name}"] = ((stamped.value, stamped.event_id), stamped.event_id)
    for name, hold in facts.holds.items():
        words[f"hold {name}"] = ((hold.opened_at, hold.released_at), None)
    if facts.erased_at is not None:
        words["erasure"] = (facts.erased_at, None)
    return words


def _not_shown(life: Life, name: str, event: str | None) -> Finding:
    what = f"the contact's facts do not show {name} as the events say it"
    return Finding("fact-lost", life.facts.contact_id, what, {"event": event} if event else {})
