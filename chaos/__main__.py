"""``python -m chaos``: the fault drill at the command line."""

import asyncio
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import to_json

from chaos.drill import Outcome, Plan, drill
from chaos.monkey import NotStartedAgain
from ops.engines import EngineFailed
from ops.processes import DidNotStart

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    seed: Annotated[
        int | None, typer.Option(help="Of the lives, the kills and the mishaps; drawn if not given.")
    ] = None,
    contacts: Annotated[int, typer.Option(min=1, max=20_000, help="How many contacts.")] = 2000,
    kills: Annotated[int, typer.Option(min=0, max=200, help="How many times something is killed.")] = 24,
    minutes: Annotated[
        float, typer.Option(min=0.1, max=60, help="In which the contacts come and the kills fall.")
    ] = 12,
    living: Annotated[float, typer.Option(min=0, max=60, help="Minutes in which they live on after that.")] = 2,
    day: Annotated[float, typer.Option(min=1, max=3600, help="Seconds that a day of the journeys takes.")] = 120,
    share: Annotated[float, typer.Option(min=0, max=0.9, help="Of the provider's answers that go wrong.")] = 0.2,
    without_lock: Annotated[
        bool, typer.Option("--without-lock", help="Take the row lock out of the gate: the drill must fail.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="A file for everything that was counted, as JSON.")] = None,
) -> None:
    """Kill everything at random under a load of contacts, and judge what is left. Exits 1 if anything ought not to be.

    Everything runs on this machine, on the loopback address, in a directory of its own that is removed at the end.
    """
    chosen = seed if seed is not None else secrets.randbelow(1_000_000)
    plan = Plan(chosen, contacts, kills, minutes * 60, living * 60, day, share, settling=900, without_lock=without_lock)
    _say(
        f"seed {chosen}: {contacts} contacts, {kills} kills, a day in {day:g} s" + (", no lock" if without_lock else "")
    )
    try:
        outcome = asyncio.run(drill(plan, _say))
    except* (NotStartedAgain, EngineFailed, DidNotStart) as problems:
        print(f"chaos: {problems.exceptions[0]}", file=sys.stderr)
        raise SystemExit(1) from None
    if report is not None:
        report.write_bytes(to_json(outcome, indent=2))
    print(told(outcome))
    raise SystemExit(1 if outcome.faults else 0)


def told(outcome: Outcome) -> str:
    """The outcome for people."""
    lines = [f"{name}: {_short(value)}" for name, value in outcome.counts.items()]
    found = outcome.verdict
    lines += [
        "",
        f"losses: {len(found.lost)}",
        f"duplicates: {len(found.duplicated)}"
        + (
            f" (and {len(found.sent_again)} transactional ones sent again, as nobody could tell)"
            if found.sent_again
            else ""
        ),
        f"forbidden: {len(found.forbidden)}",
        f"unexplained: {len(found.unexplained)}",
        f"not at rest: {sum(outcome.unsettled.values())}",
        f"verify: {len(outcome.findings)} findings. {outcome.proof}",
    ]
    faults = outcome.faults
    lines += ["", *faults[:40], *([f"... and {len(faults) - 40} more"] if len(faults) > 40 else [])]
    lines.append(
        f"seed {outcome.plan.seed}, {outcome.seconds:.0f} s: "
        + (f"FAILED, {len(faults)} things ought not to be" if faults else "passed")
    )
    return "\n".join(lines)


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in sorted(value.items())) or "none"
    return str(value)


def _say(line: str) -> None:
    print(f"chaos: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    app(prog_name="chaos")
