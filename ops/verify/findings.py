"""What a proof says: what is not as it should be, what was mended, and how much was looked at."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "forbidden", "past-the-gate", "sent-twice", "touch-not-recorded", "touch-differs", "touch-without-history",
    "exit-missed", "fact-lost", "request-unread", "request-failed", "dispatch-stuck",
    "run-without-workflow", "workflow-without-run", "run-not-ended", "workflow-not-ended", "exit-not-heard",
    "wake-up-missed", "trigger-missed", "touch-unanswered", "touch-forgotten", "touch-went-out", "telling-stuck",
]  # fmt: skip

NO_FAULT: frozenset[Kind] = frozenset({"request-failed"})
"""Findings that are nobody's broken promise: they wait for a person, who has a command for it."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        what: In a sentence.
        evidence: The rows that show it, by name: ``touch``, ``decision``, ``event``, ``run``, ``workflow`` ...
    """

    kind: Kind
    contact_id: str | None
    what: str
    evidence: Mapping[str, str]

    @property
    def is_fault(self) -> bool:
        """Whether a promise was broken."""
        return self.kind not in NO_FAULT

    def __str__(self) -> str:
        shown = " ".join(f"{name}={value}" for name, value in self.evidence.items())
        return f"{self.kind}  {self.contact_id or '-'}  {self.what}  {shown}"


@dataclass(frozen=True)
class Repair:
    """What was done about a finding."""

    contact_id: str | None
    what: str
    evidence: Mapping[str, str]
    kind: Literal["repair"] = "repair"

    def __str__(self) -> str:
        shown = " ".join(f"{name}={value}" for name, value in self.evidence.items())
        return f"{self.kind}  {self.contact_id or '-'}  {self.what}  {shown}"


@dataclass
class Summary:
    """How much was looked at, and what could not be judged.

    Attributes:
        claims: Times the gate let a touch out.
        claims_unnumbered: Of these, those from before acts were numbered: their order is not known.
        claims_other_policy: Those made under another policy, of which only what no policy can excuse was judged.
        histories: Runs with touches whose whole history was read.
        histories_gone: Runs with touches of whose history Temporal's retention has left nothing, or not all.
        open_workflows: Open workflows that were looked up in the tables.
    """

    contacts: int = 0
    events: int = 0
    claims: int = 0
    claims_unnumbered: int = 0
    claims_other_policy: int = 0
    touches: int = 0
    runs: int = 0
    histories: int = 0
    histories_gone: int = 0
    open_workflows: int = 0
    found: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    kind: Literal["summary"] = "summary"

    def count(self, finding: Finding) -> None:
        """Adds a finding."""
        self.found[finding.kind] += 1
        self.faults += finding.is_fault

    def __str__(self) -> str:
        seen = (
            f"Looked at {self.contacts} contacts, {self.events} events, {self.claims} claims, {self.touches} touches, "
            f"{self.runs} runs, {self.histories} histories, {self.open_workflows} open workflows."
        )
        limits = [
            (self.claims_unnumbered, "claims are from before acts were numbered and could not be judged"),
            (self.claims_other_policy, "claims were made under another policy and judged by what none can excuse"),
            (self.histories_gone, "runs have touches whose history Temporal keeps no more, or not whole"),
        ]
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(self.found.items()))
        return "\n".join([seen, *(f"{n} {what}." for n, what in limits if n), f"Found: {found or 'nothing'}."])
