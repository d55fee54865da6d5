"""How a person reads segments, what a rollout would do, and how far one is."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ops.foresight import Foreseen
from ops.looks import columns, inset, labelled, short, text
from ops.output import stamp
from ops.pressure import Pressure
from ops.rollouts import RolloutPage, Steered
from ops.segments import Membership, SegmentLine, SegmentPage
from workflows.rollout import Progress


def segments(lines: Sequence[SegmentLine]) -> RenderableType:
    """Segments, one under the other."""
    if not lines:
        return "The policy has no segments."
    table = columns("segment", "members", "who, what for", "journeys", wrap=["who, what for", "journeys"])
    for line in lines:
        who = Text.assemble(text(line.who), "\n", text(line.decides, "dim"))
        table.add_row(text(line.name, "cyan"), _members(line), who, text(_used_by(line) or "none"))
    return table


def segment(page: SegmentPage) -> RenderableType:
    """A segment in full."""
    line = page.segment
    rows: dict[str, RenderableType] = {
        "who": text(line.who),
        "decides": text(line.decides),
        "conditions": text("\n".join(page.conditions)),
        "members": _members(line),
        "such as": text("\n".join(page.sample) or "nobody"),
        "journeys": text(_used_by(line) or "none"),
    }
    return Group(text(line.name, "bold cyan"), labelled(rows.items()))


def why(found: Sequence[Membership]) -> RenderableType:
    """Every segment, and why a contact is in it or not."""
    return Group(*(_membership(one) for one in found)) if found else "The policy has no segments."


def pressure(groups: Sequence[Pressure]) -> RenderableType:
    """How much reaches whom, everybody first."""
    table = columns("segment", "members", "each", "sells", "left alone", "had enough", "said no", "", wrap=[""])
    for group in groups:
        table.add_row(
            text(group.segment or "everybody", "cyan" if group.segment else "bold"),
            str(group.members),
            f"{group.a_member:.1f}",
            f"{group.share:.0%}" if group.touches else "-",
            str(group.left_alone),
            str(group.had_enough),
            str(group.said_no),
            text(", ".join(group.signs), "yellow"),
        )
    return table


def _membership(one: Membership) -> RenderableType:
    since = f" since {stamp(one.since)}" if one.since else ""
    stands = Text("in it" + since, "green") if one.member else Text("not in it", "red")
    if one.member != all(condition.holds for condition in one.conditions):
        stands.append(" (as counted last; the next event or the daily sweep counts again)", "yellow")
    rows = [(Text("yes", "green") if c.holds else Text("no", "red"), text(c.says)) for c in one.conditions]
    table = columns("", "", wrap=[""])
    table.show_header = False
    for holds, says in rows:
        table.add_row(holds, says)
    return Group(Text.assemble(text(one.name, "cyan"), "  ", stands), inset(table))


def foreseen(found: Foreseen) -> RenderableType:
    """What a rollout would do."""
    head = text(f"{found.members} of {found.turns} would get it" if found.skipped else f"{found.members} would get it")
    rows = [("skipped", text(_counted(found.skipped)))] if found.skipped else []
    rows += [("starts", text(_counted(found.starts) or "no journey"))]
    rows += [(f"not {journey}", text(_counted(reasons))) for journey, reasons in found.passed_over.items()]
    if found.sends or found.waits or found.drops:
        rows += [("sent now", text(found.sends))]
        rows += [("waits", text(_counted(found.waits)))] if found.waits else []
        rows += [("dropped", text(_counted(found.drops)))] if found.drops else []
    return Group(Text.assemble(text(found.name, "bold"), ": ", head), labelled(rows))


def progress(found: Progress) -> RenderableType:
    """How far a rollout is."""
    known = (found.name, found.segment)
    about = " ".join(f"{name} {value}" for name, value in found.data.items() if value not in known)
    rows = {
        "does": f"{found.event} for segment {found.segment}" + (f" ({about})" if about else ""),
        "stand": found.stand,
        "done": f"{found.recorded} of {found.total}"
        + (f"; skipped: {_counted(found.skipped)}" if found.skipped else ""),
        "rate": f"{found.rate} a minute",
        "since": stamp(found.since),
        **({"goes on": stamp(found.next_at)} if found.next_at else {}),
    }
    return Group(text(found.name, "bold"), labelled((k, text(v)) for k, v in rows.items()))


def rollout(page: RolloutPage) -> RenderableType:
    """How far a rollout is, and what has come of it."""
    rows = {"began": _counted(page.began) or "no run", "messages": _counted(page.messages) or "none"}
    return Group(progress(page.progress), labelled((k, text(v)) for k, v in rows.items()))


def rollouts(lines: Sequence[Progress]) -> RenderableType:
    """Rollouts, one under the other."""
    if not lines:
        return "No rollout is known."
    table = columns("rollout", "segment", "since (UTC)", "done", "stand", wrap=["rollout"])
    for line in lines:
        done = f"{line.recorded} of {line.total}"
        table.add_row(text(line.name, "cyan"), text(line.segment), short(line.since), done, line.stand)
    return table


def steered(done: Steered) -> RenderableType:
    """What came of a word to a rollout."""
    stand = done.stand or "not remembered by Temporal any more"
    told = "" if done.runs is None else f"; {done.runs} of the runs it began were told to {done.order}"
    return text(f"{done.name} is {stand}{told}")


def _members(line: SegmentLine) -> Text:
    rest = text(f"\n{line.uncounted} not counted yet", "yellow") if line.uncounted else ""
    return Text.assemble(str(line.members), rest)


def _used_by(line: SegmentLine) -> str:
    return "\n".join(f"{journey}: {_listed(how)}" for journey, how in line.used_by.items())


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


def _counted(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items(), key=lambda one: -one[1]))
