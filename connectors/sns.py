"""Amazon SNS over HTTPS: who signed a notification, and the confirmation of a subscription.

Whoever has an AWS account can have a topic whose messages are signed as validly as ours. So the topic is pinned, and
the only host ever called is the SNS of that topic's region.
"""

import re
from base64 import b64decode
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509 import Certificate, load_pem_x509_certificate
from pydantic import model_validator

from connectors.base import Refused, Request
from connectors.errors import NeverAgain, TryAgain
from connectors.webhook import Body, one_line_errors

TOPIC = re.compile(r"arn:(aws[a-z-]*):sns:([a-z0-9-]+):[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")

OLDEST = timedelta(minutes=75)
"""How old a message may be: SNS repeats one for an hour, with the time it was first sent at."""

AHEAD = timedelta(minutes=5)
"""How far its clock may be ahead of ours."""

CERTIFICATES = 8
"""Certificates kept at a time. SNS uses one a region, and changes it every few months."""

_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


class Envelope(Body):
    """What SNS wraps a message in."""

    Type: Literal["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]
    MessageId: str
    TopicArn: str
    Message: str
    Timestamp: str
    SignatureVersion: Literal["1", "2"]
    Signature: str
    SigningCertURL: str
    Subject: str | None = None
    Token: str | None = None
    SubscribeURL: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _wrapped(cls, value: Any) -> Any:
        if isinstance(value, dict) and "Signature" not in value:
            raise ValueError("is not signed: raw message delivery must be off for this subscription")
        return value

    def signed_text(self) -> bytes:
        """What the signature is over: the fields SNS chose, those that are there, each with its name before it."""
        fields = ((name, getattr(self, name)) for name in _SIGNED[self.Type])
        return "".join(f"{name}\n{value}\n" for name, value in fields if value is not None).encode(errors="replace")


class FromSns:
    """What every source behind SNS topics has in common: ``verify``, ``Prepares`` and ``Confirms``."""

    name: ClassVar[str]

    def __init__(self, topics: tuple[str, ...], client: httpx.AsyncClient) -> None:
        self._topics = topics
        self._client = client
        self._certificates: dict[str, Certificate] = {}

    async def prepare(self, request: Request) -> None:
        """See ``Prepares.prepare``: fetches the certificate that the request names, unless it is here."""
        url = self._certificate_url(self._envelope(request))
        if url in self._certificates:
            return
        answer = await self._get(url)
        if not answer.is_success:
            raise TryAgain(self.name, f"{answer.status_code} instead of the certificate of SNS")
        try:
            certificate = load_pem_x509_certificate(answer.content)
        except ValueError:
            raise TryAgain(self.name, "the certificate of SNS cannot be read") from None
        while len(self._certificates) >= CERTIFICATES:
            del self._certificates[next(iter(self._certificates))]
        self._certificates[url] = certificate

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. The certificate must have been fetched by ``prepare``."""
        envelope = self._envelope(request)
        certificate = self._certificates.get(self._certificate_url(envelope))
        if certificate is None:
            raise Refused(401, "the certificate that signed this has not been fetched")
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise Refused(401, "the certificate that signed this is not valid now")
        key = certificate.public_key()
        if not isinstance(key, RSAPublicKey):
            raise Refused(401, "the certificate that signed this has no RSA key")
        hash = SHA1() if envelope.SignatureVersion == "1" else SHA256()  # noqa: S303  # version 1 is what a topic has by itself
        try:
            key.verify(b64decode(envelope.Signature, validate=True), envelope.signed_text(), PKCS1v15(), hash)
        except (InvalidSignature, ValueError):
            raise Refused(401, "the signature does not match") from None
        if not now - OLDEST <= _moment(envelope.Timestamp) <= now + AHEAD:
            raise Refused(401, f"the timestamp is more than {OLDEST} behind our clock or {AHEAD} ahead of it")

    async def confirm(self, request: Request) -> None:
        """See ``Confirms.confirm``: calls back for a subscription to a pinned topic, and for nothing else."""
        envelope = self._envelope(request)
        if envelope.Type != "SubscriptionConfirmation":
            return
        url = envelope.SubscribeURL or ""
        if not _is_confirmation(url, envelope.TopicArn):
            raise NeverAgain(self.name, "SubscribeURL is not a confirmation at the SNS of this topic")
        answer = await self._get(url)
        if answer.status_code == 429 or answer.status_code >= 500:
            raise TryAgain(self.name, f"{answer.status_code} to the confirmation of a subscription")
        if not answer.is_success:
            raise NeverAgain(self.name, f"{answer.status_code} to the confirmation of a subscription")

    def _envelope(self, request: Request) -> Envelope:
        if not self._topics:
            raise Refused(401, "no topic is set for this connector, so nothing can be verified")
        try:
            envelope = read(request)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        if envelope.TopicArn not in self._topics:
            raise Refused(401, "the message is of a topic that is not set for this connector")
        return envelope

    def _certificate_url(self, envelope: Envelope) -> str:
        url, host = envelope.SigningCertURL, _host(envelope.TopicArn)
        if not re.fullmatch(rf"https://{re.escape(host)}/[A-Za-z0-9_-]+\.pem", url):
            raise Refused(401, "SigningCertURL is no certificate at the SNS of this topic")
        return url

    async def _get(self, url: str) -> httpx.Response:
        try:
            return await self._client.get(url, follow_redirects=False)
        except httpx.HTTPError as error:
            raise TryAgain(self.name, f"no answer from SNS ({type(error).__name__})") from None


def read(request: Request) -> Envelope:
    """The envelope in a request.

    Raises:
        ValueError: There is none.
    """
    with one_line_errors():
        return Envelope.model_validate_json(request.body)


def _host(topic: str) -> str:
    """The host of SNS in a topic's region. From the topic, not from the message: no list of regions to keep."""
    found = TOPIC.fullmatch(topic)
    partition, region, _ = found.groups() if found else ("", "", "")
    return f"sns.{region}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}"


def _is_confirmation(url: str, topic: str) -> bool:
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
    except ValueError:
        return False
    there = (parts.scheme, parts.netloc, parts.path, parts.fragment) == ("https", _host(topic), "/", "")
    return there and query.get("Action") == ["ConfirmSubscription"] and query.get("TopicArn") == [topic]


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Refused(400, "Timestamp is not an ISO 8601 time with an offset")
    return at
