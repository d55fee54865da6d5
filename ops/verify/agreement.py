"""No run without its workflow, no workflow without its run, and none that sleeps past its time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ops.verify.findings import Finding
from ops.verify.rows import RunRow

RUNNING = "running"


@dataclass(frozen=True)
class Execution:
    """A workflow execution.

    Attributes:
        run_id: The run it says that it is (our own id); None where it says nothing.
        execution_id: Temporal's id of it.
        status: ``running``, or how it closed: ``completed``, ``terminated``, ``continued_as_new`` ...
        next_wake: When it wakes, as it says itself.
        busy: It has asked for an activity that is not done. None where that is not known.
    """

    workflow_id: str
    execution_id: str
    run_id: str | None
    status: str
    next_wake: datetime | None = None
    busy: bool | None = None

    @property
    def named(self) -> dict[str, str]:
        """How Temporal finds it."""
        return {"workflow": self.workflow_id, "execution": self.execution_id}


def agree(run: RunRow, listed: Sequence[Execution], before: datetime) -> bool:
    """Whether a row and a list of its executions leave no doubt. A list may be a moment behind; a doubt is no finding.

    Args:
        before: What should have happened before this time has had all the time it needs (journeys' time).
    """
    running = [execution for execution in listed if execution.status == RUNNING]
    if run.ended_at is not None:
        return not running
    wakes = [run.next_wake, *(execution.next_wake for execution in running)]
    late = [at for at in (run.exited_at, *wakes) if at is not None and at < before]
    return bool(running) and not late


def checked(run: RunRow, told: bool, found: Execution | None, before: datetime) -> Finding | None:
    """What is wrong with a run and its workflow, if anything.

    Args:
        run: The row, read after ``found``.
        told: Temporal had been told to start it before ``found`` was looked for.
        found: The workflow, as the server knows it; None if it knows none for this run.
    """
    evidence = {"run": run.id, **(found.named if found else {"workflow": run.workflow_id})}
    where = f"a run of {run.journey}"
    if run.ended_at is not None:
        if found is None or found.status != RUNNING or run.ended_at >= before:
            return None
        what = f"{where} ended ({run.outcome}), and its workflow still runs"
        return Finding("workflow-not-ended", run.contact_id, what, evidence)
    if found is None:
        what = f"{where} has no workflow"
        return Finding("run-without-workflow", run.contact_id, what, evidence) if told else None
    if found.status != RUNNING:
        what = f"the workflow of {where} is {found.status}, and the run has not ended"
        return Finding("run-not-ended", run.contact_id, what, evidence)
    if run.exited_at is not None:
        if run.exited_at >= before or not run.all_landed:
            return None
        what = f"{where} was told to end ({run.outcome}) at {run.exited_at:%Y-%m-%dT%H:%M:%SZ}, and still runs"
        return Finding("exit-not-heard", run.contact_id, what, evidence)
    if found.next_wake is not None and found.next_wake < before and not found.busy:
        what = f"{where} was to wake at {found.next_wake:%Y-%m-%dT%H:%M:%SZ}, and sleeps on"
        return Finding("wake-up-missed", run.contact_id, what, evidence)
    return None


def without_run(execution: Execution) -> Finding:
    """An open workflow that no row knows."""
    what = "an open workflow has no run in the tables"
    return Finding("workflow-without-run", None, what, execution.named)
