"""Prism, the mock server: fetched once by npm, and run for one document at a time on the loopback address."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from contract.preparation import Document
from ops import engines
from ops.processes import Kept, end, last_line, spawn

VERSION = "5.14.2"

_PROGRAM = Path("node_modules/@stoplight/prism-cli/dist/index.js")
_FETCHING = 300.0
"""Seconds npm may take; it fetches some ninety megabytes."""


class NoPrism(Exception):
    """Prism cannot be had; the message says what is missing."""


async def fetched(cache: Path) -> Path:
    """The program, from the cache or else from npm.

    Raises:
        NoPrism: Node or npm is not there, or npm failed.
    """
    home = (cache / f"prism-{VERSION}").absolute()
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        raise NoPrism(f"{' and '.join(missing)} not found: Prism, the mock server, needs Node 18 or newer with npm")
    if not (home / _PROGRAM).exists():
        print(f"contract: fetching Prism {VERSION} into {home.parent}, once", file=sys.stderr, flush=True)
        # Only a whole one gets the name.
        partial = home.with_name(f"{home.name}.partial-{os.getpid()}")
        try:
            await _install(partial, home.parent / "npm.log")
            shutil.rmtree(home, ignore_errors=True)
            partial.rename(home)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return home / _PROGRAM


async def _install(home: Path, log: Path) -> None:
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts")
    npm = await spawn(("npm", "install", *quiet, "--prefix", str(home), f"@stoplight/prism-cli@{VERSION}"), log)
    try:
        async with asyncio.timeout(_FETCHING):
            code = await npm.wait()
    except TimeoutError:
        raise NoPrism(f"npm took longer than {_FETCHING:g} s (log: {log})") from None
    finally:
        await end(npm, grace=5)
    if code != 0:
        raise NoPrism(f"npm could not install Prism: {last_line(log)} (log: {log})")


@asynccontextmanager
async def serving(program: Path, document: Document, scratch: Path, logs: Path) -> AsyncIterator[str]:
    """Serves a document on a free port of the loopback address; yields its URL, and ends Prism whatever happens.

    Args:
        program: See ``fetched``.
        scratch: A directory for the document.
        logs: A directory for what Prism prints; what it printed before goes.

    Raises:
        DidNotStart: It ended, or did not listen within a minute.
    """
    port = engines.free_port()
    file, log = scratch / "openapi.json", logs / "prism.log"
    file.write_text(json.dumps(document))
    log.unlink(missing_ok=True)
    where = ("-h", engines.LOOPBACK, "-p", str(port))
    command = ("node", str(program), "mock", *where, "--seed", "perennial", str(file))

    async def listens() -> bool:
        return "Prism is listening" in log.read_text(errors="replace")

    process = Kept("Prism", command, os.environ, log, announce=print, started=lambda _: None)
    await process.start()
    try:
        await process.ready(listens)
        yield f"http://{engines.LOOPBACK}:{port}"
    finally:
        await process.stop()
