"""Kills: worker, gateway, Temporal and PostgreSQL, each with SIGKILL, at random."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

VICTIMS = ("worker", "gateway", "Temporal", "PostgreSQL")
_LOOK = 0.1
_PATIENCE = 60.0


class NotStartedAgain(Exception):
    """What was killed did not come back."""


@dataclass
class Monkey:
    """Kills what ``perennial up`` keeps running in a directory, which starts it again.

    Attributes:
        kills: How many in all; each victim has its turn before any has a second one.
        every: Seconds between two kills, on average.
    """

    data: Path
    seed: int
    kills: int
    every: float
    say: Callable[[str], None]
    killed: Counter[str] = field(default_factory=Counter)

    async def work(self) -> None:
        """Kills until it has killed enough.

        Raises:
            NotStartedAgain: Something did not come back within a minute.
        """
        random = Random(f"monkey/{self.seed}")  # noqa: S311  # repeatable
        turns: list[str] = []
        while self.killed.total() < self.kills:
            await asyncio.sleep(random.uniform(0.4, 1.6) * self.every)
            if not turns:
                turns = random.sample(VICTIMS, len(VICTIMS))
            await self._kill(turns.pop())

    async def _kill(self, name: str) -> None:
        before = self._pid(name)
        if before is None:
            return
        with suppress(ProcessLookupError):
            os.kill(before, signal.SIGKILL)
            self.killed[name] += 1
            self.say(f"killed {name} ({self.killed.total()} of {self.kills})")
        try:
            async with asyncio.timeout(_PATIENCE):
                while self._pid(name) in (before, None):  # noqa: ASYNC110  # somebody else's file sets no event
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            raise NotStartedAgain(f"{name} did not come back within {_PATIENCE:g} s") from None

    def _pid(self, name: str) -> int | None:
        child = json.loads((self.data / "up.json").read_bytes())["children"].get(name)
        return None if child is None else int(child["pid"])
