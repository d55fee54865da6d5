"""How a person reads halts."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ops.looks import columns, inset, labelled, short, text
from ops.output import stamp
from ops.pauses import PauseLine, PausePage

_ROOM = 28
"""Columns that what is halted gets before the reason gets any."""


def pauses(lines: Sequence[PauseLine]) -> RenderableType:
    """Halts, one under the other."""
    if not lines:
        return "Nothing is halted, and nothing was."
    table = columns("what", "since, until (UTC)", "by", "waiting", "why", wrap=["what", "by", "why"])
    table.columns[0].min_width = min(_ROOM, max(len(line.what) for line in lines))
    for line in lines:
        table.add_row(text(line.what, "cyan"), _when(line), _by(line), str(line.waiting), text(line.reason))
    return table


def _when(line: PauseLine) -> Text:
    if line.released_at is not None:
        until = Text(short(line.released_at), "dim")
    else:
        until = Text(f"in force until\n{short(line.until)}" if line.until else "in force", "red")
    return Text.assemble(short(line.opened_at), "\n", until)


def _by(line: PauseLine) -> Text:
    who = text(line.opened_by)
    if line.is_the_breakers:
        told = f"\ntold {short(line.told_at)}" if line.told_at else "\nnobody was told"
        who.append(told, "dim" if line.told_at else "red")
    return who


def pause(page: PausePage) -> RenderableType:
    """A halt in full."""
    line = page.pause
    rows: list[tuple[str, RenderableType]] = [
        ("called", text(f"{stamp(line.opened_at)} by {line.opened_by}")),
        ("why", text(line.reason)),
    ]
    if line.figures is not None:
        said = "{count} {what} in {minutes:g} minutes, {usual} are usual".format_map(dict(line.figures))
        rows.append(("figures", text(said)))
    if line.is_the_breakers:
        rows.append(("told", text(f"a person, {stamp(line.told_at)}" if line.told_at else "nobody yet")))
    if line.released_at is not None:
        rows.append(("ended", text(f"{stamp(line.released_at)} by {line.released_by}")))
    else:
        rows.append(("until", text(stamp(line.until) if line.until else f"`perennial pauses end {line.what}`")))
        rows.append(("waiting", text(_touches(line.waiting))))
    about = Group(text(line.what, "bold cyan"), labelled(rows))
    if not page.waiting:
        return about
    table = columns("template", "journey", "waiting", "oldest (UTC)", wrap=["template", "journey"])
    for one in page.waiting:
        table.add_row(text(one.template), text(one.journey, "cyan"), str(one.count), short(one.oldest))
    return Group(about, "", inset(table))


def _touches(count: int) -> str:
    return "nothing yet" if not count else "1 touch" if count == 1 else f"{count} touches"


def called(line: PauseLine) -> RenderableType:
    """A halt that was just called."""
    what = "its promotion waits" if line.what.startswith("contact/") else "its touches wait"
    end = f"until {stamp(line.until)}, or " if line.until else ""
    return text(f"{line.what} is halted: {what} {end}until `perennial pauses end {line.what}`")


def ended(line: PauseLine) -> RenderableType:
    """A halt that was just ended."""
    who = "1 run that waited asks" if line.waiting == 1 else f"{line.waiting} runs that waited ask"
    return text(f"{line.what} goes on; {who} again now")
