"""Bars on a terminal for what takes its time: a look ahead, and a rollout on its way."""

import asyncio
from collections.abc import AsyncIterator

from rich import progress
from rich.console import Console

from ops.foresight import Foreseen
from ops.rollouts import Rollouts
from ops.up import interruptible
from workflows.rollout import Progress

_EVERY = 1.0


async def looked_ahead(looking: AsyncIterator[Foreseen], total: int, most: int | None) -> Foreseen | None:
    """What is foreseen in the end, or after ``most`` contacts; None if there is nobody to look at."""
    found: Foreseen | None = None
    with _bar() as bar:
        task = bar.add_task("looking ahead", total=min(total, most or total))
        async for found in looking:
            bar.update(task, completed=found.turns)
            if found.turns == most:
                break
    return found


async def watched(rollouts: Rollouts, begun: Progress) -> Progress:
    """Shows a rollout until it is over or Ctrl-C ends the watching, which does not end the rollout."""
    latest = begun

    async def look() -> None:
        nonlocal latest
        with _bar() as bar:
            task = bar.add_task(begun.name, total=begun.total)
            while latest.stand in ("going", "paused", "stopping"):
                done = latest.recorded + sum(latest.skipped.values())
                bar.update(task, completed=done, description=f"{begun.name} ({latest.stand})")
                await asyncio.sleep(_EVERY)
                latest = await rollouts.find(begun.name)

    await interruptible(look())
    return latest


def _bar() -> progress.Progress:
    console = Console(stderr=True)
    left = progress.TimeRemainingColumn(compact=True)
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        left,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
