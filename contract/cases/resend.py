"""Resend: mail."""

import httpx
from pydantic import HttpUrl, SecretStr

from connectors.base import Message
from connectors.resend import Resend, ResendSettings
from contract.cases.samples import LONG_KEY, UNICODE_TEXT, message
from contract.peer import Case, File, Run, Vendor


def _mail(sent: Message, from_address: str = "Fernhill Studio <hello@example.com>") -> Run:
    async def run(client: httpx.AsyncClient, base_url: str) -> object:
        settings = ResendSettings(api_key=SecretStr("re_test"), base_url=HttpUrl(base_url))
        return await Resend(settings, client, from_address=from_address).send(sent)

    return run


VENDOR = Vendor(
    "resend",
    files=(File("resend-*.json"),),
    cases=(
        Case("mail", _mail(message("alice@example.com"))),
        Case(
            "mail without html or a way out",
            _mail(message("alice@example.com", html=None, unsubscribe_url=None, metadata={})),
        ),
        Case("mail in unicode", _mail(message("zoë@example.com", subject="Grüße 🌱", text=UNICODE_TEXT))),
        Case("mail of the longest fields", _mail(message("alice@example.com", key=LONG_KEY, subject="s" * 900))),
        Case("mail from a quoted name", _mail(message("alice@example.com"), '"Meyer, A." <a.meyer@example.com>')),
    ),
    operations=("POST /emails",),
    remarks=("the spec has no error answers: how a refusal is read is not judged",),
)
