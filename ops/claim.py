"""Who keeps everything running in a data directory: a lock only one process can hold, and a note beside it.

The lock (``up.lock``) is the kernel's, so one that died holds none. The note (``up.json``) says where everything is
and which child processes there are, for other commands and for whoever comes after a crash.

Exceptions::

    Exception
      AlreadyRunning   somebody runs in this directory; ``running`` says where
"""

import dataclasses
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from pydantic import TypeAdapter, ValidationError

from contacts.clock import Clock

_END_GRACE = 10.0


@dataclass(frozen=True)
class Running:
    """Where everything of one ``perennial up`` is.

    Attributes:
        pid: Of the process that keeps the others running.
        gateway: The URL of the front door.
        temporal: The server's address, ``host:port``.
        temporal_ui: The URL of its Web UI.
        database: The URL of the facts, for SQLAlchemy.
        mailbox_dir: Where the development mailbox keeps mail.
        mailbox_port: Its SMTP port.
        clock: The journeys' clock there.
    """

    pid: int
    gateway: str
    temporal: str
    temporal_ui: str
    database: str
    mailbox_dir: str
    mailbox_port: int
    clock: Clock = field(default_factory=Clock)


class AlreadyRunning(Exception):
    """Another process keeps everything running in this data directory.

    Attributes:
        running: Where it is; None while it is still starting.
    """

    def __init__(self, running: Running | None) -> None:
        where = f"process {running.pid}, gateway {running.gateway}" if running else "it is still starting"
        super().__init__(f"already up ({where})")
        self.running = running


@dataclass(frozen=True)
class _Process:
    """A process, told apart from a later one with the same number by when it started (seconds since 1970)."""

    pid: int
    started: float

    def alive(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            same = process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if same else None


@dataclass(frozen=True)
class _Note:
    owner: _Process
    children: dict[str, _Process] = dataclasses.field(default_factory=dict)
    running: Running | None = None


_NOTE: TypeAdapter[_Note] = TypeAdapter(_Note)


class Claim:
    """The right to run in a data directory; ``claim`` gives it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._note = _Note(_Process(os.getpid(), psutil.Process().create_time()))
        self._save()

    def child(self, name: str, pid: int) -> None:
        """Notes that ``name`` now runs as process ``pid``."""
        try:
            process = _Process(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return
        self._note = dataclasses.replace(self._note, children={**self._note.children, name: process})
        self._save()

    def ready(self, running: Running) -> None:
        """Notes where everything is."""
        self._note = dataclasses.replace(self._note, running=running)
        self._save()

    def _save(self) -> None:
        draft = self._file.with_suffix(".tmp")
        draft.write_bytes(_NOTE.dump_json(self._note, indent=2))
        draft.replace(self._file)


@contextmanager
def claim(data: Path) -> Iterator[Claim]:
    """Claims ``data`` for as long as the block runs, and ends processes that a crash left behind there.

    Raises:
        AlreadyRunning: Another process has it.
    """
    data.mkdir(parents=True, exist_ok=True)
    file = data / "up.json"
    with (data / "up.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(find(data)) from None
        _end_leftovers(file)
        try:
            yield Claim(file)
        finally:
            file.unlink(missing_ok=True)


def find(data: Path) -> Running | None:
    """Where everything is that runs in ``data`` now; None if nothing does, or it is still starting."""
    note = _read(data / "up.json")
    return note.running if note is not None and note.owner.alive() else None


def _read(file: Path) -> _Note | None:
    try:
        return _NOTE.validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):  # none, or one of another version
        return None


def _end_leftovers(file: Path) -> None:
    note = _read(file)
    left = [process for child in (note.children.values() if note else ()) if (process := child.alive())]
    for process in left:
        process.terminate()
    _, deaf = psutil.wait_procs(left, timeout=_END_GRACE)
    for process in deaf:
        process.kill()
