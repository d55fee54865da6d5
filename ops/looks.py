"""The pieces of text that every view is made of. Nothing in them can steer the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ops.output import printable

_COLOURS = {
    "send": "green", "sent": "green", "converted": "green", "completed": "green", "parsed": "green", "stored": "green",
    "wait": "yellow", "waiting": "yellow", "unknown": "yellow", "exhausted": "yellow", "received": "yellow",
    "drop": "red", "dropped": "red", "failed": "red",
}  # fmt: skip


def text(value: object, style: str = "") -> Text:
    """Text that anybody may have written, in a style."""
    return Text(printable(str(value)), style)


def coloured(word: str) -> Text:
    """A verdict, status or outcome in its colour."""
    return text(word, _COLOURS.get(word, ""))


def short(at: datetime) -> str:
    """A moment (UTC) where a heading or the page says so: ``2 Mar 2026 09:00``."""
    return f"{at:%-d %b %Y %H:%M}"


def columns(*names: str, wrap: Sequence[str]) -> Table:
    """An empty table with these headings; the columns in ``wrap`` give way where there is little room."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name not in wrap)
    return table


def labelled(rows: Iterable[tuple[str, RenderableType]]) -> Padding:
    """Lines that begin with a label."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", min_width=12, no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(label, value)
    return Padding(grid, (0, 0, 0, 2))


def inset(part: RenderableType) -> Padding:
    """A part that stands under a heading."""
    return Padding(part, (0, 0, 0, 2))


def journey_name(journey: str, key: str | None) -> Text:
    """A journey, and the key of the run."""
    return Text.assemble(text(journey, "cyan"), text(f" {key}" if key else "", "dim"))


def pairs(data: Mapping[str, Any]) -> str:
    """An event's data in a line, without what is empty."""
    return ", ".join(f"{name} {value}" for name, value in data.items() if value not in (None, "", [], {}))
