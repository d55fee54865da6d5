"""Looks for what is wrong with journeys and can be seen without running them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ops.checks import flow, knowledge, messages, upkeep
from ops.checks.library import Faults, Library


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, and what to do about it.

    Attributes:
        journey: The journey's name; ``templates`` or ``policy`` where no single journey is meant.
        file: From the root of the project.
        code: The check that found it.
        level: A ``warning`` asks for a look and is no fault.
    """

    journey: str
    file: str
    line: int
    code: str
    what: str
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        note = " (warning)" if self.level == "warning" else ""
        return f"{self.journey}: {self.file}:{self.line}: {self.code}{note}: {self.what}"


def lint(library: Library) -> list[Finding]:
    """Everything found, by file and line."""
    found = {
        Finding(place.journey, place.file, place.line, code, what, "warning" if code in _WARNINGS else "error")
        for code, check in CHECKS.items()
        for place, what in check(library)
    }
    return sorted(found, key=lambda f: (f.file, f.line, f.code, f.journey, f.what))


CHECKS: Mapping[str, Callable[[Library], Faults]] = {
    check.__name__.replace("_", "-"): check
    for check in (
        flow.no_limit,
        flow.wait_without_exit,
        flow.unreachable,
        flow.no_way_out,
        flow.never_starts,
        flow.unseen_exit,
        flow.deaf_wait,
        knowledge.unknown_event,
        knowledge.unknown_flag,
        knowledge.unknown_name,
        knowledge.unused_segment,
        knowledge.same_trigger,
        messages.no_ticket_hold,
        messages.no_opt_out,
        messages.wrong_channel,
        messages.undeclared_context,
        messages.unused_context,
        messages.missing_context,
        messages.unknown_template,
        messages.unsent_template,
        messages.urgency,
        messages.too_promotional,
        messages.oversold,
        upkeep.overdue,
        upkeep.missing_scenario,
    )
}
"""Every check by its code."""

# What time alone brings about must not stop a change that has nothing to do with it.
_WARNINGS = frozenset({"overdue", "unsent-template"})
