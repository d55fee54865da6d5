"""How a person reads lists, cards and answers. Text fits 80 columns and uses more where there are more."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ops.approvals import ApprovalLine, outcome
from ops.cards import CardPage
from ops.claim import Running
from ops.inspect import RunLine
from ops.looks import coloured, columns, journey_name, labelled, short, text
from ops.outgoing import Replayed, TellingLine
from ops.output import printable
from ops.queues import HandoffLine, InboxLine, ReviewLine
from ops.send import Sent
from ops.steering import Steered

if TYPE_CHECKING:
    from ops.retry import Retried


def addresses(where: Running) -> RenderableType:
    """Where everything is, once it runs."""
    rows = {
        "gateway": where.gateway,
        "API page": f"{where.gateway}/docs",
        "mailbox": f"{where.gateway}/mailbox",
        "Temporal UI": where.temporal_ui,
        "Temporal": where.temporal,
        "database": where.database,
    }
    return Group(Text("Perennial is up; Ctrl-C stops it.", "bold"), labelled((k, text(v)) for k, v in rows.items()))


def runs(lines: Sequence[RunLine]) -> RenderableType:
    """Runs, one under the other."""
    if not lines:
        return "No run fits."
    table = columns("contact", "journey, stage", "entered (UTC)", "next or outcome", wrap=["contact"])
    for line in lines:
        stage = line.stage or ("about to begin" if line.ended_at is None else "never began")
        where = Text.assemble(journey_name(line.journey, None), "\n", text(stage, "dim"))
        if line.key is not None:
            where.append(f"\n{printable(line.key)}", "dim")
        table.add_row(text(line.contact), where, short(line.entered_at), _how_it_stands(line))
    return table


def steered(answer: Steered) -> RenderableType:
    """What runs were told, or would be."""
    runs_ = "1 run" if answer.runs == 1 else f"{answer.runs} runs"
    if not answer.told:
        return text(f"{runs_} would be told to {answer.order}")
    what = "what they send waits, their timers go on" if answer.order == "pause" else "what waited asks again"
    return text(f"{runs_} told to {answer.order}: {what}")


def _how_it_stands(line: RunLine) -> Text:
    if line.ended_at is not None:
        return Text.assemble(coloured(line.outcome or "ended"), text(f"\n{short(line.ended_at)}", "dim"))
    return text(f"wakes\n{short(line.next_wake)}" if line.next_wake else "at work")


def handoffs(lines: Sequence[HandoffLine]) -> RenderableType:
    """Hand-offs, one under the other; eight characters of the id are enough for ``ack``."""
    if not lines:
        return "No hand-off waits for anybody."
    table = columns("id", "contact", "for", "contact by (UTC)", "why", wrap=["contact", "why"])
    for line in lines:
        by = Text(short(line.contact_by))
        if line.acknowledged_at is not None:
            by = text(f"taken by {line.acknowledged_by}\n{short(line.acknowledged_at)}", "green")
        elif line.closed_at is not None:
            by = text(f"closed\n{short(line.closed_at)}", "green")
        elif line.overdue:
            by = Text(f"{short(line.contact_by)}\noverdue", "red")
        table.add_row(line.handoff_id[:8], text(line.contact), text(line.owner), by, text(line.reason))
    return table


def taken(line: HandoffLine) -> RenderableType:
    """What is said when somebody takes a hand-off."""
    return text(f"{line.acknowledged_by} has {line.contact} now: {line.reason}")


def approvals(lines: Sequence[ApprovalLine]) -> RenderableType:
    """Approvals, one under the other; eight characters of the id are enough for ``approve`` and ``refuse``."""
    if not lines:
        return "Nothing waits for a yes."
    table = columns("id", "contact", "journey", "until (UTC)", "what", wrap=["contact", "what"])
    for line in lines:
        until = Text(short(line.until)) if line.waits else text(outcome(line), "green" if line.approved else "yellow")
        table.add_row(line.approval_id[:8], text(line.contact), text(line.journey, "cyan"), until, text(line.what))
    return table


def answered(line: ApprovalLine) -> RenderableType:
    """What is said when somebody answers an approval."""
    return text(f"{outcome(line)}, for {line.contact}: {line.what}")


def inbox(lines: Sequence[InboxLine]) -> RenderableType:
    """Stored requests, one under the other."""
    if not lines:
        return "No request fits."
    table = columns("id", "from", "received (UTC)", "status", "events", "error", wrap=["error"])
    for line in lines:
        table.add_row(
            str(line.inbox_id),
            text(line.connector),
            short(line.received_at),
            coloured(line.status),
            str(line.events),
            text(line.error or "", "red"),
        )
    return table


def retried(one: "Retried") -> RenderableType:
    """What came of a request that was read again."""
    if one.error:
        return Text.assemble(f"{one.inbox_id}  ", text(one.connector), "  ", text(one.error, "red"))
    return text(f"{one.inbox_id}  {one.connector}  understood: {one.events} event{'' if one.events == 1 else 's'}")


def tellings(lines: Sequence[TellingLine]) -> RenderableType:
    """What other systems are told, one under the other."""
    if not lines:
        return "Nothing fits."
    table = columns("id", "to", "event", "contact", "since (UTC)", "status", "error", wrap=["error", "contact"])
    for line in lines:
        again = f" (round {line.round})" if line.round > 1 else ""
        table.add_row(
            str(line.telling),
            text(line.sink),
            text(line.type),
            text(line.contact),
            short(line.created_at),
            coloured(line.status) + again,
            text(line.error or "", "red"),
        )
    return table


def replayed(done: Replayed) -> RenderableType:
    """How much is told again."""
    return f"{done.count} told again; `perennial outgoing list` shows what comes of it"


def reviews(lines: Sequence[ReviewLine]) -> RenderableType:
    """Runs to look at, one under the other."""
    if not lines:
        return "Nothing to review."
    table = columns("since (UTC)", "contact", "journey", "segments", "why", wrap=["contact", "segments", "why"])
    for line in lines:
        who, among = text(line.contact), text(", ".join(line.segments))
        table.add_row(short(line.at), who, text(line.journey, "cyan"), among, text(line.reason))
    return table


def journeys(pages: Sequence[CardPage]) -> RenderableType:
    """Every journey, a line each; what there is no room for is cut off."""
    table = columns("journey", *(wide := ("starts", "goal")), "owner", wrap=wide)
    for page in pages:
        table.add_row(
            text(page.name, "cyan"),
            _one_line(" or ".join(page.trigger)),
            _one_line(page.goal),
            text(page.owner),
        )
    return table


def _one_line(value: str) -> Text:
    return Text(printable(value), no_wrap=True, overflow="ellipsis")


def card(page: CardPage) -> RenderableType:
    """A journey's card in full."""
    only = [f"only {flag}" for flag in page.only] + [f"not {flag}" for flag in page.unless]
    key = f"{page.key}: one run for each{', the newest only' if page.newest_only else ''}" if page.key else "none"
    rows = {
        "trigger": "\n".join(page.trigger),
        "audience": page.audience + (f" ({_listed(only)})" if only else ""),
        "goal": page.goal,
        "success": "\n".join(page.success),
        "exits": "\n".join(page.exits),
        "messages": _listed(page.messages),
        "owner": page.owner,
        "purpose": page.purpose,
        "key": key,
        "re-entry": page.reentry,
        "max run": f"{page.max_run_days:g} days",
        "review by": f"{page.review_by:%-d %b %Y}",
        "stages": ", ".join(page.stages),
        "hears": "\n".join(page.hears) or "nothing but its exits",
        "scenarios": _listed(page.scenarios, "no scenario at hand"),
    }
    about = Padding(text(page.about), (0, 0, 1, 0))
    return Group(text(page.name, "bold cyan"), about, labelled((k, text(v)) for k, v in rows.items()))


def sent(answer: Sent) -> RenderableType:
    """What an event did."""
    if answer.result == "repeat":
        return text(f"{answer.type}: known already, so nothing happened")
    rows: list[tuple[str, RenderableType]] = [("contact", text(answer.contact_id)), ("event", text(answer.event_id))]
    for label, runs_, detail in (
        ("started", answer.started, None),
        ("ended", answer.ended, "outcome"),
        ("told", answer.told, None),
        ("skipped", answer.skipped, "reason"),
    ):
        for run in runs_:
            named = journey_name(str(run["journey"]), run.get("key"))
            rows.append((label, Text.assemble(named, text(f": {run[detail]}") if detail else "")))
    if len(rows) == 2:
        rows.append(("runs", Text("none concerned")))
    hint = [text(answer.hint, "yellow")] if answer.hint else []
    return Group(Text.assemble(text(answer.type, "bold"), " stored"), labelled(rows), *hint)


def _listed(values: Iterable[object], nothing: str = "none") -> str:
    return ", ".join(map(str, values)) or nothing
