"""Mail over SMTP, to any relay that speaks it.

SMTP has no idempotency key and cannot be asked about a message: a call that ends without an answer is ``Unknown``.
The ``Message-ID`` is derived from the touch's key, so a message sent again after all is recognisable as the same one.
"""

import re
from contextlib import suppress
from datetime import timedelta
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, Policy
from email.utils import localtime
from typing import ClassVar, Literal, Self

import aiosmtplib
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from connectors import mail
from connectors.base import Accepted, Message
from connectors.credentials import Credentials
from connectors.errors import BadAddress, ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.fields import checked
from connectors.http import Pace

Step = Literal["connect", "from", "to", "data"]


class _Unfolded(UnstructuredHeader, BaseHeader):
    """A header kept on one line: the standard folding would encode a long URL into something no mailbox can read."""

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("list-unsubscribe", _Unfolded)
_HEADERS.map_to_type("feedback-id", _Unfolded)


class SmtpSettings(Credentials):
    """Where mail goes out: ``SMTP_*``.

    Attributes:
        host: The relay's name; None where there is none.
        tls: ``starttls`` upgrades the connection and refuses a relay that cannot; ``tls`` begins with it; ``none`` is
            for a relay on this machine.
        port: The relay's port; without it 587, 465 or 25 by ``tls``.
        message_id_domain: The domain of our ``Message-ID`` and of our greeting; without it the sender's.
        timeout: Seconds to wait for any one answer.
    """

    model_config = SettingsConfigDict(env_prefix="SMTP_")

    host: str | None = None
    tls: Literal["starttls", "tls", "none"] = "starttls"
    port: int | None = Field(default=None, ge=1, le=65535)
    username: str | None = None
    password: SecretStr | None = None
    message_id_domain: str | None = Field(default=None, pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")
    timeout: float = Field(default=30, gt=0)

    @model_validator(mode="after")
    def _credentials_are_whole_and_private(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("SMTP_USERNAME and SMTP_PASSWORD come together")
        if self.username is not None and self.tls == "none" and self.host not in mail.LOOPBACK:
            raise ValueError("SMTP_TLS=none would send SMTP_PASSWORD in the clear")
        return self


@checked
class Smtp:
    """Sends mail through the relay of its settings, one connection a message."""

    name: ClassVar[str] = "smtp"
    channel: ClassVar[str] = "email"
    idempotent: ClassVar[bool] = False
    listed_within: ClassVar[timedelta | None] = None

    def __init__(self, settings: SmtpSettings, from_address: str, pace: Pace | None = None) -> None:
        """Keeps the settings; connects to nothing.

        Args:
            settings: The relay.
            from_address: The sender, as ``Name <address>`` or an address alone.
            pace: Kept before every message.

        Raises:
            ValueError: There is no host, or ``from_address`` holds no address.
        """
        if settings.host is None:
            raise ValueError("SMTP_HOST is not set")
        self._settings = settings
        self._pace = pace
        self._from = mail.sender(from_address)
        self._domain = settings.message_id_domain or self._from.domain

    async def send(self, message: Message) -> Accepted:
        """Hands the message to the relay. ``provider_id`` is our ``Message-ID``.

        Raises:
            TryAgain: The relay cannot be reached, or says that it cannot take the message now.
            NeverAgain: The relay refuses the message, or a header value would break out of its header.
            BadAddress: The recipient's address does not exist or takes no mail.
            Unknown: The connection was lost after the message had begun to flow.
        """
        composed = compose(message, self._from, self._domain)
        wide = not message.to.isascii()
        body = composed.as_bytes(policy=SMTPUTF8 if wide else SMTP)
        if self._pace is not None:
            await self._pace()
        client = self._client()
        step: Step = "connect"
        try:
            await client.connect()
            await client.ehlo()
            if wide and not client.supports_extension("smtputf8"):
                raise NeverAgain(self.name, "the relay cannot write to an address outside ASCII")
            step = "from"
            await client.mail(self._from.addr_spec, options=["SMTPUTF8"] if wide else [])
            step = "to"
            await client.rcpt(message.to, encoding="utf-8")
            step = "data"
            answer = await client.data(body)
            # The message is handed over: what the goodbye comes to changes nothing.
            with suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=5)
        except aiosmtplib.SMTPResponseException as refusal:
            raise judge(step, refusal.code, _without(message.to, refusal.message)) from None
        except (aiosmtplib.SMTPException, OSError) as loss:
            reason = _without(message.to, str(loss)) or type(loss).__name__
            if step == "data":
                raise Unknown(
                    self.name, f"the connection was lost while the message was handed over: {reason}"
                ) from None
            raise TryAgain(self.name, f"no working connection to the relay: {reason}") from None
        finally:
            client.close()
        return Accepted(str(composed["Message-ID"]), request_id=_without(message.to, answer.message) or None)

    async def look_up(self, key: str) -> Accepted | None:
        """Never answers.

        Raises:
            NeverAgain: Always; SMTP has no such question.
        """
        raise NeverAgain(self.name, "a relay cannot be asked what became of a message")

    def _client(self) -> aiosmtplib.SMTP:
        settings = self._settings
        return aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.username,
            password=settings.password.get_secret_value() if settings.password else None,
            use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls",
            local_hostname=self._domain,
            timeout=settings.timeout,
        )


def compose(message: Message, sender: Address, domain: str) -> EmailMessage:
    """The mail as it goes over the wire.

    Raises:
        NeverAgain, BadAddress: see ``mail.check``.
    """
    checked = mail.check("smtp", message, domain)
    composed = EmailMessage(policy=SMTP.clone(header_factory=_HEADERS))
    composed["From"] = sender
    composed["To"] = checked.to
    composed["Subject"] = message.subject
    composed["Date"] = localtime()
    composed["Message-ID"] = mail.message_id(message.key, domain)
    for name, value in checked.headers.items():
        composed[name] = value
    # Quoted-printable on both parts: long lines and any script survive every relay, 8-bit clean or not.
    composed.set_content(checked.text, cte="quoted-printable")
    if checked.html is not None:
        composed.add_alternative(checked.html, subtype="html", cte="quoted-printable")
    return composed


def judge(step: Step, code: int, text: str) -> ConnectorError:
    """What a relay's refusal means.

    Args:
        step: What was asked when it came.
        code: The reply code; the text may begin with an enhanced one (RFC 3463).
        text: The reply's text, without the recipient's address.
    """
    reason = f"{code} {text}".strip()
    if 400 <= code <= 499:
        return TryAgain("smtp", reason)
    if 500 <= code <= 599:
        # Whatever is answered to MAIL FROM is about the sender's address.
        if step in ("to", "data") and mail.about_address(text):
            return BadAddress("smtp", reason)
        return NeverAgain("smtp", reason)
    if step == "data":
        return Unknown("smtp", f"an answer that is none of SMTP's: {reason}")
    return TryAgain("smtp", f"an answer that is none of SMTP's: {reason}")


def _without(address: str, text: str) -> str:
    """One line of a relay's text, fit for a log: relays like to quote the recipient."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return re.sub(re.escape(address), "(the recipient)", line, flags=re.IGNORECASE)[:200]
