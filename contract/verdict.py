"""What was asked and how it was judged: one request, one vendor, and the table for people."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

Mode = Literal["static", "dynamic"]
"""Whether the mock answered with the document's examples or with values it made up."""

_PROBLEM = "https://stoplight.io/prism/errors#"

_ABOUT_THE_REQUEST = ("UNPROCESSABLE_ENTITY", "UNAUTHORIZED", "INVALID_CONTENT_TYPE", "NO_METHOD_MATCHED_ERROR")
_ABOUT_THE_ANSWER = (
    "SCHEMA_TOO_COMPLEX", "NO_COMPLEX_OBJECT_TEXT", "NO_RESPONSE_DEFINED", "NO_SUCCESS_RESPONSE_DEFINED",
    "NOT_ACCEPTABLE", "NOT_FOUND", "UNKNOWN",
)  # fmt: skip
"""Prism holds a request against the document before it looks for an answer: with these, it had found no fault."""


@dataclass(frozen=True)
class Asked:
    """One request and its verdict.

    Attributes:
        case: Which of the vendor's cases made it.
        operation: Method and path; with the document's parameters where the document has it.
        faults: What about it the document does not allow.
        judges: Who looked at it: ``mock``, ``schema``.
        unjudged: Why somebody did not.
    """

    case: str
    mode: Mode
    operation: str
    faults: Sequence[str] = ()
    judges: Sequence[str] = ()
    unjudged: str | None = None


@dataclass
class Verdict:
    """Of one vendor.

    Attributes:
        broken: Faults of a case rather than of a request: it asked for nothing, or the connector broke on an answer.
        never_asked: Operations that were to be asked and were not.
        remarks: What cannot be judged here at all, and why.
        left_out: Why nothing was asked.
    """

    vendor: str
    asked: list[Asked] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    never_asked: list[str] = field(default_factory=list)
    remarks: Sequence[str] = ()
    left_out: str | None = None

    @property
    def violations(self) -> list[str]:
        """Everything that must not be, each once."""
        faults = Counter((a.operation, fault) for a in self.asked for fault in a.faults)
        cases = {
            (operation, fault): sorted({a.case for a in self.asked if a.operation == operation and fault in a.faults})
            for operation, fault in faults
        }
        return [
            *(
                f"{self.vendor}: {operation}: {fault} ({', '.join(cases[operation, fault])}; {_times(count)})"
                for (operation, fault), count in faults.items()
            ),
            *(f"{self.vendor}: {what}" for what in self.broken),
            *(f"{self.vendor}: {operation}: none of the cases asked for it" for operation in self.never_asked),
        ]

    @property
    def unjudged(self) -> list[str]:
        """What nobody or only one of the two looked at, each once, and what cannot be judged here."""
        reasons = Counter((a.operation, a.unjudged) for a in self.asked if a.unjudged)
        return [
            *(f"{self.vendor}: {operation}: {why} ({_times(n)})" for (operation, why), n in reasons.items()),
            *(f"{self.vendor}: {remark}" for remark in self.remarks),
        ]


def mock_faults(response: httpx.Response) -> tuple[list[str], str | None]:
    """What Prism found wrong with the request it answered, and why it did not look, where it did not."""
    found = [
        _fault(each)
        for each in _listed(response.headers.get("sl-violations", ""))
        if each.get("location", [None])[0] == "request"
    ]
    if found:
        return found, None
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return [], None
    problem = response.json()
    kind = str(problem.get("type", "")).removeprefix(_PROBLEM)
    if kind in _ABOUT_THE_REQUEST:
        told = [_fault(each) for each in problem.get("validation", ())]
        return told or [str(problem.get("detail") or problem.get("title"))], None
    return [], None if kind in _ABOUT_THE_ANSWER else f"the mock answered {response.status_code} {kind}"


def table(verdicts: Iterable[Verdict]) -> list[str]:
    """A line for each vendor: how many requests there were, and what became of them."""
    lines = [f"{'connector':<14}{'requests':>9}{'judged':>8}{'not judged':>12}{'not in spec':>13}{'violations':>12}"]
    for verdict in verdicts:
        if verdict.left_out is not None:
            lines.append(f"{verdict.vendor:<14}left out: {verdict.left_out}")
            continue
        count = counts(verdict)
        lines.append(
            f"{verdict.vendor:<14}{count['requests']:>9}{count['judged']:>8}{count['not judged']:>12}"
            f"{count['not in spec']:>13}{count['violations']:>12}"
        )
    return lines


def counts(verdict: Verdict) -> Mapping[str, int]:
    """The numbers of the table."""
    judged = sum(bool(a.judges) for a in verdict.asked)
    absent = sum(not a.judges and a.unjudged is not None and a.unjudged.startswith(ABSENT) for a in verdict.asked)
    return {
        "requests": len(verdict.asked),
        "judged": judged,
        "not judged": len(verdict.asked) - judged - absent,
        "not in spec": absent,
        "violations": len(verdict.violations),
    }


ABSENT = "not in the spec"
"""How the reason begins where the document is known not to have an operation."""


def _fault(violation: Mapping[str, Any]) -> str:
    # The header says that it is about the request, a problem's parts do not.
    where = [str(part) for part in violation.get("location", ()) if part != "request"]
    return f"{'.'.join(where)}: {violation.get('message')}".removeprefix(": ")


def _listed(header: str) -> list[dict[str, Any]]:
    found = json.loads(header) if header else []
    return found if isinstance(found, list) else []


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
