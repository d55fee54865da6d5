"""Child processes that log to a file, do not outlive us, and end when told.

Exceptions::

    Exception
      DidNotStart   a process ended, or was not ready in time; the message says where its log is
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_TETHER = str(Path(__file__).with_name("tether.py"))

_READY_TIMEOUT = 60.0
_PROBE_INTERVAL = 0.1
_STOP_GRACE = 30.0  # the worker gives its activities 20
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
_STEADY_AFTER = 60.0


class DidNotStart(Exception):
    """A process ended, or was not ready in time."""


async def spawn(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Process:
    """Starts ``command``; what it prints is added to ``log``. A terminal's Ctrl-C does not reach it.

    Args:
        command: The program and its arguments.
        log: The file for standard output and error.
        environment: All of its variables; None for a copy of ours.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", _TETHER, str(os.getpid()), *command),
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            env=environment,
            start_new_session=True,
        )


async def end(process: Process, grace: float = _STOP_GRACE) -> None:
    """Asks ``process`` to end and waits until it has; after ``grace`` seconds it is killed."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(grace):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def last_line(log: Path) -> str:
    """The last thing a log says; empty if it says nothing."""
    try:
        lines = log.read_text(errors="replace").split("\n")
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


@dataclass
class Kept:
    """A process that is started again whenever it ends unasked, each time after a longer delay.

    Attributes:
        name: What people call it.
        command: The program and its arguments.
        environment: All of its variables.
        log: The file for what it prints.
        announce: Called with one line when it had to be started again.
        started: Called with the process id at each start.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    announce: Callable[[str], None]
    started: Callable[[int], None]
    _process: Process | None = field(default=None, init=False)
    _keeping: "asyncio.Task[None] | None" = field(default=None, init=False)

    async def start(self) -> Process:
        """Starts it. Until ``keep`` its end is nobody's concern."""
        self._process = await spawn(self.command, self.log, self.environment)
        self.started(self._process.pid)
        return self._process

    async def ready(self, probe: Callable[[], Awaitable[bool]]) -> None:
        """Waits until ``probe`` says that it is ready.

        Raises:
            DidNotStart: It ended first, or took too long.
        """
        try:
            async with asyncio.timeout(_READY_TIMEOUT):
                while not await probe():
                    if self._process is None or self._process.returncode is not None:
                        raise DidNotStart(f"{self.name} did not start: {last_line(self.log)} (log: {self.log})")
                    await asyncio.sleep(_PROBE_INTERVAL)
        except TimeoutError:
            raise DidNotStart(f"{self.name} was not ready after {_READY_TIMEOUT:g} s (log: {self.log})") from None

    def keep(self) -> None:
        """From now on starts it again whenever it ends."""
        self._keeping = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Ends it for good; nothing if it never started."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        if self._process is not None:
            await end(self._process)

    async def _keep(self) -> None:
        delay = _FIRST_DELAY
        clock = asyncio.get_running_loop().time
        while self._process is not None:
            since = clock()
            code = await self._process.wait()
            if clock() - since > _STEADY_AFTER:
                delay = _FIRST_DELAY
            self.announce(f"{self.name} ended ({_how(code)}); starting it again in {delay:g} s (log: {self.log})")
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)
            await self.start()


def _how(code: int) -> str:
    return f"exit status {code}" if code >= 0 else signal.Signals(-code).name
