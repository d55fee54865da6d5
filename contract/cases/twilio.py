"""Twilio: text messages."""

import httpx
from pydantic import HttpUrl, SecretStr

from connectors.base import Message
from connectors.twilio import LONGEST_TEXT, Twilio, TwilioSettings
from contract.cases.samples import LONG_KEY, UNICODE_TEXT, message
from contract.peer import Case, File, Run, Vendor

_SERVICE = {"messaging_service_sid": "MG" + "0" * 32}


def _text(sent: Message, **settings: str) -> Run:
    async def run(client: httpx.AsyncClient, base_url: str) -> object:
        account = TwilioSettings.model_validate(
            {
                "account_sid": "AC" + "0" * 32,
                "auth_token": SecretStr("token"),
                "base_url": HttpUrl(base_url),
                **settings,
            }
        )
        return await Twilio(account, client).send(sent)

    return run


VENDOR = Vendor(
    "twilio",
    files=(File("twilio-*.json"),),
    cases=(
        Case("text by a service", _text(message("+4915112345678"), **_SERVICE)),
        Case("text from a number", _text(message("+4915112345678"), from_number="+15005550006")),
        Case("text from a name", _text(message("+4915112345678"), from_number="Fernhill")),
        Case(
            "text with a callback and the longest key",
            _text(
                message("+819012345678", key=LONG_KEY),
                status_callback="https://example.com/webhooks/twilio",
                **_SERVICE,
            ),
        ),
        Case("text in unicode", _text(message("+33142685300", text=UNICODE_TEXT), **_SERVICE)),
        Case("the longest text", _text(message("+4915112345678", text="x" * LONGEST_TEXT), **_SERVICE)),
        Case(
            "text by an API key",
            _text(message("+4915112345678"), api_key="SK" + "0" * 32, api_key_secret="secret", **_SERVICE),  # noqa: S106
        ),
    ),
    operations=("POST /2010-04-01/Accounts/{AccountSid}/Messages.json",),
    remarks=("the spec has no error answers: how a refusal is read is not judged",),
)
