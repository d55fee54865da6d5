"""How a person reads the page of a contact."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from contacts.facts import Consent, Hold
from ops.inspect import ContactPage, OpenRun, RunLine
from ops.looks import coloured, inset, journey_name, labelled, pairs, short, text
from ops.output import stamp


def contact(page: ContactPage) -> RenderableType:
    """The page of a contact: the six answers for each open run, then what they rest on."""
    since = [
        f"{what} {stamp(at)}"
        for what, at in (
            ("known since", page.identified_at),
            ("customer since", page.customer_since),
            ("last read a message", page.engaged_at),
            ("ERASED", page.erased_at),
        )
        if at is not None
    ]
    parts: list[RenderableType] = [
        Text.assemble(text(page.contact, "bold"), text(f"  {page.contact_id}", "dim")),
        text(" · ".join(since) or "not known by name or address yet"),
    ]
    parts += [_run(run) for run in page.runs] or [_section("In no journey now")]
    parts.append(_section("Contact", labelled(_about(page))))
    if page.ended:
        parts.append(_section("Ended runs", inset(_ended(page.ended))))
    if page.touches:
        parts.append(_section("Touches", inset(_touches(page))))
    if page.events:
        parts.append(_section("Events", inset(_events(page))))
    return Group(*parts)


def _run(run: OpenRun) -> RenderableType:
    answers = {
        "where": run.where,
        "what next": run.next,
        "message": run.message,
        "channel": run.channel,
        "owner": run.owner,
        "success": run.success,
    }
    rows = labelled((k, text(v)) for k, v in answers.items())
    return Group("", Text.assemble(("In ", "bold"), journey_name(run.journey, run.key)), rows)


def _about(page: ContactPage) -> Iterable[tuple[str, RenderableType]]:
    yield "profile", text("\n".join(f"{name}: {value}" for name, value in page.profile.items()) or "empty")
    yield "identities", text("\n".join(f"{i.kind} {i.value}" for i in page.identities) or "none")
    for label, consent in zip(_once("consents"), page.consents, strict=False):
        yield label, _consent(consent)
    if not page.consents:
        yield "consents", Text("none on record")
    yield "holds", text("\n".join(map(_hold, page.holds)) or "none")
    suppressed = "\n".join(f"{s.address} ({s.channel}): {s.reason} {stamp(s.at)}" for s in page.suppressions)
    yield "suppressed", text(suppressed or "no address", "red" if suppressed else "")
    yield "stage", text(f"{page.standing.stage.replace('_', ' ')}, {page.standing.reasons[0]}")
    strength = [f"strength {page.standing.strength} of 100", *page.standing.reasons[1:]]
    yield "relationship", text("\n".join(strength))
    if page.segments:
        yield "segments", text(", ".join(f"{name} since {at:%-d %b %Y}" for name, at in sorted(page.segments.items())))
    yield "score", text(f"{page.score.points:g} of the {page.score.handoff_at:g} for a hand-off")
    if page.entry_point is not None:
        entry = {k: v for k, v in page.entry_point.items() if k not in ("at", "type")}
        came = f"{page.entry_point['type']} {stamp(page.entry_point['at'])}"
        yield "came by", text(came + (f" ({pairs(entry)})" if entry else ""))


def _once(label: str) -> Iterable[str]:
    yield label
    while True:
        yield ""


def _consent(consent: Consent) -> Text:
    word = Text("yes", "green") if consent.granted else Text("no", "red")
    how = "implied by" if consent.implied else "by"
    what = text(f"{consent.channel} {consent.purpose}: ")
    return Text.assemble(what, word, text(f", {how} “{consent.evidence}” {stamp(consent.at)}"))


def _hold(hold: Hold) -> str:
    ends = f", ends by itself {stamp(hold.expires_at)}" if hold.expires_at else ""
    return f"{hold.kind} {hold.key}, since {stamp(hold.opened_at)}{ends}" if hold.opened_at else hold.name


def _ended(lines: Sequence[RunLine]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for line in lines:
        ended = short(line.ended_at) if line.ended_at else ""
        table.add_row(Text(ended, "dim"), journey_name(line.journey, line.key), coloured(line.outcome or "ended"))
    return table


def _touches(page: ContactPage) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for touch in page.touches:
        reason = touch.reason
        why = f" ({reason})" if reason else ""
        status = Text.assemble(coloured(touch.status), text(why))
        table.add_row(Text(short(touch.at), "dim"), text(touch.template), touch.channel, status)
    return table


def _events(page: ContactPage) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for event in page.events:
        known = Text.assemble(text(event.source, "dim"), text(f" {pairs(event.data)}"))
        table.add_row(Text(short(event.occurred_at), "dim"), text(event.type), known)
    return table


def _section(title: str, *parts: RenderableType) -> Group:
    return Group("", Text(title, "bold"), *parts)
