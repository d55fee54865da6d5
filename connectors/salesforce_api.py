"""Salesforce's REST API: the token, one call, what its refusals mean, and questions that cannot be tampered with."""

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from pydantic import RootModel, SecretStr
from pydantic_core import from_json

from connectors import http
from connectors.errors import NeverAgain, TryAgain
from connectors.webhook import Body

ID = re.compile(r"[a-zA-Z0-9]{18}")
"""An id of a record, in the long form that tells cases apart without minding them."""

PAGE = 200
"""How many records a question is answered with."""

FIELD = r"^[A-Za-z][A-Za-z0-9_]{0,79}$"
"""The API name of a field."""


class Api:
    """One org, called as the app's own user by OAuth's client credentials."""

    def __init__(
        self,
        instance_url: str | None,
        version: str,
        client_id: SecretStr | None,
        client_secret: SecretStr | None,
        client: httpx.AsyncClient,
    ) -> None:
        self._instance = (instance_url or "").rstrip("/")
        self._version = version
        self._client_id = client_id
        self._client_secret = client_secret
        self._client = client
        self._token: SecretStr | None = None
        self._renewing = asyncio.Lock()

    async def ask(
        self,
        method: str,
        path: str,
        answer: type[http.Answer],
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        idempotent: bool = True,
    ) -> http.Answer:
        """Makes one call; a token that is no longer good is renewed once.

        Raises:
            TryAgain, NeverAgain, Unknown: see ``connectors.http``.
        """
        path = f"/services/data/{self._version}{path}"
        sent = {"params": params, "json": json}
        token = await self._current(None)
        try:
            return await self._call(token, method, path, answer, sent, idempotent)
        except http.Rejected as error:
            if error.status != 401:
                raise
        # A call without a good token did nothing, so it is made again whatever it asks for.
        return await self._call(await self._current(token), method, path, answer, sent, idempotent)

    async def select(
        self,
        fields: str,
        kind: str,
        where: str,
        answer: type[http.Answer],
        *,
        order: str,
        deleted: bool = False,
    ) -> http.Answer:
        """The first records, at most ``PAGE``; with ``deleted``, also those in the bin.

        Whatever is not ours in ``where`` has come through ``text``, ``moment`` or ``record_id``.

        Raises:
            TryAgain, NeverAgain: see ``connectors.http``.
        """
        words = ("SELECT", fields, "FROM", kind, "WHERE", where, "ORDER BY", order, "LIMIT", str(PAGE))
        return await self.ask("GET", "/queryAll" if deleted else "/query", answer, params={"q": " ".join(words)})

    async def _call(
        self,
        token: SecretStr,
        method: str,
        path: str,
        answer: type[http.Answer],
        sent: Mapping[str, Any],
        idempotent: bool,
    ) -> http.Answer:
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
        request = self._client.build_request(method, self._instance + path, headers=headers, **sent)
        try:
            return await http.call(self._client, _PROVIDER, request, answer, idempotent=idempotent)
        except http.Rejected as error:
            for code in _DELAYS.keys() & set(error.reason.split()):
                delay = _DELAYS[code]
                raise TryAgain("salesforce", error.reason, delay=delay, request_id=error.request_id) from None
            raise

    async def _current(self, stale: SecretStr | None) -> SecretStr:
        """The token in force; another than the stale one. Many who need one at once get the same."""
        async with self._renewing:
            if self._token is None or self._token is stale:
                self._token = await self._new_token()
            return self._token

    async def _new_token(self) -> SecretStr:
        if not self._instance or not self._client_id or not self._client_secret:
            needed = "SALESFORCE_INSTANCE_URL, SALESFORCE_CLIENT_ID, SALESFORCE_CLIENT_SECRET"
            raise NeverAgain("salesforce", f"no org or app is set ({needed})")
        app = {
            "grant_type": "client_credentials",
            "client_id": self._client_id.get_secret_value().strip(),
            "client_secret": self._client_secret.get_secret_value().strip(),
        }
        request = self._client.build_request("POST", f"{self._instance}/services/oauth2/token", data=app)
        return (await http.call(self._client, _PROVIDER, request, _Token, idempotent=True)).access_token


class _Token(Body):
    access_token: SecretStr


class Saved(Body):
    """What a write says."""

    id: str


class MaybeSaved(RootModel[Saved | None]):
    """What an upsert says; of a record that was there it may say nothing."""


def text(value: str) -> str:
    """A text as SOQL has it, quoted and escaped.

    Raises:
        NeverAgain: It has a control character, which no text in a CRM has.
    """
    if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in value):
        raise NeverAgain("salesforce", "a value to look for has a control character")
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def moment(value: datetime) -> str:
    """A time as SOQL has it."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z"


def record_id(value: str) -> str:
    """The id, if it is one.

    Raises:
        NeverAgain: It is not.
    """
    if not ID.fullmatch(value):
        raise NeverAgain("salesforce", "this is no id of a Salesforce record")
    return value


_DELAYS = {
    # The org's calls of the last 24 hours are used up.
    "REQUEST_LIMIT_EXCEEDED": timedelta(hours=1),
    "UNABLE_TO_LOCK_ROW": timedelta(seconds=2),
    "SERVER_UNAVAILABLE": None,
}
"""Refusals that pass, whatever their status, and when to ask again."""


def _refusal(response: httpx.Response) -> http.Refusal:
    try:
        body = from_json(response.content)
    except ValueError:
        body = None
    # Calls answer with a list of errors, the token's address with one error.
    faults = [fault for fault in (body if isinstance(body, list) else [body]) if isinstance(fault, dict)]
    said: list[object] = []
    for fault in faults[:3]:
        fields = fault.get("fields")
        said += [fault.get("errorCode"), fault.get("error"), *(fields if isinstance(fields, list) else ())][:10]
    return http.Refusal(http.codes(*said), response.headers.get("x-sfdc-request-id"))


_PROVIDER = http.Provider("salesforce", busy=frozenset({429, 503}), read=_refusal)
