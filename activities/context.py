"""What a message is told: the contact's facts, the event that began the run, the business's pages, the run's own."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from contacts.facts import Facts
from contacts.lifecycle import Standing, standing
from contacts.policy import Links, Policy
from templates import content

Record = Mapping[str, Any]

_MONEY = {"items": ("items",), "value": ("value",), "currency": ("currency",), "url": ("recovery_url", "url")}
_INVOICE = {
    **{name: (name,) for name in ("value", "currency", "number", "retry_at")},
    "card_url": ("hosted_invoice_url", "card_url"),
}
OF_EVENT: Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]] = {
    "checkout": ("checkout_id", _MONEY),
    "order": ("order_id", _MONEY),
    "invoice": ("invoice_id", _INVOICE),
    "subscription": ("subscription_id", {name: (name,) for name in ("plan", "ends_at", "export_url")}),
    "ticket": ("ticket_id", {name: (name,) for name in ("subject", "yes_url", "no_url")}),
    "feature": ("feature", {"name": ("feature",), "url": ("url",)}),
    "milestone": ("milestone", {"name": ("milestone",), "number": ("number",), "next": ("next",)}),
    "webinar": ("webinar", {"name": ("webinar",), "recording_url": ("recording_url",)}),
    "reasons": ("reason_url", {"url": ("reason_url",)}),
}
"""A message's record: the field by which an event is about one, and the fields its parts are
taken from; of several the last."""

ALWAYS = frozenset(
    {"first_name", "timezone", "account", "topic", "resource", "entry_point", "standing", "answers"}
    | {"brand", "reply_to", "subscription", "renewal", "invoice", "reasons", "review", "referral"}
)
"""What every message is told of, in as many parts as are known, whatever its journey gives it."""

_AHEAD = (("renewal", "date"), ("invoice", "retry_at"), ("subscription", "ends_at"))
"""Days that a message announces: one that is over by the time it goes out is not mentioned."""

_USE = ("feature.used", "milestone.reached", "value.realized")


def message_context(
    entry: Record, given: Record, facts: Facts, policy: Policy, ways_out: Mapping[str, str], now: datetime
) -> dict[str, Any]:
    """The context to render a message with.

    What the run gives counts more than the event that began it. Both are completed, part by part, by what is true of
    the contact and the business anyway, so that a journey passes only what is its run's own.

    Args:
        entry: The event that began the run, as ``type`` and ``data``.
        given: What the run adds, by name.
        ways_out: Links to opt out and to choose, where the message needs them.
    """
    data: Record = entry.get("data") or {}
    stands = standing(facts, policy, now)
    told: dict[str, Any] = {
        "first_name": facts.get("first_name"),
        "timezone": facts.get("timezone") or policy.defaults.timezone,
        "account": {"name": facts.get("company")},
        "topic": _topic(entry, facts),
        "resource": data.get("resource") or facts.get("resource"),
        "entry_point": facts.entry.value.get("type") if facts.entry else None,
        "comment": data.get("comment"),
        "standing": _standing(facts, stands, now),
        "answers": [{"question": question, "answer": answer} for question, answer in _answers(facts)],
        "brand": policy.brand.model_dump(include={"name", "address", "url"}),
        "reply_to": policy.brand.reply_to,
        **ways_out,
        **_of_event(data),
        **{name: value for name, value in given.items() if value is not None},
    }
    for name, anyway in _anyway(data, facts, stands, policy.links).items():
        said = told.get(name, {})
        if isinstance(said, Mapping):
            told[name] = {**anyway, **_present(said)}
    for name, part in _AHEAD:
        if isinstance(told[name], Mapping) and _over(told[name].get(part), now.date()):
            told[name] = {k: v for k, v in told[name].items() if k != part}
    return _present(told)


def _of_event(data: Record) -> dict[str, Record]:
    return {
        record: {part: data[f] for part, fields in parts.items() for f in fields if data.get(f) is not None}
        for record, (sign, parts) in OF_EVENT.items()
        if data.get(sign) is not None
    }


def _anyway(data: Record, facts: Facts, stands: Standing, links: Links) -> dict[str, Record]:
    """What holds whatever began the run, by record."""
    plan = facts.plan.value if facts.plan else {}
    renewal = facts.dates.get("renewal") if stands.stage != "former" else None
    records: dict[str, Record] = {
        "subscription": {"plan": plan.get("plan"), "export_url": links.export},
        "renewal": {**plan, "date": renewal.value if renewal else None, "manage_url": links.plan},
        "invoice": {"card_url": links.billing},
        "reasons": {"url": links.cancel_reason},
        "review": {"url": links.review},
        "referral": links.referral.model_dump(),
    }
    if links.survey is not None:
        records["survey"] = links.survey.model_dump(include={"url", "minutes", "incentive"})
        if data.get("survey") == links.survey.name:
            records["promise"] = {"url": links.survey.incentive_url, "incentive": links.survey.incentive}
    return {name: _present(parts) for name, parts in records.items()}


def _standing(facts: Facts, stands: Standing, now: datetime) -> Record:
    since = facts.customer_since
    return {
        "stage": stands.stage,
        "strength": stands.strength,
        "since": since.date().isoformat() if since else None,
        "days": (now.date() - since.date()).days if since else None,
        "used": any(type in facts.last for type in _USE),
    }


def _answers(facts: Facts) -> list[tuple[str, Any]]:
    """The newest first; of one form, in the order of their names."""
    newest = sorted(facts.answers.items(), key=lambda item: (-item[1].at.timestamp(), item[0]))
    return [(question, stamped.value) for question, stamped in newest]


def _topic(entry: Record, facts: Facts) -> str | None:
    data: Record = entry.get("data") or {}
    if facts.get("topics") or data.get("topic"):
        return facts.subject(entry)
    # What they took says what it is about.
    return None if data.get("resource") else _interest(facts)


def _interest(facts: Facts) -> str | None:
    """What they told us they care about; else what they looked into most, and of two such topics the later one."""
    chosen = (content.SHIPPED.topic_told(question, answer) for question, answer in _answers(facts))
    if (told := next(filter(None, chosen), None)) is not None:
        return told
    latest: str | None = facts.get("topic")
    return max(sorted(facts.topics), key=lambda t: (facts.topics[t], t == latest), default=latest)


def _over(value: Any, today: date) -> bool:
    try:
        return datetime.fromisoformat(value).date() < today
    except (TypeError, ValueError):
        return False


def _present(parts: Record) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if value is not None}
