"""What a command says, as text for a person or as JSON for a program, and how it fails.

Exceptions::

    Exception
      Failure   what was asked for cannot be done; one line that says what to do, and the exit status
"""

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from pydantic_core import to_json

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")


class Failure(Exception):
    """What was asked for cannot be done.

    Attributes:
        status: The exit status: 1, or 2 where the command line, a file it names or a setting is wrong.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Output(Protocol):
    """Prints values: dataclasses, mappings, or anything else that has a JSON form."""

    def one(self, value: T, text: Callable[[T], "RenderableType"]) -> None:
        """Prints a single thing; ``text`` says how a person reads it."""

    def many(self, values: Sequence[T], text: Callable[[Sequence[T]], "RenderableType"]) -> None:
        """Prints a list; ``text`` says how a person reads all of it."""


class JsonLines:
    """One JSON object a line."""

    def one(self, value: T, text: Callable[[T], "RenderableType"]) -> None:
        """See ``Output.one``."""
        sys.stdout.write(to_json(value).decode() + "\n")
        sys.stdout.flush()

    def many(self, values: Sequence[T], text: Callable[[Sequence[T]], "RenderableType"]) -> None:
        """See ``Output.many``."""
        for value in values:
            self.one(value, lambda _: "")


class RichText:
    """Text that fits the terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False, emoji=False)

    def one(self, value: T, text: Callable[[T], "RenderableType"]) -> None:
        """See ``Output.one``."""
        self._console.print(text(value))

    def many(self, values: Sequence[T], text: Callable[[Sequence[T]], "RenderableType"]) -> None:
        """See ``Output.many``."""
        self._console.print(text(values))


def printable(text: str) -> str:
    """The text without what a terminal would obey: what contacts type reaches the screens of operators."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def stamp(at: datetime) -> str:
    """A moment as operators read it: ``2 Mar 2026 09:00 UTC``."""
    return f"{at:%-d %b %Y %H:%M} UTC"
