"""What every signed webhook shares: the secrets in force, the comparison, the age, and one-line errors."""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from connectors.base import Refused
from connectors.batch import load_json
from contacts.events import InvalidEvent

TOLERANCE = timedelta(minutes=5)
"""How far a signed timestamp may be from our clock, either way: a capture of either kind is soon worthless.

A vendor that repeats a request for longer, and does not say that it signs anew, is given longer.
"""


Moment = Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC))]
"""When something happened, within what a clock can have shown: a time at the end of the calendar breaks arithmetic."""


class Body(BaseModel):
    """The part of a vendor's body we rely on. Everything else in it is ignored, so that vendors may add to it."""

    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)


def secrets_in(setting: SecretStr | None) -> tuple[bytes, ...]:
    """The secrets a setting holds: one, or several with commas between them while one replaces another.

    Raises:
        Refused: There is none, so nothing can be verified.
    """
    parts = setting.get_secret_value().split(",") if setting else ()
    secrets = tuple(part.strip().encode() for part in parts if part.strip())
    if not secrets:
        raise Refused(401, "no signing secret is set for this connector, so nothing can be verified")
    return secrets


def check_signature(
    keys: Iterable[bytes], message: bytes, offered: Iterable[str], encode: Callable[[bytes], bytes]
) -> None:
    """Holds the offered signatures against HMAC-SHA256 of the message, in constant time.

    Args:
        keys: The secrets in force; any may match.
        message: What the sender signs.
        offered: The signatures in the request; any may match.
        encode: How the sender writes a digest down.

    Raises:
        Refused: Nothing matches.
    """
    expected = [encode(hmac.new(key, message, hashlib.sha256).digest()) for key in keys]
    given = [signature.encode(errors="replace") for signature in offered]
    if not any(hmac.compare_digest(e, g) for e in expected for g in given):
        raise Refused(401, "the signature does not match")


def check_secret(secrets: Iterable[bytes], offered: str) -> None:
    """Holds a secret that came with an unsigned request against those in force, in constant time.

    Raises:
        Refused: It is none of them.
    """
    given = offered.encode(errors="replace")
    if not any(hmac.compare_digest(secret, given) for secret in secrets):
        raise Refused(401, "the secret does not match")


def check_age(sent: datetime, now: datetime, oldest: timedelta = TOLERANCE) -> None:
    """Refuses a signed request that is older than ``oldest``, or from further in the future than ``TOLERANCE``.

    Raises:
        Refused: It is out of the window.
    """
    if not -TOLERANCE <= now - sent <= oldest:
        raise Refused(401, f"the timestamp is older than {oldest}, or from the future")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns a report on a malformed body into one line that names the field and not its value.

    Raises:
        InvalidEvent: What was done inside met a body of another shape.
    """
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise InvalidEvent(where, first["msg"].removeprefix("Value error, ")) from None


def free_json(body: bytes) -> Any:
    """The JSON of a body that is kept as it came, in part: fit to be stored, as ``load_json`` says.

    Raises:
        InvalidEvent: It is none.
    """
    try:
        return load_json(body)
    except Refused as refused:
        raise InvalidEvent("body", refused.reason) from None
