"""People, messages and happenings that the cases share: ordinary ones, and such as test a field's edges."""

from datetime import UTC, datetime
from typing import Any

from connectors.base import Message, Person, Task, Told
from contacts.events import identities

AT = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)

KEY = "0197a8c2-4d5e-7b3a-9c21-5f1e2d3c4b5a/greet_them/2"
LONG_KEY = f"0197a8c2-4d5e-7b3a-9c21-5f1e2d3c4b5a/{'stage' * 42}/10"

ORDINARY = Person("alice@example.com", "Alice", "Meyer", "+4930901820", "Fernhill Studio")
BARE = Person("bare@example.com")
UNICODE = Person("zoë+läuft@example.com", "Zoë 🌱", "O'Brien-Ğül & <Söhne>", "+33142685300", "株式会社 “Fern”")
LONG = Person(f"{'l' * 64}@{'example' * 8}.com", "F" * 255, "L" * 255, "+819012345678", "C" * 255)

PLAIN_TEXT = "Hello Alice,\n\nyour guide is ready.\n"
UNICODE_TEXT = 'Grüße an Zoë 🌱 – „schön“ & <b>5 > 3</b>\nこんにちは "quoted" \\ back'

TASK = Task(KEY, "Call Alice", "She asked about prices.", AT, "Sam")
BARE_TASK = Task(KEY, "Call", "", AT)
LONG_TASK = Task(LONG_KEY, "T" * 255, f"{UNICODE_TEXT}\n" * 80, AT, "Sam")


def message(to: str, **changes: Any) -> Message:
    """A promotional message with everything a message can have, with these changes."""
    ordinary: dict[str, Any] = {
        "key": KEY,
        "to": to,
        "subject": "Your guide",
        "text": PLAIN_TEXT,
        "html": "<p>Hello Alice,</p><p>your guide is ready.</p>",
        "unsubscribe_url": "https://example.com/preferences/abc?t=1",
        "metadata": {"journey": "welcome", "template": "welcome", "due": AT.isoformat()},
    }
    return Message(**{**ordinary, **changes})


def told(type: str, *known_as: tuple[str, str], **data: Any) -> Told:
    """Something that happened to a contact with these identities; with an e-mail address if none are given."""
    known = identities(*(known_as or (("email", "alice@example.com"),)))
    return Told("0197a8c2-4d5e-7b3a-9c21-000000000001", type, AT, "0197a8c2-0000-7b3a-9c21-5f1e2d3c4b5a", known, data)


MANY = (
    ("email", "old@example.com"),
    ("email", "zoë@example.com"),
    ("phone", "+4930901820"),
    ("user", "user 42/ü"),
    ("anonymous", "a-1"),
)
"""Identities of somebody who is known by many."""
