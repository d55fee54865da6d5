"""What journeys send."""

import re
from collections.abc import Iterator, Mapping, Sequence

from pydantic.fields import FieldInfo

from activities.context import ALWAYS, OF_EVENT
from contacts.events import DATA
from contacts.specs import LIFECYCLE, PROMOTIONAL, TRANSACTIONAL, Card, Purpose
from ops import words
from ops.checks.conditions import event
from ops.checks.library import Faults, Library, at, within
from templates.render import Declared, Templates
from workflows.reading import Flow, Send

_MOST_PROMOTIONAL: Mapping[Purpose, int | None] = {PROMOTIONAL: None, LIFECYCLE: 1, TRANSACTIONAL: 0}
"""How many promotional messages a journey of each purpose may send; None: all of them."""

_MOST_SELLING: Mapping[Purpose, float] = {PROMOTIONAL: 0.5, LIFECYCLE: 0.2, TRANSACTIONAL: 0}
"""Which share of a message's sentences may sell, by its purpose."""

_URGENT = re.compile(
    r"\b(last\s+chance|final\s+call|only\s+today|today\s+only|act\s+(?:now|fast)|don['’]t\s+(?:miss|wait)"
    r"|limited\s+time|before\s+it['’]s\s+too\s+late|(?<!no\s)(?<!need\sto\s)hurry|ends?\s+(?:soon|today|tonight)"
    r"|expires?\s+(?:in|soon|today|tonight)|while\s+(?:stocks|supplies)\s+last|(?:time\s+is\s+)?running\s+out"
    r"|\d+\s+(?:hours|minutes)\s+left)\b",
    re.IGNORECASE,
)
"""Words that count down; ``no hurry`` does not."""

_SELLING = re.compile(
    r"\b(\d+ ?% off|(?:discount|coupon|voucher|promo) codes?|(?:special|exclusive|limited) (?:offer|deal|price)"
    r"|(?:buy|order|shop|upgrade|subscribe) (?:now|today)|save (?:up to )?[€$£]?\d+|on sale|free trial)\b",
    re.IGNORECASE,
)
"""Words that ask for a purchase or sweeten one."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n\s*\n")

TOLD = ALWAYS | {"unsubscribe_url", "preferences_url"}
"""What every message is told, whatever its journey gives it."""

TOLD_BY_ENTRY = {record: sign for record, (sign, _) in OF_EVENT.items() if record not in ALWAYS}
"""What a message is told if the event that began the run has this field."""


def no_ticket_hold(library: Library) -> Faults:
    """Promotional templates sent as something else, past the holds that promotion waits for."""
    for flow, send, template in _sent(library):
        if template.purpose == PROMOTIONAL and send.purpose != PROMOTIONAL:
            what = (
                f"{send.template} is promotional but sent as {send.purpose or 'what is decided at run time'}, past "
                "tickets and other holds: send it with purpose=PROMOTIONAL, or change what its template says"
            )
            yield at(flow, send.line), what


def no_opt_out(library: Library) -> Faults:
    """Messages that need a way to opt out, with a template that has none."""
    for flow, send, template in _sent(library):
        if template.purpose == TRANSACTIONAL and send.purpose in (PROMOTIONAL, LIFECYCLE):
            what = (
                f"{send.template} is transactional, without a way to opt out, but sent as {send.purpose}: send it with "
                "purpose=TRANSACTIONAL, or change the purpose its template declares"
            )
            yield at(flow, send.line), what


def wrong_channel(library: Library) -> Faults:
    """Templates sent on a channel they are not written for."""
    written = _channels(library.templates)
    for flow, send in library.sends:
        channels = written.get(send.template, ())
        if channels and send.channel is not None and send.channel not in channels:
            what = f"{send.template} is written for {words.either(channels)}: send it with channel={channels[0]!r}"
            yield at(flow, send.line), what


def undeclared_context(library: Library) -> Faults:
    """Context that a template does not declare, and so never shows."""
    for flow, send, template in _sent(library):
        for name in sorted((send.context or frozenset()) - template.context.keys()):
            what = f"{send.template} declares no {name}: declare it under [context] and use it, or do not pass it"
            yield at(flow, send.line), what


def unused_context(library: Library) -> Faults:
    """Context that a template fetches as it goes out, and so never shows as it was passed."""
    for flow, send, template in _sent(library):
        for name in sorted((send.context or frozenset()) & template.context.keys()):
            need = template.context[name]
            if need.live_seconds is not None and need.live_else == "fallback":
                what = f'{send.template} fetches {name} live: do not pass it, or declare live_else = "told"'
                yield at(flow, send.line), what


def missing_context(library: Library) -> Faults:
    """Context that a template cannot do without and is not told."""
    for flow, send, template in _sent(library):
        if send.context is None:
            continue
        told = TOLD | send.context | {name for name, field in TOLD_BY_ENTRY.items() if _may_have(flow.card, field)}
        for name in (name for name, need in template.context.items() if need.fallback is None and name not in told):
            what = f"{send.template} cannot do without {name}: pass {name}=, or declare a fallback for it"
            yield at(flow, send.line), what


def unknown_template(library: Library) -> Faults:
    """Sends of templates there are none of."""
    written = _channels(library.templates)
    for flow, send in library.sends:
        if send.template not in written:
            what = f"there is no template {send.template}: write it in templates/messages, or correct the name"
            yield at(flow, send.line), what


def unsent_template(library: Library) -> Faults:
    """Templates that no journey sends."""
    sent = {send.template for _, send in library.sends}
    for template in library.templates.declared():
        if template.name not in sent:
            yield within(template), "no journey sends it: take it out unless something else does"


def urgency(library: Library) -> Faults:
    """Words of hurry in promotion that knows of no end."""
    for template, shown in library.shown:
        if template.purpose != PROMOTIONAL or "ends_at" in template.context:
            continue
        seen: set[str] = set()
        for ending in ("toml", "j2"):
            text = (library.folder / "messages" / f"{template.file}.{ending}").read_text(encoding="utf-8")
            for found in _URGENT.finditer(text):
                seen.add(_plain(found.group()))
                yield within(template, ending, text[: found.start()].count("\n") + 1), _leave_out(found.group())
        # what comes from the content that messages share stands in neither file
        elsewhere = {_plain(found.group()) for text in shown for found in _URGENT.finditer(text)} - seen
        yield from ((within(template), _leave_out(word)) for word in sorted(elsewhere))


def too_promotional(library: Library) -> Faults:
    """Journeys that send more promotion than a journey of their purpose may."""
    for flow in library.flows:
        most = _MOST_PROMOTIONAL[flow.card.purpose]
        sends = (step for step in flow.steps if isinstance(step, Send))
        selling = dict.fromkeys(send.template for send in sends if send.purpose == PROMOTIONAL)
        if most is not None and len(selling) > most:
            what = (
                f"sends {len(selling)} promotional messages ({', '.join(selling)}), and a {flow.card.purpose} journey "
                f"may send {most}: take some out, or make it a promotional journey"
            )
            yield at(flow, flow.line_of("purpose")), what


def oversold(library: Library) -> Faults:
    """Messages that sell more than a message of their purpose may."""
    for template, shown in library.shown:
        most = _MOST_SELLING[template.purpose]
        for text in shown:
            sentences = [sentence for sentence in _SENTENCE.split(text) if sentence.strip()]
            selling = [sentence for sentence in sentences if _SELLING.search(" ".join(sentence.split()))]
            if len(selling) > most * len(sentences):
                example = _plain(selling[0])
                what = (
                    f"{len(selling)} of {len(sentences)} sentences sell ({example[:60]}), and a {template.purpose} "
                    f"message may do so in {most:.0%}: say less of it, or declare what the message is"
                )
                yield within(template), what
                break


def _sent(library: Library) -> Iterator[tuple[Flow, Send, Declared]]:
    """Sends, each with the template it is of."""
    written = {template.name: template for template in library.templates.declared()}
    return ((flow, send, written[send.template]) for flow, send in library.sends if send.template in written)


def _channels(templates: Templates) -> Mapping[str, Sequence[str]]:
    channels: dict[str, list[str]] = {}
    for template in templates.declared():
        channels.setdefault(template.name, []).append(template.channel)
    return channels


def _may_have(card: Card, field: str) -> bool:
    """Whether every event that starts the journey has a value in this field, or may have for all that can be said."""
    fields = [_fields(type) for trigger in card.trigger for type in event(trigger).types]
    return all(not known or (field in known and known[field].is_required()) for known in fields)


def _fields(type: str) -> Mapping[str, FieldInfo]:
    return DATA[type].model_fields if type in DATA else {}


def _plain(text: str) -> str:
    return " ".join(text.replace("’", "'").lower().split())


def _leave_out(words: str) -> str:
    return f"it says {_plain(words)!r} and knows of no end: leave it out, or declare ends_at and say when it ends"
