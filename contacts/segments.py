"""Which segments a contact is in: named conditions on the facts, as a function of values.

A segment is there because it changes something: a journey begins on joining it (``on("segment.joined", segment=...)``),
a card or a template asks for it (``in:<name>``), or a broadcast goes to it. The intake keeps membership current with
every event, the sweep with every day that passes.

Joining is something that happens to a contact. A definition that is new or was changed happens to nobody: whoever it
puts into the segment is in it from then on without having joined, and enters by a backfill.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from contacts.facts import Facts
from contacts.lifecycle import Standing, standing
from contacts.policy import Did, Policy, Segment

JOINED = "segment.joined"
LEFT = "segment.left"


@dataclass(frozen=True)
class Condition:
    """One condition of a segment, in words, and whether it holds for a contact."""

    says: str
    holds: bool


def conditions(segment: Segment, facts: Facts, standing: Standing, policy: Policy, now: datetime) -> list[Condition]:
    """Every condition of the segment, and whether it holds. A contact is in it if all do."""
    flags = facts.flags() | standing.flags
    found = [Condition(f"is {flag}", flag in flags) for flag in segment.only]
    found += [Condition(f"is not {flag}", flag not in flags) for flag in segment.unless]
    if segment.stages:
        found.append(Condition(f"stage is {_either(segment.stages)}", standing.stage in segment.stages))
    if segment.strength_at_least is not None:
        wanted = segment.strength_at_least
        found.append(Condition(f"strength is at least {wanted}", standing.strength >= wanted))
    if segment.score_at_least is not None:
        score = facts.score.at(now, timedelta(days=policy.score.half_life_days))
        found.append(Condition(f"lead score is at least {segment.score_at_least:g}", score >= segment.score_at_least))
    if segment.spent_at_least:
        amounts = segment.spent_at_least.items()
        says = f"spent at least {_either(f'{value} {currency}' for currency, value in amounts)} (in minor units)"
        found.append(Condition(says, any(facts.spent.get(c, 0) >= v for c, v in amounts)))
    if segment.topics:
        says = f"looked into {_either(segment.topics)}"
        found.append(Condition(says, any(t in facts.topics for t in segment.topics)))
    found += [Condition(f"did {did}", _has(facts, did, now)) for did in segment.did]
    found += [Condition(f"did not {did}", not _has(facts, did, now)) for did in segment.did_not]
    entry = facts.entry.value if facts.entry else {}
    found += [_one_of(f"came with {name}", entry.get(name), values) for name, values in segment.came_with.items()]
    found += [
        _one_of(
            f"answered {question!r} with", stamped.value if (stamped := facts.answers.get(question)) else None, said
        )
        for question, said in segment.answered.items()
    ]
    return found


def counted(facts: Facts, policy: Policy, now: datetime) -> Facts:
    """The facts with their segments as of now, or of when they were last counted if that is later.

    Nobody who was erased is in any.
    """
    # A sweep may come late, and two machines' clocks differ: what time has ended must not begin again for that.
    now = max(now, facts.segments_at or now)
    stands = standing(facts, policy, now)
    return replace(
        facts,
        segments={
            s.name: facts.segments.get(s.name, now) for s in policy.segments if _fits(s, facts, stands, policy, now)
        },
        segments_as={segment.name: segment.fingerprint for segment in policy.segments},
        segments_at=now,
    )


def without_new_definitions(facts: Facts, policy: Policy, now: datetime) -> Facts:
    """The facts before an event, as if every segment had always been defined as it is now."""
    unchanged = {s.name for s in policy.segments if facts.segments_as.get(s.name) == s.fingerprint}
    if unchanged == facts.segments_as.keys() and len(unchanged) == len(policy.segments):
        return facts
    if not facts.last:
        # Of somebody new nothing is known yet that could have put them anywhere.
        return replace(facts, segments={}, segments_as={s.name: s.fingerprint for s in policy.segments})
    fresh = counted(facts, policy, now)
    kept = {name: since for name, since in facts.segments.items() if name in unchanged}
    new = {name: since for name, since in fresh.segments.items() if name not in unchanged}
    return replace(fresh, segments={**kept, **new})


def _fits(segment: Segment, facts: Facts, standing: Standing, policy: Policy, now: datetime) -> bool:
    held = all(condition.holds for condition in conditions(segment, facts, standing, policy, now))
    return held and facts.erased_at is None


def _has(facts: Facts, did: Did, now: datetime) -> bool:
    at = facts.last.get(did.on)
    if at is None or facts.counts.get(did.on, 0) < did.times:
        return False
    return did.within_days is None or now - at <= timedelta(days=did.within_days)


def _one_of(says: str, value: object, wanted: Iterable[str]) -> Condition:
    given = {str(v) for v in value} if isinstance(value, list | tuple) else {str(value)}
    return Condition(f"{says} {_either(wanted)}", value is not None and not given.isdisjoint(wanted))


def _either(words: Iterable[str]) -> str:
    return " or ".join(words)
