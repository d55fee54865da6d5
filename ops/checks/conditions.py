"""What can be said of conditions without an event."""

from collections.abc import Iterable, Iterator

from contacts.specs import Condition, Pattern, Trigger


def event(trigger: Trigger) -> Condition:
    return trigger.what if isinstance(trigger, Pattern) else trigger


def conditions(trigger: Trigger) -> Iterator[Condition]:
    """Every condition in a trigger."""
    yield event(trigger)
    if isinstance(trigger, Pattern) and trigger.without is not None:
        yield trigger.without


def each(condition: Condition) -> list[Condition]:
    """One condition for each of its types."""
    return [Condition((type,), condition.match) for type in condition.types]


def overlap(one: Condition, other: Condition) -> bool:
    """Whether an event can match both."""
    a, b = dict(one.match), dict(other.match)
    return bool(set(one.types) & set(other.types)) and all(values(a[f]) & values(b[f]) for f in a.keys() & b.keys())


def covered(condition: Condition, by: Iterable[Condition]) -> bool:
    """Whether every event that matches also matches one of the others."""
    wanted = dict(condition.match)
    return any(
        set(condition.types) <= set(other.types)
        and all(f in wanted and values(wanted[f]) <= values(value) for f, value in other.match)
        for other in by
    )


def values(wanted: object) -> set[object]:
    return set(wanted) if isinstance(wanted, tuple) else {wanted}


def narrower(one: Condition, other: Condition) -> Condition:
    types = tuple(t for t in one.types if t in other.types)
    return Condition(types, tuple(sorted({**dict(one.match), **dict(other.match)}.items())))
