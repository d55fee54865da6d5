"""Sendoso: gifts and parcels go out.

Goods leave here, and Sendoso carries out every order it gets, at once: it takes no key, its list of sends does not tell
two orders of one campaign for one person apart, and so nobody can find out for sure what came of a call without an
answer. Such a touch stays unknown for a person to look at. It is never sent again, and messages that Perennial would
send again are refused.

Its refresh tokens work once. The next one is kept in a file, which all workers of an installation share.
"""

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

import httpx
from pydantic import BaseModel, Field, HttpUrl, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from connectors import http, standard_webhooks
from connectors.base import Accepted, Message, Refused, Request
from connectors.credentials import Credentials
from connectors.errors import BadAddress, NeverAgain, TryAgain, Unknown
from connectors.fields import checked
from connectors.limits import Limits
from connectors.postal import address_in
from connectors.webhook import Body, Moment, one_line_errors
from contacts.events import Event, event, identities, identity

LONGEST_CARD = 2_000
"""Characters."""

_LIMITS = Limits("sendoso", named={"metadata.name": 100, "card": LONGEST_CARD})
"""Sendoso says nothing of lengths: these are ours."""


class SendosoSettings(Credentials):
    """``SENDOSO_*``.

    Attributes:
        refresh_token: The one that authorizing ended with; a new one here is used from then on.
        token_file: Where the tokens that follow from it are kept; on a disk that all workers share.
        touch_id: The number of the campaign that says what is given.
        kind: ``egift`` by e-mail, or a parcel: to the postal address a message comes with, else the recipient is asked.
        signing_secret: The webhook endpoint's, ``whsec_...``; several with commas.
    """

    model_config = SettingsConfigDict(env_prefix="SENDOSO_")

    calls_per_second: Annotated[float, Field(gt=0)] | None = 10.0
    base_url: HttpUrl = HttpUrl("https://app.sendoso.com")
    client_id: str | None = None
    client_secret: SecretStr | None = None
    refresh_token: SecretStr | None = None
    token_file: Path | None = None
    touch_id: int | None = None
    kind: Literal["egift", "collect_address"] = "egift"
    signing_secret: SecretStr | None = None


@checked
class Sendoso:
    """The ``Sender`` of gifts, and the ``Source`` of what became of them, where that names anybody."""

    name: ClassVar[str] = "sendoso"
    channel: ClassVar[str] = "gift"
    idempotent: ClassVar[bool] = False
    listed_within: ClassVar[timedelta | None] = None

    def __init__(self, settings: SendosoSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()
        self._refreshing = asyncio.Lock()

    async def send(self, message: Message) -> Accepted:
        """See ``Sender.send``. ``provider_id`` is Sendoso's tracking code.

        The eGift's e-mail, or the card in the parcel, says what the ``card`` says. ``metadata`` may say ``name`` (the
        recipient's), ``touch_id`` and ``address`` (see ``connectors.postal``). The message's text is written for a
        colleague who chooses a present, and does not go out.

        Raises:
            NeverAgain: Also for transactional messages, which are sent again when an answer is lost.
        """
        if message.purpose == "transactional":
            raise NeverAgain(self.name, "purpose: a gift is not transactional, for those are sent again when in doubt")
        if identity("email", message.to) is None:
            raise BadAddress(self.name, "the recipient's address is not an e-mail address")
        body = {"send": self._send(message)}
        token, fresh = await self._token()
        url = str(self._settings.base_url).rstrip("/") + "/api/v3/send"
        request = self._client.build_request("POST", url, json=body, headers={"Authorization": f"Bearer {token}"})
        try:
            answer, request_id = await http.exchange(self._client, _PROVIDER, request, _Sent, idempotent=False)
        except http.Rejected as refused:
            if refused.status != 401 or fresh:
                raise
            await self._forget(token)
            raise TryAgain(self.name, "401 the access token was withdrawn", request_id=refused.request_id) from None
        if not answer.success or not answer.tracking_code:
            raise Unknown(self.name, "answered without a tracking code", request_id=request_id)
        return Accepted(answer.tracking_code, request_id)

    async def look_up(self, key: str) -> Accepted | None:
        """Never answers.

        Raises:
            NeverAgain: Always; Sendoso's list of sends knows no key, nor the code that sending returned.
        """
        raise NeverAgain(self.name, "Sendoso cannot be asked what became of a send")

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. Svix signs for Sendoso."""
        try:
            keys = standard_webhooks.keys_in(self._settings.signing_secret)
        except ValueError as error:
            raise Refused(401, f"SENDOSO_SIGNING_SECRET {error}") from None
        standard_webhooks.verify(keys, request, now)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. Which status it is stands in our own address, as ``?event=send.delivered``.

        A body names the send by its ``send_gid``, which sending did not return, and nobody: no touch can be found by
        it, and without an ``email`` it means nothing.
        """
        with one_line_errors():
            notice = _Notice.model_validate_json(request.body)
            told = _TOLD.get(_status(request.url))
            who = identities(("email", notice.email))
            if told is None or not who:
                return []
            type, facts = told
            return [
                event(
                    type,
                    source=self.name,
                    source_id=standard_webhooks.message_id(request)[:255],
                    occurred_at=notice.status_changed_at,
                    identities=who,
                    data={**facts, "channel": self.channel, "provider_id": notice.send_gid},
                )
            ]

    def _send(self, message: Message) -> dict[str, Any]:
        settings, asked = self._settings, message.metadata
        campaign = asked.get("touch_id") or str(settings.touch_id or "")
        if not (campaign.isascii() and campaign.isdigit() and len(campaign) < 19):
            raise NeverAgain(self.name, "no campaign is named by its number (SENDOSO_TOUCH_ID)")
        _LIMITS.check({"metadata.name": asked.get("name"), "card": message.card})
        shared = {
            "touch_id": int(campaign),
            "email": message.to,
            "via_from": "Perennial",
            **({"name": asked["name"]} if asked.get("name") else {}),
            **({"custom_message": message.card} if message.card else {}),
        }
        if settings.kind == "egift":
            return {**shared, **_EGIFT}
        if not asked.get("address"):
            return {**shared, **_COLLECT}
        to = address_in(asked, self.name)
        if to.country != "US" and to.phone is None:
            # The courier needs one there. Sendoso takes such an order and drops it in silence, so it is asked for.
            return {**shared, **_COLLECT}
        return {
            **shared,
            "name": to.name,
            "address": ", ".join(line for line in (to.line1, to.line2) if line),
            "city": to.city,
            "state": to.region or "",
            "zip": to.postal_code or "",
            "country": to.country,
            "confirm_address": False,
            "via": "single_person_or_company",
            **({"mobile_no": int("".join(c for c in to.phone if c.isdigit()))} if to.phone else {}),
        }

    async def _token(self) -> tuple[str, bool]:
        """An access token, and whether it was made just now."""
        settings = self._settings
        if not (settings.client_id and settings.client_secret and settings.refresh_token and settings.token_file):
            needed = "SENDOSO_CLIENT_ID, SENDOSO_CLIENT_SECRET, SENDOSO_REFRESH_TOKEN and SENDOSO_TOKEN_FILE"
            raise NeverAgain(self.name, f"{needed} are needed for calls")
        first = settings.refresh_token.get_secret_value().strip()
        async with self._alone(settings.token_file):
            kept = await asyncio.to_thread(_Tokens.read, settings.token_file)
            if kept is None or kept.began_with != _mark(first):
                kept = _Tokens(began_with=_mark(first), refresh_token=first)
            now = datetime.now(UTC)
            if kept.access_token and now < kept.expires_at - timedelta(minutes=5):
                return kept.access_token, False
            form = {
                "grant_type": "refresh_token",
                "refresh_token": kept.refresh_token,
                "client_id": settings.client_id,
                "client_secret": settings.client_secret.get_secret_value().strip(),
            }
            url = str(settings.base_url).rstrip("/") + "/oauth/token"
            try:
                request = self._client.build_request("POST", url, data=form)
                made = await http.call(self._client, _PROVIDER, request, _Granted, idempotent=False)
            except Unknown as lost:
                # No gift was asked for yet.
                reason = f"the access token was not renewed: {lost.reason}"
                raise TryAgain(self.name, reason, request_id=lost.request_id) from None
            except http.Rejected as refused:
                reason = f"the refresh token is not taken ({refused.status}): authorize Perennial at Sendoso again"
                raise NeverAgain(self.name, reason, request_id=refused.request_id) from None
            following = _Tokens(
                began_with=kept.began_with,
                refresh_token=made.refresh_token or kept.refresh_token,
                access_token=made.access_token,
                expires_at=now + timedelta(seconds=made.expires_in),
            )
            await asyncio.to_thread(following.write, settings.token_file)
            return made.access_token, True

    async def _forget(self, token: str) -> None:
        """Lets go of an access token that Sendoso does not take any more, unless another worker has renewed it."""
        if (path := self._settings.token_file) is None:
            return
        async with self._alone(path):
            kept = await asyncio.to_thread(_Tokens.read, path)
            if kept is not None and kept.access_token == token:
                await asyncio.to_thread(kept.model_copy(update={"access_token": ""}).write, path)

    @asynccontextmanager
    async def _alone(self, path: Path) -> AsyncIterator[None]:
        """Nobody else renews meanwhile: no task of ours, and no other worker. A refresh token used twice is lost."""
        async with self._refreshing:
            lock = await asyncio.to_thread(_locked, path.with_name(path.name + ".lock"))
            try:
                yield
            finally:
                lock.close()


def _locked(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = path.open("ab")
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _mark(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:16]


class _Tokens(BaseModel):
    """What the file holds. ``began_with`` tells which token of the settings these came of."""

    began_with: str
    refresh_token: str
    access_token: str = ""
    expires_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    @classmethod
    def read(cls, path: Path) -> "_Tokens | None":
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def write(self, path: Path) -> None:
        """In one step, so that no reader meets half a file, and for nobody else's eyes."""
        new = path.with_name(path.name + ".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(self.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


_EGIFT = {"via": "single_email_address"}
_COLLECT = {
    "via": "single_person_or_company",
    "no_address": True,
    "confirm_address": True,
    "address_confirmation_via": "email",
    "resume_with_unconfirmed_address": False,
    "expire_after_days": 7,
    "hide_product_info": False,
}


def _refusal(response: httpx.Response) -> http.Refusal:
    # Sendoso has no codes, only sentences, and they may quote what was sent.
    hints = {404: "the campaign is not there or does not run now"}
    return http.Refusal(hints.get(response.status_code, ""), response.headers.get("x-request-id"))


_PROVIDER = http.Provider("sendoso", busy=frozenset({429}), read=_refusal)

_TOLD: Mapping[str, tuple[str, dict[str, Any]]] = {
    "send.delivered": ("message.delivered", {}),
    "send.opened": ("message.opened", {}),
    "send.clicked": ("message.clicked", {}),
    "send.bounced": ("message.bounced", {"permanent": False, "reason": "bounced"}),
    "send.undeliverable": ("message.bounced", {"permanent": False, "reason": "undeliverable"}),
    "send.failed": ("message.bounced", {"permanent": False, "reason": "failed"}),
    "send.invalid_email_format": ("message.bounced", {"permanent": True, "reason": "invalid_email_format"}),
    "send.redeemed": ("custom.gift_redeemed", {}),
    "send.expired": ("custom.gift_expired", {}),
    "send.canceled": ("custom.gift_canceled", {}),
    "send.out_of_stock": ("custom.gift_failed", {"reason": "out_of_stock"}),
    "send.insufficient_funds": ("custom.gift_failed", {"reason": "insufficient_funds"}),
}


def _status(url: str) -> str:
    try:
        found = [value for name, value in parse_qsl(urlsplit(url).query) if name == "event"]
    except ValueError:
        return ""
    return found[0] if len(found) == 1 else ""


class _Sent(Body):
    success: bool = False
    tracking_code: str | None = None


class _Granted(Body):
    access_token: Annotated[str, Field(min_length=1)]
    refresh_token: str | None = None
    expires_in: Annotated[int, Field(ge=0, le=10**7)] = 7200


class _Notice(Body):
    send_gid: Annotated[str, Field(min_length=1)]
    status_changed_at: Moment
    email: str | None = None
