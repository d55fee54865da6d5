"""The senders of the drill, one for each thing a provider can or cannot do."""

from datetime import timedelta
from typing import ClassVar

import httpx
from pydantic import BaseModel

from connectors import http
from connectors.base import Accepted, Message, Sender
from connectors.errors import NeverAgain

_PATIENCE = httpx.Timeout(3, connect=3)


class _Taken(BaseModel):
    id: str


class Courier:
    """Hands messages to the drill's provider, which drops no repeats and cannot be asked: like SMTP."""

    name: ClassVar[str] = "plain"
    channel: ClassVar[str] = "sms"
    idempotent: ClassVar[bool] = False
    listed_within: ClassVar[timedelta | None] = None

    def __init__(self, url: str, channel: str, client: httpx.AsyncClient | None = None) -> None:
        self._url = f"{url}/{self.name}"
        self._on = channel
        self._client = client or httpx.AsyncClient(timeout=_PATIENCE, trust_env=False)
        self._provider = http.Provider(self.name, busy=frozenset({429, 503}), read=lambda _: http.Refusal())

    async def send(self, message: Message) -> Accepted:
        """See ``Sender.send``."""
        told = {"key": message.key, "to": message.to, "purpose": message.purpose, "channel": self._on}
        told |= {name: message.metadata[name] for name in ("template", "journey")}
        request = self._client.build_request("POST", self._url, json=told)
        taken = await http.call(self._client, self._provider, request, _Taken, idempotent=False)
        return Accepted(taken.id)

    async def look_up(self, key: str) -> Accepted | None:
        """See ``Sender.look_up``."""
        raise NeverAgain(self.name, "cannot be asked")


class Keyed(Courier):
    """... and the provider drops a second message with the same key."""

    name: ClassVar[str] = "keyed"
    idempotent: ClassVar[bool] = True


class Asked(Courier):
    """... and the provider can be asked for a key."""

    name: ClassVar[str] = "asked"
    listed_within: ClassVar[timedelta | None] = timedelta(0)

    async def look_up(self, key: str) -> Accepted | None:
        """See ``Sender.look_up``."""
        request = self._client.build_request("GET", self._url, params={"key": key})
        try:
            return Accepted((await http.call(self._client, self._provider, request, _Taken, idempotent=True)).id)
        except http.Rejected as answer:
            if answer.status != 404:
                raise
            return None


def couriers(url: str) -> dict[str, Sender]:
    """Every channel, each with a sender of one of the three kinds."""
    keyed: dict[str, Sender] = {channel: Keyed(url, channel) for channel in ("call", "note", "gift", "mail")}
    return {"email": Asked(url, "email"), "sms": Courier(url, "sms"), **keyed}
