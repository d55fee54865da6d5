"""What becomes due because nothing or much less happened, or because a date comes near: a function of the facts.

A sweep records what is due as events through the same door as everything else. The name of such an event holds what it
is counted from, so that it is recorded once for each silence and each date, however often a sweep runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from contacts.facts import Facts
from contacts.policy import Policy


@dataclass(frozen=True)
class Due:
    """An event that time itself makes.

    Attributes:
        at: When it becomes due.
        until: From here on it is no news any more; a sweep that comes so late leaves it.
        source_id: Unique for the contact, the rule and the silence or date.
    """

    at: datetime
    until: datetime
    type: str
    source_id: str
    data: Mapping[str, Any]


def due(facts: Facts, policy: Policy) -> Sequence[Due]:
    """Everything that is or will become due if nothing else happens, soonest first."""
    if facts.erased_at is not None:
        return ()
    found = [*_silences(facts, policy), *_falls(facts, policy), *_dates(facts, policy)]
    return sorted(found, key=lambda d: (d.at, d.source_id))


def _silences(facts: Facts, policy: Policy) -> list[Due]:
    found: list[Due] = []
    flags = facts.flags()
    for rule in policy.silence:
        if not set(rule.only) <= flags or set(rule.unless) & flags:
            continue
        begins = [at for type in rule.after if (at := facts.last.get(type)) is not None]
        if not begins:
            continue
        seen = [at for type in rule.none_of if (at := facts.last.get(type)) is not None]
        if rule.from_latest:
            since = max([*seen, *begins])
        else:
            first = min(at for type in rule.after if (at := facts.first.get(type)) is not None)
            since = max([first, *seen])
            if since != first and max(begins) <= since:
                continue
        if rule.within_days is not None and since + timedelta(days=rule.days) > max(begins) + timedelta(
            days=rule.within_days
        ):
            continue
        if rule.at_most is not None and facts.counts.get(rule.after[0], 0) > rule.at_most:
            continue
        found.append(
            Due(
                at=since + timedelta(days=rule.days),
                until=since + timedelta(days=2 * rule.days),
                type=rule.event,
                source_id=f"silence/{rule.name}/{facts.contact_id}/{since:%Y-%m-%dT%H:%M:%S}",
                data={"name": rule.name, "days": rule.days, "since": since.isoformat()},
            )
        )
    return found


def _falls(facts: Facts, policy: Policy) -> list[Due]:
    found: list[Due] = []
    flags = facts.flags()
    for rule in policy.falls:
        weeks = facts.weeks.get(rule.of, {})
        if not set(rule.only) <= flags or set(rule.unless) & flags:
            continue
        fell = None
        for week in sorted(date.fromisoformat(w) for w in weeks):
            before = [weeks.get((week - timedelta(weeks=n)).isoformat(), 0) for n in range(1, rule.usual_weeks + 1)]
            usual = sum(before) / rule.usual_weeks
            now = weeks[week.isoformat()]
            if usual < rule.usual_at_least or now > usual * rule.to_at_most:
                fell = None
            elif fell is None:
                at = datetime.combine(week + timedelta(weeks=1), time(0), tzinfo=UTC)
                fell = Due(
                    at=at,
                    until=at + timedelta(weeks=2),
                    type=rule.event,
                    source_id=f"fall/{rule.name}/{facts.contact_id}/{week.isoformat()}",
                    data={"name": rule.name, "usual": round(usual, 1), "now": now},
                )
        if fell is not None:
            found.append(fell)
    return found


def _dates(facts: Facts, policy: Policy) -> list[Due]:
    found: list[Due] = []
    for rule in policy.dates:
        stamped = facts.dates.get(rule.name)
        if stamped is None:
            continue
        day = date.fromisoformat(str(stamped.value))
        for before in rule.days_before:
            at = datetime.combine(day, time(0), tzinfo=UTC) - timedelta(days=before)
            if at < stamped.at - timedelta(days=1):
                # The date became known after this reminder of it would have been due.
                continue
            found.append(
                Due(
                    at=at,
                    until=datetime.combine(day, time(0), tzinfo=UTC) + timedelta(days=1),
                    type="date.approaching",
                    source_id=f"date/{rule.name}/{day.isoformat()}/{before}/{facts.contact_id}",
                    data={"name": rule.name, "date": day.isoformat(), "days": before},
                )
            )
    return found
