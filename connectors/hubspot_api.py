"""HubSpot's API: one call, what its refusals mean, and the records it answers with."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import Field, SecretStr

from connectors import http
from connectors.errors import NeverAgain
from connectors.webhook import Body, Moment

CONTACTS = "/crm/v3/objects/contacts"


class Api:
    """One account, called over the connector's pool."""

    def __init__(self, base_url: str, access_token: SecretStr | None, client: httpx.AsyncClient) -> None:
        self._base_url = base_url.rstrip("/")
        self._access_token = access_token
        self._client = client

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
        """Makes one call.

        Raises:
            TryAgain, NeverAgain, Unknown: see ``connectors.http``.
        """
        if not self._access_token:
            raise NeverAgain("hubspot", "no access token is set (HUBSPOT_ACCESS_TOKEN)")
        headers = {"Authorization": f"Bearer {self._access_token.get_secret_value().strip()}"}
        request = self._client.build_request(method, self._base_url + path, params=params, json=json, headers=headers)
        return await http.call(self._client, _PROVIDER, request, answer, idempotent=idempotent)

    async def contact_with(self, email: str) -> str | None:
        """The id of the contact with this address; None if there is none.

        Raises:
            TryAgain, NeverAgain: see ``connectors.http``.
        """
        path = f"{CONTACTS}/{quote(email, safe='')}"
        try:
            return (await self.ask("GET", path, Record, params={"idProperty": "email"})).id
        except http.Rejected as error:
            if error.status != 404:
                raise
            return None


class Link(Body):
    """The other end of an association."""

    id: str


class Links(Body):
    """Associations of one kind."""

    results: list[Link] = Field(default_factory=list)


class Version(Body):
    """A value a property had, and since when."""

    value: str | None = None
    timestamp: Moment
    sourceType: str | None = None


class Record(Body):
    """A contact, deal, task or note."""

    id: str
    properties: dict[str, str | None] = Field(default_factory=dict)
    propertiesWithHistory: dict[str, list[Version]] = Field(default_factory=dict)
    associations: dict[str, Links] = Field(default_factory=dict)


class Records(Body):
    """Several of them."""

    results: list[Record]


_DELAYS = {
    "SECONDLY": timedelta(seconds=1),
    "TEN_SECONDLY_ROLLING": timedelta(seconds=10),
    # The day's limit ends at midnight of the account's time zone, which we do not know.
    "DAILY": timedelta(hours=1),
}


def _refusal(response: httpx.Response) -> http.Refusal:
    body = http.body_of(response)
    policy = body.get("policyName")
    errors = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    request_id = body.get("correlationId")
    return http.Refusal(
        http.codes(body.get("category"), body.get("subCategory"), policy, first.get("code"), first.get("in")),
        request_id if isinstance(request_id, str) else response.headers.get("x-hubspot-correlation-id"),
        _DELAYS.get(policy) if isinstance(policy, str) else None,
    )


# 423: the record is locked for a moment. 477: the account is being moved, and Retry-After says for how long.
_PROVIDER = http.Provider("hubspot", busy=frozenset({423, 429, 477, 503}), read=_refusal)
