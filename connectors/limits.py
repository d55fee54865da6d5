"""What one system does not take: a field that is too long for it is refused before the call, and named.

``connectors.fields`` refuses what no system at all can be sent, by its decorator; a connector holds what it sends
against its own system's ``Limits``, in that system's words and as that system counts. The numbers are the vendor's. Of
a field whose length the vendor does not say, ``LINE`` and ``TEXT`` are the most that we send.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic_core import to_json

from connectors.errors import NeverAgain

Fields = TypeVar("Fields", bound=Mapping[str, Any])

LINE, TEXT = 1_000, 65_536
"""Characters of a name, and of a text, for a system that does not say how long either may be."""

Unit = Literal["characters", "characters of UTF-16", "bytes"]

_LENGTH: Mapping[Unit, Callable[[str], int]] = {
    "characters": len,
    "characters of UTF-16": lambda text: len(text.encode("utf-16-le")) // 2,
    "bytes": lambda text: len(text.encode()),
}


@dataclass(frozen=True)
class Limits:
    """The most that one system takes. Lists and mappings are as long as their JSON.

    Attributes:
        connector: Its name.
        each: Of any value; None where only those in ``named`` have a limit.
        named: Of some values, by field.
        name: Of the name of a field itself.
        fields: How many fields there may be.
        unit: What is counted.
    """

    connector: str
    each: int | None = None
    named: Mapping[str, int] = field(default_factory=dict)
    name: int | None = None
    fields: int | None = None
    unit: Unit = "characters"

    def check(self, fields: Fields) -> Fields:
        """The fields, as they are: nothing is cut.

        Raises:
            NeverAgain: One is too long, or they are too many. The reason names the field and holds nothing of it.
        """
        if self.fields is not None and len(fields) > self.fields:
            raise NeverAgain(self.connector, f"{len(fields)} fields are more than {self.fields}")
        for name, value in fields.items():
            if self.name is not None and _LENGTH[self.unit](name) > self.name:
                raise NeverAgain(self.connector, f"the name of a field is longer than {self.name:,} {self.unit}")
            most = self.named.get(name, self.each)
            if value is not None and most is not None and self._length(value) > most:
                raise NeverAgain(self.connector, f"{name}: is longer than {most:,} {self.unit}")
        return fields

    def _length(self, value: Any) -> int:
        return _LENGTH[self.unit](value if isinstance(value, str) else to_json(value).decode())
