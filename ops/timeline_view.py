"""How a person reads what a scenario came to."""

from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ops.looks import pairs, text
from ops.output import stamp
from ops.scenario import Line
from ops.simulate import Played


def timeline(played: Played) -> RenderableType:
    """A scenario as it went, and whether that is how its file says it must."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for column in ("right", "left", "left"):
        grid.add_column(justify=column, no_wrap=column == "right")
    grid.add_column(overflow="fold")
    several = len(played.scenario.people) > 1
    for line in played.lines:
        who = Text.assemble(text(f"{line.contact} " if several else ""), text(line.journey or "", "cyan"))
        grid.add_row(Text(f"day {line.day:.2f}", "dim"), text(line.kind, _KINDS.get(line.kind, "")), who, _what(line))
    verdict = Text("not as expected", "red") if played.misses else Text("as expected", "green")
    return Group(text(played.scenario.name, "bold"), grid, verdict, "")


_KINDS = {"touch": "green", "wait": "yellow", "drop": "red", "hold": "yellow", "release": "yellow", "exit": "bold"}


def _what(line: Line) -> Text:
    data = line.data
    names = ("type", "touch", "stage", "outcome", "owner", "by", "reason", "hold", "channel", "subject")
    if line.kind == "event":
        shown = {k: v for k, v in data.items() if k not in ("type", "source", "occurred")}
        return Text.assemble(text(data.get("type", "")), text(" " + pairs(shown), "dim"))
    words = [str(data[name]) for name in names if data.get(name)]
    if "approved" in data:
        words.insert(0, "approved" if data["approved"] else "refused")
    if data.get("until"):
        words.append(f"until {stamp(datetime.fromisoformat(data['until']))}")
    return text(", ".join(words))
