"""How each system that sends to us proves itself: any body, signed as its sender would sign it."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from connectors.base import Request, Source
from ops.webhook_check import CONNECTORS
from tests.connectors import test_ses as ses

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SENT = str(int(NOW.timestamp()))
SENT_BY_HTTP = format_datetime(NOW, usegmt=True)
SENT_BY_ISO = NOW.isoformat()
SECRET = "a-secret-only-we-and-they-know"
KEY = base64.b64encode(SECRET.encode()).decode()
WHSEC = f"whsec_{KEY}"
ED25519 = Ed25519PrivateKey.generate()
P256 = ec.generate_private_key(ec.SECP256R1())

GENUINE: Mapping[str, list[str]] = json.loads((Path(__file__).parent / "genuine.json").read_text(encoding="utf-8"))
"""Bodies that each system may send, one for everything they can mean. Of Amazon SES it is what SNS wraps."""

Sign = Callable[[bytes], Request]


def _posted(name: str, body: bytes, query: str = "", **headers: str) -> Request:
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    return Request("POST", f"https://hub.example.com/webhooks/{name}{query}", named, body)


def _mac(message: bytes, hash: Callable[..., Any] = hashlib.sha256) -> bytes:
    return hmac.new(SECRET.encode(), message, hash).digest()


def _dated(body: bytes, between: bytes = b".", before: bytes = b"") -> bytes:
    return _mac(before + SENT.encode() + between + body)


def _standard(name: str, body: bytes, family: str = "webhook", query: str = "", **headers: str) -> Request:
    signature = f"v1,{base64.b64encode(_mac(f'msg_1.{SENT}.'.encode() + body)).decode()}"
    own = {f"{family}_id": "msg_1", f"{family}_timestamp": SENT, f"{family}_signature": signature}
    return _posted(name, body, query, **own, **headers)


def _basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def _sendgrid(body: bytes) -> Request:
    signature = base64.b64encode(P256.sign(SENT.encode() + body, ec.ECDSA(SHA256()))).decode()
    head = "x_twilio_email_event_webhook"
    return _posted("sendgrid", body, **{f"{head}_signature": signature, f"{head}_timestamp": SENT})


def _hubspot(body: bytes) -> Request:
    sent = f"{SENT}000"
    signature = base64.b64encode(_mac(b"POSThttps://hub.example.com/webhooks/hubspot" + body + sent.encode())).decode()
    return _posted("hubspot", body, x_hubspot_signature_v3=signature, x_hubspot_request_timestamp=sent)


def _klaviyo(body: bytes) -> Request:
    sent = SENT_BY_HTTP
    return _posted("klaviyo", body, klaviyo_signature=_mac(body + sent.encode()).hex(), klaviyo_timestamp=sent)


def _mailgun(body: bytes) -> Request:
    """What is signed stands in the body: a body that is no object cannot be signed."""
    token = "0123abcd" * 6
    signature = {"timestamp": SENT, "token": token, "signature": _mac((SENT + token).encode()).hex()}
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError):
        whole = None
    return _posted(
        "mailgun", json.dumps({**whole, "signature": signature}).encode() if isinstance(whole, dict) else body
    )


def _ses(body: bytes) -> Request:
    return ses.signed(Message=body.decode(errors="replace"))


def _twilio(body: bytes) -> Request:
    query = "?touch=0b5a-11--greet_them--2"
    form = parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
    fields = "".join(name + value for name, value in sorted(set(form)))
    text = f"https://hub.example.com/webhooks/twilio{query}{fields}"
    mac = base64.b64encode(_mac(text.encode(errors="replace"), hashlib.sha1)).decode()
    return _posted("twilio", body, query, x_twilio_signature=mac)


def _zendesk(body: bytes) -> Request:
    sent = SENT_BY_ISO
    signature = base64.b64encode(_mac(sent.encode() + body)).decode()
    return _posted("zendesk", body, x_zendesk_webhook_signature=signature, x_zendesk_webhook_signature_timestamp=sent)


def _cloudevents(body: bytes) -> Request:
    kind = "application/cloudevents-batch+json" if body.lstrip().startswith(b"[") else "application/cloudevents+json"
    return _standard("cloudevents", body, content_type=kind)


def _track(body: bytes) -> Request:
    return Request("POST", "https://hub.example.com/v1/batch", {"authorization": _basic("web:")}, body)


SIGNED: Mapping[str, Sign] = {
    "activecampaign": lambda body: _posted("activecampaign", body, f"?key={SECRET}"),
    "calendly": lambda body: _posted("calendly", body, calendly_webhook_signature=f"t={SENT},v1={_dated(body).hex()}"),
    "chatbase": lambda body: _posted("chatbase", body, x_chatbase_signature=_mac(body, hashlib.sha1).hex()),
    "clickfunnels": lambda body: _posted(
        "clickfunnels",
        body,
        x_webhook_clickfunnels_signature=_dated(body).hex(),
        x_webhook_clickfunnels_timestamp=SENT,
    ),
    "customerio": lambda body: _posted(
        "customerio", body, x_cio_signature=_dated(body, b":", b"v0:").hex(), x_cio_timestamp=SENT
    ),
    "fillout": lambda body: _posted("fillout", body, authorization=f"Bearer {SECRET}"),
    "gohighlevel": lambda body: _posted(
        "gohighlevel", body, x_ghl_signature=base64.b64encode(ED25519.sign(body)).decode()
    ),
    "hubspot": _hubspot,
    "intercom": lambda body: _posted("intercom", body, x_hub_signature="sha1=" + _mac(body, hashlib.sha1).hex()),
    "klaviyo": _klaviyo,
    "lob": lambda body: _posted("lob", body, lob_signature=_dated(body).hex(), lob_signature_timestamp=SENT),
    "mailgun": _mailgun,
    "make": lambda body: _standard("make", body),
    "manychat": lambda body: _posted("manychat", body, x_perennial_secret=SECRET),
    "postmark": lambda body: _posted("postmark", body, authorization=_basic(f"hook:{SECRET}")),
    "resend": lambda body: _standard("resend", body, "svix"),
    "salesforce": lambda body: _posted("salesforce", body, x_api_key=SECRET),
    "sendgrid": _sendgrid,
    "sendoso": lambda body: _standard("sendoso", body, "svix", "?event=send.delivered"),
    "ses": _ses,
    "slack": lambda body: _posted(
        "slack", body, x_slack_signature="v0=" + _dated(body, b":", b"v0:").hex(), x_slack_request_timestamp=SENT
    ),
    "stripe": lambda body: _posted("stripe", body, stripe_signature=f"t={SENT},v1={_dated(body).hex()}"),
    "tremendous": lambda body: _posted("tremendous", body, tremendous_webhook_signature="sha256=" + _mac(body).hex()),
    "twilio": _twilio,
    "zendesk": _zendesk,
    "track": _track,
    "cloudevents": _cloudevents,
}
"""A request with this body, as genuine as the system's own, by its name."""

_CREDENTIALS: Mapping[str, Mapping[str, Any]] = {
    "gohighlevel": {
        "public_keys": ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        "location_id": "loc1",
    },
    "make": {"signing_secret": WHSEC},
    "manychat": {"webhook_secret": SECRET},
    "postmark": {"webhook_login": f"hook:{SECRET}"},
    "resend": {"signing_secret": WHSEC},
    "sendgrid": {
        "verification_key": base64.b64encode(
            P256.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).decode()
    },
    "sendoso": {"signing_secret": WHSEC},
    "ses": {"region": "eu-central-1", "topic_arn": ses.TOPIC},
    "track": {"write_keys": ["web"]},
    "cloudevents": {"events_secret": WHSEC},
}

ASYMMETRIC = frozenset({"gohighlevel", "sendgrid", "ses"})
"""Those whose signature is made with a private key: there is no secret here to compare with."""


@cache
def source(name: str) -> Source:
    """The source, which believes what ``SIGNED`` makes."""
    pem = httpx.MockTransport(lambda _: httpx.Response(200, content=ses.PEM))
    given = _CREDENTIALS.get(name, {"signing_secret": SECRET})
    return CONNECTORS[name](given, httpx.AsyncClient(transport=pem))
