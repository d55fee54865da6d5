"""Make: scenarios tell us what happened, and are told by us."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

import httpx
from pydantic import Field, HttpUrl, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_core import to_json
from pydantic_settings import SettingsConfigDict

from connectors import http, standard_webhooks
from connectors.base import Refused, Request, Told
from connectors.credentials import Credentials
from connectors.errors import NeverAgain, TryAgain
from connectors.fields import checked
from connectors.limits import Limits
from connectors.webhook import Body, Moment, check_secret, free_json, one_line_errors, secrets_in
from contacts.events import IDENTITY_KINDS, Event, Identity, InvalidEvent, event, identities

AHEAD = timedelta(minutes=5)
"""How far a scenario's time may be ahead of ours before we take our own word for it."""

LARGEST = 5_000_000
"""Bytes that a custom webhook takes."""

_LIMITS = Limits("make", named={"data": LARGEST}, unit="bytes")


class MakeSettings(Credentials):
    """``MAKE_*``.

    Attributes:
        webhook_secret: What scenarios bring as Bearer token; several with commas between.
        signing_secret: What scenarios sign with, as Standard Webhooks (``whsec_...``); several with commas between.
        hook_url: The custom webhook that we call. Whoever knows it can call it, so it is a secret.
        hook_api_key: What that webhook asks for in ``x-make-apikey``, if it asks.
    """

    model_config = SettingsConfigDict(env_prefix="MAKE_")

    webhook_secret: SecretStr | None = None
    signing_secret: SecretStr | None = None
    hook_url: SecretStr | None = None
    hook_api_key: SecretStr | None = None
    calls_per_second: Annotated[float, Field(gt=0)] | None = 30

    @field_validator("signing_secret")
    @classmethod
    def _keys(cls, secret: SecretStr | None) -> SecretStr | None:
        standard_webhooks.keys_in(secret)
        return secret

    @field_validator("hook_url")
    @classmethod
    def _url(cls, url: SecretStr | None) -> SecretStr | None:
        try:
            if url and TypeAdapter(HttpUrl).validate_python(url.get_secret_value().strip()).scheme == "https":
                return url
        except ValidationError:
            pass
        if url is None:
            return None
        raise ValueError("must be an https URL")


@checked
class Make:
    """The ``Source`` of what scenarios send, and a ``Sink`` that calls one."""

    name: ClassVar[str] = "make"

    def __init__(self, settings: MakeSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._keys = standard_webhooks.keys_in(settings.signing_secret)
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. A request that is signed is held to that, whatever token it brings besides."""
        if request.headers.get("webhook-signature"):
            standard_webhooks.verify(self._keys, request, now)
            return
        tokens = secrets_in(self._settings.webhook_secret)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Refused(401, "there is neither a Webhook-Signature header nor a Bearer token")
        check_secret(tokens, token.strip())

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. The source id is the event id that the scenario gives."""
        with one_line_errors():
            said = _Said.model_validate(free_json(request.body))
        return [
            event(
                said.type,
                source=self.name,
                source_id=said.event_id,
                occurred_at=min(said.occurred_at, received_at + AHEAD),
                identities=said.who(),
                data=said.data,
            )
        ]

    async def tell(self, told: Told) -> str | None:
        """See ``Sink.tell``.

        Make takes a call into its queue and says no more: that a scenario ran cannot be known here. It drops no
        repeats, so our id is in the body as ``event_id``, for the scenario to look up.
        """
        if not self._settings.hook_url:
            raise NeverAgain(self.name, "no webhook is set (MAKE_HOOK_URL)")
        named: dict[str, list[str]] = {}
        for identity in told.identities:
            named.setdefault(identity.kind, []).append(identity.value)
        body = to_json(
            {
                "event_id": told.id,
                "type": told.type,
                "occurred_at": told.occurred_at.isoformat(),
                "contact_id": told.contact_id,
                "identities": named,
                "data": dict(told.data),
            }
        )
        # The whole body counts, and data is what makes it long.
        _LIMITS.check({"data": body.decode()})
        headers = {"Content-Type": "application/json"}
        if self._settings.hook_api_key:
            headers["x-make-apikey"] = self._settings.hook_api_key.get_secret_value().strip()
        url = self._settings.hook_url.get_secret_value().strip()
        request = self._client.build_request("POST", url, content=body, headers=headers)
        try:
            await http.call(self._client, _PROVIDER, request, http.Unread, idempotent=False)
        except http.Rejected as error:
            if error.reason.endswith(_FULL):
                raise TryAgain(self.name, error.reason, delay=timedelta(minutes=1)) from None
            raise
        return None


_FULL = "the queue is full"


def _refusal(response: httpx.Response) -> http.Refusal:
    # The answer is a line of text, and this is all that is asked of it.
    full = response.status_code == 400 and b"queue" in response.content[:1000].lower()
    return http.Refusal(_FULL if full else "")


_PROVIDER = http.Provider("make", busy=frozenset({429, 503}), read=_refusal)


class _Said(Body):
    event_id: Annotated[str, Field(min_length=1, max_length=255)]
    type: Annotated[str, Field(min_length=1, max_length=100)]
    occurred_at: Moment
    identities: dict[str, Any]
    data: dict[str, Any] = Field(default_factory=dict)

    def who(self) -> tuple[Identity, ...]:
        """Everything named; a field that a scenario maps and that is empty names nobody."""
        for kind in self.identities:
            if kind not in IDENTITY_KINDS:
                raise InvalidEvent("identities", f"knows no kind {kind[:40]!r}")
        pairs = [
            (kind, value)
            for kind, given in self.identities.items()
            for value in (given if isinstance(given, list) else [given])
            if isinstance(value, str | int) and not isinstance(value, bool)
        ]
        found = identities(*pairs)
        if not found:
            raise InvalidEvent("identities", "names nobody")
        return found
