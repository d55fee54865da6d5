"""Our own outgoing webhooks: what happened, told to an address of another system and signed as Standard Webhooks are.

The id stays the same over every attempt and replay, so that a receiver can drop repeats; the timestamp is that of the
attempt. The body is ``{"type", "timestamp", "data": {"contact_id", "identities", ...}}``.
"""

import asyncio
import hmac
import ipaddress
import json
import socket
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated
from urllib.parse import urlsplit

import httpx
from pydantic import Field, SecretStr

from connectors import http
from connectors.base import Told
from connectors.credentials import Credentials
from connectors.errors import NeverAgain, TryAgain
from connectors.fields import checked
from connectors.limits import Limits
from connectors.standard_webhooks import keys_in

BODY_LIMIT = 20_000
"""Bytes of a body; the standard asks senders to stay below."""


class EndpointSettings(Credentials):
    """``WEBHOOK_<NAME>_*``, one for each endpoint of the policy.

    Attributes:
        secret: ``whsec_`` and at least 24 bytes in base64. Several with commas while one replaces another: every one
            signs, so that the receiver may change in its own time.
    """

    secret: SecretStr | None = None
    calls_per_second: Annotated[float, Field(gt=0)] | None = 20


@checked
class Endpoint:
    """The ``Sink`` behind one address."""

    def __init__(
        self, name: str, url: str, settings: EndpointSettings, client: httpx.AsyncClient | None = None, *, private: bool
    ) -> None:
        """Keeps what is given; connects to nothing.

        Args:
            name: The endpoint's.
            url: ``https``; ``http`` only where ``private`` is.
            private: Addresses inside our own network may be called, as in development.

        Raises:
            ValueError: The secret or the address cannot be used.
        """
        keys = keys_in(settings.secret)
        if not keys.secrets or min(map(len, keys.secrets)) < 24 or max(map(len, keys.secrets)) > 64:
            raise ValueError("must be whsec_ and 24 to 64 bytes in base64")
        if urlsplit(url).scheme != "https" and not private:
            raise ValueError(f"the endpoint {name} must be https in production")
        self.name = f"webhook/{name}"
        self._limits = Limits(self.name, named={"data": BODY_LIMIT}, unit="bytes")
        self._url = url
        self._secrets = keys.secrets
        self._private = private
        self._client = client or http.new_client()
        self._provider = http.Provider(self.name, busy=frozenset({425, 429, 502, 503, 504}), read=_refusal)

    async def tell(self, told: Told) -> str | None:
        """See ``Sink.tell``. 410 says that the address is given up; any other 3xx or 4xx is final too."""
        body = json.dumps(
            {
                "type": told.type,
                "timestamp": told.occurred_at.isoformat(),
                "data": {
                    **told.data,
                    "contact_id": told.contact_id,
                    "identities": {i.kind: i.value for i in told.identities},
                },
            },
            ensure_ascii=False,
        ).encode()
        # The whole body counts, and data is what makes it long.
        self._limits.check({"data": body.decode()})
        await self._check_address()
        request = self._client.build_request("POST", self._url, content=body, headers=self._headers(told.id, body))
        await http.call(self._client, self._provider, request, http.Unread, idempotent=True)
        return None

    def _headers(self, id: str, body: bytes) -> dict[str, str]:
        sent = str(int(datetime.now(UTC).timestamp()))
        message = f"{id}.{sent}.".encode() + body
        signatures = (b64encode(hmac.new(secret, message, sha256).digest()).decode() for secret in self._secrets)
        return {
            "content-type": "application/json",
            "user-agent": "Perennial",
            "webhook-id": id,
            "webhook-timestamp": sent,
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }

    async def _check_address(self) -> None:
        """An address that leads into our own network is never called: it would be a way in for whoever sets it."""
        if self._private:
            return
        parts = urlsplit(self._url)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                parts.hostname, parts.port or 443, type=socket.SOCK_STREAM
            )
        except OSError:
            raise TryAgain(self.name, "the address has no host that is known") from None
        for *_, where in found:
            if not ipaddress.ip_address(str(where[0]).partition("%")[0]).is_global:
                raise NeverAgain(self.name, "the address is inside a private network")


def _refusal(response: httpx.Response) -> http.Refusal:
    return http.Refusal(request_id=response.headers.get("x-request-id"))
