"""The development mailbox: an SMTP server that delivers nothing, and pages to read what it caught.

``Mailbox`` is the server, ``Letters`` the Maildir it fills, ``list_page`` and ``letter_page`` are the pages. Server and
pages may run in different processes: they share the directory only.
"""

import asyncio
import mailbox
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Self

from aiosmtpd.smtp import SMTP, Envelope, Session
from jinja2 import Environment
from markupsafe import Markup

SIZE_LIMIT = 5 * 1024 * 1024
"""Bytes of one mail; a larger one is refused with 552."""


@dataclass(frozen=True)
class Letter:
    """A mail as it was caught.

    Attributes:
        id: Names it in its directory.
        received_at: By this machine's clock (UTC).
        sender: The envelope's sender, empty for a bounce.
        recipients: The envelope's recipients.
        subject: Decoded; empty where there is none.
        headers: All of them, decoded, in the order they came.
        text: The plain text part, or None.
        html: The HTML part, or None.
    """

    id: str
    received_at: datetime
    sender: str
    recipients: tuple[str, ...]
    subject: str
    headers: tuple[tuple[str, str], ...]
    text: str | None
    html: str | None


class Letters:
    """The mail in a Maildir."""

    def __init__(self, directory: Path) -> None:
        """Opens the Maildir, and makes it where there is none."""
        for part in ("tmp", "new", "cur"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._maildir = mailbox.Maildir(directory, create=False)

    def add(self, sender: str, recipients: Sequence[str], content: bytes) -> str:
        """Keeps a mail as it came; returns its id."""
        envelope = f"Return-Path: <{sender}>\r\n" + "".join(f"Delivered-To: {to}\r\n" for to in recipients)
        return self._maildir.add(envelope.encode(errors="surrogateescape") + content)

    def list(self, limit: int = 200) -> list[Letter]:
        """The latest letters, newest first."""
        latest = sorted(self._files(), key=lambda file: file.stat().st_mtime_ns, reverse=True)[:limit]
        return [letter for letter in map(_read, latest) if letter is not None]

    def get(self, id: str) -> Letter | None:
        """The letter of that id; None where there is none or it is nested beyond reading."""
        return next((_read(file) for file in self._files() if _id(file) == id), None)

    def _files(self) -> Iterator[Path]:
        # Not through ``mailbox``: its index is kept in memory and must not be read by two threads at once.
        return (file for part in ("new", "cur") for file in (self._directory / part).iterdir())


class Mailbox:
    """An SMTP server on the running loop that keeps every mail: ``async with Mailbox(directory, port) as mailbox``.

    Attributes:
        letters: What it caught.
        port: Where it listens; the one found free where 0 was asked for.
    """

    def __init__(
        self, directory: Path, port: int = 0, *, host: str = "127.0.0.1", size_limit: int = SIZE_LIMIT
    ) -> None:
        self.letters = Letters(directory)
        self.port = port
        self._host = host
        self._size_limit = size_limit
        self._sessions: set[_Session] = set()

    async def __aenter__(self) -> Self:
        """Starts to listen.

        Raises:
            OSError: The port is taken.
        """
        self._server = await asyncio.get_running_loop().create_server(self._session, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for session in tuple(self._sessions):
            session.hang_up()
        await self._server.wait_closed()

    def _session(self) -> "_Session":
        return _Session(self._sessions, self.letters, self._size_limit)


class _Session(SMTP):
    """One connection. The server knows those still open, to be able to end them."""

    def __init__(self, sessions: set["_Session"], letters: Letters, size_limit: int) -> None:
        super().__init__(
            _Keep(letters),
            data_size_limit=size_limit,
            enable_SMTPUTF8=True,
            hostname="localhost",
            loop=asyncio.get_running_loop(),
        )
        self._sessions = sessions

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._sessions.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._sessions.discard(self)
        super().connection_lost(error)

    def hang_up(self) -> None:
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()


class _Keep:
    """aiosmtpd's handler: it looks for methods named after SMTP's commands."""

    def __init__(self, letters: Letters) -> None:
        self._letters = letters

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        self._letters.add(envelope.mail_from or "", envelope.rcpt_tos, content)
        return "250 2.0.0 kept, and going nowhere"


def _id(file: Path) -> str:
    """The name without the flags a mail program appends to it."""
    return file.name.partition(":")[0]


def _read(file: Path) -> Letter | None:
    try:
        found = message_from_bytes(file.read_bytes())
        text, html = _part(found, "text/plain"), _part(found, "text/html")
    except (OSError, RecursionError):
        return None
    headers = tuple((name, _decoded(value)) for name, value in found.items())
    return Letter(
        id=_id(file),
        received_at=datetime.fromtimestamp(file.stat().st_mtime, UTC),
        sender=_first(headers, "return-path").strip("<>"),
        recipients=tuple(value for name, value in headers if name.lower() == "delivered-to"),
        subject=_first(headers, "subject"),
        headers=headers,
        text=text,
        html=html,
    )


def _first(headers: Sequence[tuple[str, str]], wanted: str) -> str:
    return next((value for name, value in headers if name.lower() == wanted), "")


def _decoded(value: object) -> str:
    try:
        parts = decode_header(value)  # type: ignore[arg-type]
    except (HeaderParseError, ValueError):
        parts = [(str(value), None)]
    return " ".join("".join(p if isinstance(p, str) else _text(p, charset) for p, charset in parts).split())


def _text(raw: bytes, charset: str | None) -> str:
    try:
        return raw.decode(charset or "utf-8", "replace")
    except (LookupError, ValueError):
        return raw.decode("utf-8", "replace")


def _part(letter: Message, content_type: str) -> str | None:
    for part in letter.walk():
        if part.get_content_type() == content_type and not part.is_multipart():
            payload = part.get_payload(decode=True)
            return _text(payload, part.get_content_charset()) if isinstance(payload, bytes) else None
    return None


def list_page(letters: Sequence[Letter], base: str) -> str:
    """An HTML page that lists letters; it looks again every five seconds.

    Args:
        letters: In the order to show.
        base: The path the pages are mounted at, such as ``/mailbox``; a letter is at ``<base>/<id>``.
    """
    return _LIST.render(letters=letters, base=base)


def letter_page(letter: Letter, base: str) -> str:
    """An HTML page that shows one letter: as a mail program would, as text, and its headers.

    The HTML part is shown in a sandbox: no script in it runs, and its links open in a new tab.
    """
    html = (letter.html or "").replace("<head>", '<head><base target="_blank">', 1)
    return _LETTER.render(letter=letter, html=html, base=base)


_STYLE = Markup("""
:root { color-scheme: light dark; --ink: #1f2a26; --quiet: #64706b; --line: #dfe3df; --page: #f5f4f1; --card: #fff;
        --accent: #1f6f5c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7ebe8; --quiet: #9ba7a1; --line: #36403c; --page: #151a18; --card: #1f2624; --accent: #86cdb8; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem 3rem; }
h1 { margin: 0 0 .25rem; font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
a { color: var(--accent); }
.quiet { color: var(--quiet); margin: 0 0 1.25rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.letters { list-style: none; margin: 0; padding: 0; }
.letters li + li { border-top: 1px solid var(--line); }
.letters a { display: grid; grid-template-columns: 1fr auto; gap: 0 1rem; padding: .8rem 1.1rem; color: inherit;
             text-decoration: none; }
.letters a:hover, .letters a:focus-visible { background: color-mix(in srgb, var(--accent) 8%, transparent); }
.letters strong, .letters .to { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.letters .to, time { color: var(--quiet); font-size: .85rem; }
.tabs > input { position: absolute; opacity: 0; }
.tabs > label { display: inline-block; padding: .45rem .9rem; margin-bottom: .75rem; border-radius: 6px;
                cursor: pointer; color: var(--quiet); }
.tabs > input:checked + label { background: var(--accent); color: var(--card); }
.tabs > input:focus-visible + label { outline: 2px solid var(--accent); outline-offset: 2px; }
.tabs > .card { display: none; }
#as-html:checked ~ .as-html, #as-text:checked ~ .as-text, #as-headers:checked ~ .as-headers { display: block; }
iframe { display: block; width: 100%; height: 80vh; border: 0; background: #fff; }
pre { margin: 0; padding: 1.1rem; white-space: pre-wrap; overflow-wrap: anywhere;
      font: 13px/1.6 ui-monospace, monospace; }
table { width: 100%; border-collapse: collapse; font-size: .85rem; }
th, td { padding: .45rem 1.1rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line);
         overflow-wrap: anywhere; }
tr:first-child > * { border-top: 0; }
th { white-space: nowrap; font-weight: 600; }
""")

_PAGES = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
_PAGES.globals["style"] = _STYLE

_LIST = _PAGES.from_string("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5">
<title>Mailbox</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<h1>Mailbox</h1>
<p class="quiet">Mail that development would have sent. Nothing here has left this machine.</p>
{% if letters %}
<ul class="letters card">
{% for letter in letters %}
<li><a href="{{ base }}/{{ letter.id | urlencode }}">
<strong>{{ letter.subject or "(no subject)" }}</strong>
<time datetime="{{ letter.received_at.isoformat() }}">{{ letter.received_at.strftime("%d %b, %H:%M:%S") }}</time>
<span class="to">{{ letter.recipients | join(", ") or "(no recipient)" }}</span>
</a></li>
{% endfor %}
</ul>
{% else %}
<p>No mail yet. It appears here as soon as a journey sends some.</p>
{% endif %}
</main>
</body>
</html>
""")

_LETTER = _PAGES.from_string("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ letter.subject or "(no subject)" }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<p><a href="{{ base }}">All mail</a></p>
<h1>{{ letter.subject or "(no subject)" }}</h1>
<p class="quiet">from {{ letter.sender or "(nobody)" }} to {{ letter.recipients | join(", ") or "(nobody)" }},
<time datetime="{{ letter.received_at.isoformat() }}">{{ letter.received_at.strftime("%d %b %Y, %H:%M:%S UTC") }}</time>
</p>
<div class="tabs">
{% if letter.html is not none %}
<input type="radio" name="tab" id="as-html" checked><label for="as-html">Mail</label>
{% endif %}
<input type="radio" name="tab" id="as-text"{{ " checked" if letter.html is none }}><label for="as-text">Text</label>
<input type="radio" name="tab" id="as-headers"><label for="as-headers">Headers</label>
{% if letter.html is not none %}
<div class="card as-html">
<iframe title="The mail" sandbox="allow-popups allow-popups-to-escape-sandbox" srcdoc="{{ html }}"></iframe>
</div>
{% endif %}
<div class="card as-text"><pre>{{ "This mail has no text part." if letter.text is none else letter.text }}</pre></div>
<div class="card as-headers"><table>
{% for name, value in letter.headers %}
<tr><th scope="row">{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}
</table></div>
</div>
</main>
</body>
</html>
""")
