"""Standard Webhooks: how many systems sign what they send, all that use Svix among them.

Signed are id, timestamp and body. ``v1`` is HMAC-SHA256 with a secret both sides know (``whsec_...``), ``v1a`` is
Ed25519 with a private key only the sender knows, checked against its public one (``whpk_...``).
"""

from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import SecretStr

from connectors.base import Refused, Request
from connectors.webhook import check_age, check_signature
from contacts.events import InvalidEvent

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_FAMILIES = ("webhook", "svix")
"""What the three headers begin with. A sender may send both families; they then say the same."""


@dataclass(frozen=True)
class Keys:
    """What signatures are held against: a ``v1`` against the secrets alone, a ``v1a`` against the public keys alone."""

    secrets: tuple[bytes, ...] = ()
    public: tuple[Ed25519PublicKey, ...] = ()


def keys_in(setting: SecretStr | None) -> Keys:
    """The keys a setting holds: one, or several with commas between them while one replaces another.

    Raises:
        ValueError: One of them is no key.
    """
    parts = setting.get_secret_value().split(",") if setting else ()
    keys = [_key(part.strip()) for part in parts if part.strip()]
    return Keys(
        tuple(key for key in keys if isinstance(key, bytes)),
        tuple(key for key in keys if isinstance(key, Ed25519PublicKey)),
    )


def verify(keys: Keys, request: Request, now: datetime) -> None:
    """Checks signature and age over the raw bytes; ``Source.verify`` for every sender of this kind.

    Raises:
        Refused: The request is forged, stale or malformed, or there are no keys.
    """
    if not (keys.secrets or keys.public):
        raise Refused(401, "no signing secret is set for this connector, so nothing can be verified")
    headers = _headers(request)
    if headers is None:
        raise Refused(401, "the Webhook-Id, Webhook-Timestamp and Webhook-Signature headers are needed")
    id, sent, signatures = headers
    if "." in id:  # the dot parts id from timestamp in what is signed: one more, and it could be read in two ways
        raise Refused(400, "Webhook-Id holds a dot")
    if not (sent.isascii() and sent.isdigit() and len(sent) <= 11):
        raise Refused(400, "Webhook-Timestamp is not a number of seconds")
    message = f"{id}.{sent}.".encode(errors="replace") + request.body
    offered = [(version, value) for version, _, value in (entry.partition(",") for entry in signatures.split())]
    asymmetric = (value for version, value in offered if version == "v1a")
    if not any(_is_signed(key, message, value) for value in asymmetric for key in keys.public):
        check_signature(keys.secrets, message, [value for version, value in offered if version == "v1"], b64encode)
    check_age(_EPOCH + timedelta(seconds=int(sent)), now)


def message_id(request: Request) -> str:
    """The sender's id of a verified request: the same over its retries, and signed.

    Raises:
        InvalidEvent: There is none.
    """
    headers = _headers(request)
    if headers is None:
        raise InvalidEvent("webhook-id", "is missing")
    return headers[0]


def _headers(request: Request) -> tuple[str, str, str] | None:
    """Id, timestamp and signatures, of the first family that is whole."""
    for family in _FAMILIES:
        id, sent, signatures = (
            request.headers.get(f"{family}-{part}", "") for part in ("id", "timestamp", "signature")
        )
        if id and sent and signatures:
            return id, sent, signatures
    return None


def _key(text: str) -> bytes | Ed25519PublicKey:
    if text.startswith("whsk_"):
        raise ValueError("is a private key, which only the sender may know: set its public one (whpk_)")
    if text.startswith("whpk_"):
        try:
            return Ed25519PublicKey.from_public_bytes(_decoded(text.removeprefix("whpk_")))
        except ValueError:
            raise ValueError("must be whpk_ and the 32 bytes of an Ed25519 key in base64") from None
    try:
        secret = _decoded(text.removeprefix("whsec_"))
    except ValueError:
        secret = b""
    if not secret:  # an empty secret is a secret everybody knows
        raise ValueError("must be whsec_ and the secret in base64")
    return secret


def _decoded(text: str) -> bytes:
    """Base64, with its padding or without."""
    bare = text.rstrip("=")
    return b64decode(bare + "=" * (-len(bare) % 4), validate=True)


def _is_signed(key: Ed25519PublicKey, message: bytes, signature: str) -> bool:
    try:
        key.verify(_decoded(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True
