"""What every sender owes to whoever sends: a call that may have been carried out is ``Unknown``, and nothing else is.

Over each sender of the registry, and over each CRM in which a colleague is given a task. Mail over SMTP has no calls of
HTTP; ``test_smtp`` cuts its connections.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from tenacity import wait_none

from connectors import http
from connectors.base import Accepted, Crm, Message, Sender
from connectors.configured import CONNECTORS, Place
from connectors.errands import Errands
from connectors.errors import ConnectorError, TryAgain, Unknown

ADDRESS = {"name": "Zoë Ash", "line1": "12 Main Street", "city": "Springfield", "region": "IL", "postal_code": "62701"}
METADATA = {
    "journey": "welcome",
    "template": "welcome",
    "due": datetime(2026, 3, 2, 9, tzinfo=UTC).isoformat(),
    "address": json.dumps(ADDRESS),
}


def to(address: str) -> Message:
    return Message("run-1/greet/0", address, "Hello", "Good morning.", purpose="lifecycle", metadata=METADATA)


@dataclass(frozen=True)
class Spoken:
    """How a sender's provider is spoken to.

    Attributes:
        makes: The call that makes the message: its method and path.
        made: A good answer to it.
        headers: Of that answer.
        before: What is asked before, and the answers.
        named: Headers in which its answers name the request ``req-1``.
        refusal: The body of a refusal.
    """

    settings: Mapping[str, Any]
    makes: str
    made: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    named: Mapping[str, str] = field(default_factory=dict)
    refusal: Mapping[str, Any] = field(default_factory=lambda: {"error": "no"})
    to: str = "zoe@example.com"


SENDERS: Mapping[str, Spoken] = {
    "intercom": Spoken(
        {"access_token": "t", "admin_id": "7"},
        "POST /messages",
        {"id": "1"},
        before={"POST /contacts/search": {"data": [{"id": "9", "role": "user"}]}},
        named={"x-request-id": "req-1"},
    ),
    "lob": Spoken(
        {"api_key": "test_1", "sender": "adr_1", "verify_us": True},
        "POST /v1/letters",
        {"id": "ltr_1"},
        before={"GET /v1/letters": {"data": []}, "POST /v1/us_verifications": {"deliverability": "deliverable"}},
        named={"x-request-id": "req-1"},
    ),
    "mailgun": Spoken(
        {"api_key": "k", "domain": "mg.example.com"}, "POST /v3/mg.example.com/messages", {"id": "<1@mg.example.com>"}
    ),
    "manychat": Spoken({"api_key": "k"}, "POST /fb/sending/sendContent", {"status": "success"}, to="123"),
    "postmark": Spoken({"server_token": "t"}, "POST /email", {"ErrorCode": 0, "MessageID": "1"}),
    "resend": Spoken({"api_key": "re_1"}, "POST /emails", {"id": "1"}),
    "sendgrid": Spoken({"api_key": "SG.1"}, "POST /v3/mail/send", None, {"x-message-id": "1"}, refusal={"id": "req-1"}),
    "sendoso": Spoken(
        {"client_id": "c", "client_secret": "s", "refresh_token": "r", "token_file": Path("tokens"), "touch_id": 1},
        "POST /api/v3/send",
        {"success": True, "tracking_code": "1"},
        before={"POST /oauth/token": {"access_token": "a"}},
        named={"x-request-id": "req-1"},
    ),
    "ses": Spoken(
        {"region": "eu-west-1", "access_key_id": "AKIA1", "secret_access_key": "s"},
        "POST /v2/email/outbound-emails",
        {"MessageId": "1"},
        named={"x-amzn-requestid": "req-1"},
    ),
    "tremendous": Spoken(
        {"api_key": "k", "funding_source": "BALANCE", "campaign": "C1", "amount": "25.00"},
        "POST /api/v2/orders",
        {"order": {"id": "1", "status": "EXECUTED", "rewards": [{"id": "1"}]}},
        named={"x-request-id": "req-1"},
    ),
    "twilio": Spoken(
        {"account_sid": f"AC{'0' * 32}", "auth_token": "t", "from_number": "+15005550006"},
        f"POST /2010-04-01/Accounts/AC{'0' * 32}/Messages.json",
        {"sid": "SM1"},
        named={"twilio-request-id": "req-1"},
        to="+15005550009",
    ),
}

CRMS: Mapping[str, Spoken] = {
    "activecampaign": Spoken(
        {"base_url": "https://acme.api-us1.com", "api_token": "t"},
        "POST /api/3/dealTasks",
        {"dealTask": {"id": "1"}},
        before={"POST /api/3/contact/sync": {"contact": {"id": "9"}}, "GET /api/3/dealTasks": {"dealTasks": []}},
    ),
    "gohighlevel": Spoken(
        {"access_token": "t", "location_id": "L"},
        "POST /contacts/9/tasks",
        {"task": {"id": "1"}},
        before={"POST /contacts/upsert": {"contact": {"id": "9"}}, "GET /contacts/9/tasks": {"tasks": []}},
        refusal={"traceId": "req-1"},
    ),
    "hubspot": Spoken(
        {"access_token": "t"},
        "POST /crm/v3/objects/tasks",
        {"id": "1"},
        before={"POST /crm/v3/objects/contacts": {"id": "9"}, "GET /crm/v3/objects/contacts/9": {"id": "9"}},
        named={"x-hubspot-correlation-id": "req-1"},
    ),
    "intercom": Spoken(
        {"access_token": "t", "ticket_type_id": "3"},
        "POST /tickets",
        {"id": "1"},
        before={"POST /contacts/search": {"data": [{"id": "9"}]}, "POST /tickets/search": {"tickets": []}},
        named={"x-request-id": "req-1"},
    ),
    "salesforce": Spoken(
        {
            "instance_url": "https://acme.my.salesforce.com",
            "client_id": "c",
            "client_secret": "s",
            "api_version": "v67.0",
        },
        "POST /services/data/v67.0/sobjects/Task",
        {"id": "1"},
        before={
            "POST /services/oauth2/token": {"access_token": "a"},
            "GET /services/data/v67.0/query": {"records": []},
            "PATCH /services/data/v67.0/sobjects/Contact/Perennial_Key__c/zoe@example.com": {
                "id": "0035e00000abcdeAAA"
            },
        },
        named={"x-sfdc-request-id": "req-1"},
    ),
    "zendesk": Spoken(
        {"subdomain": "acme", "oauth_token": "t"},
        "POST /api/v2/tickets.json",
        {"ticket": {"id": "1"}},
        before={
            "GET /api/v2/users/search.json": {"users": []},
            "POST /api/v2/users/create_or_update.json": {"user": {"id": "9"}},
            "GET /api/v2/tickets.json": {"tickets": []},
        },
        named={"x-zendesk-request-id": "req-1"},
    ),
}

EVERY = {**SENDERS, **{f"errands/{name}": spoken for name, spoken in CRMS.items()}}
NAMELESS = {"mailgun", "manychat", "postmark", "resend", "errands/activecampaign"}
"""Those whose answers name no request."""

End = Callable[[httpx.Request], httpx.Response]


def status(code: int) -> End:
    return lambda _: httpx.Response(code)


def cut(error: type[httpx.TransportError]) -> End:
    def end(request: httpx.Request) -> httpx.Response:
        raise error("cut", request=request)

    return end


@dataclass
class Wire:
    """The way to a provider, on which the call that makes the message ends as told."""

    spoken: Spoken
    end: End
    asked: list[str] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        call = f"{request.method} {request.url.path}"
        self.asked.append(call)
        if call == self.spoken.makes:
            return self.end(request)
        assert call in self.spoken.before, call
        return httpx.Response(200, json=self.spoken.before[call])


Send = Callable[[str, End], Awaitable[Accepted]]


@pytest.fixture
def send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Send:
    """Sends a message by one of them, over a wire that ends as told."""
    monkeypatch.setattr(http._send.retry, "wait", wait_none())

    async def go(by: str, end: End) -> Accepted:
        spoken = EVERY[by]
        known = CONNECTORS[by.removeprefix("errands/")]
        settings = {n: tmp_path / v if isinstance(v, Path) else v for n, v in spoken.settings.items()}
        wire = Wire(spoken, end)
        async with httpx.AsyncClient(transport=httpx.MockTransport(wire)) as client:
            place = Place(mail_from="hello@example.com", client=client)
            made = known.make(known.settings(_env_file=None, **settings), place)
            sender: Sender = Errands(made) if by.startswith("errands/") else made
            try:
                return await sender.send(to(spoken.to))
            finally:
                assert spoken.makes in wire.asked

    return go


def test_they_are_all_here() -> None:
    made = {n: known.make(known.settings(_env_file=None), Place()) for n, known in CONNECTORS.items() if n != "smtp"}
    assert {name for name, one in made.items() if isinstance(one, Sender)} == set(SENDERS)
    assert {name for name, one in made.items() if isinstance(one, Crm)} == set(CRMS)


@pytest.mark.parametrize("by", EVERY)
@pytest.mark.parametrize(
    "end",
    [
        pytest.param(cut(httpx.ReadTimeout), id="no answer in time"),
        pytest.param(cut(httpx.RemoteProtocolError), id="closed after the request was written"),
        pytest.param(cut(httpx.ReadError), id="reset after the request was written"),
        pytest.param(cut(httpx.WriteError), id="closed while the request was written"),
        pytest.param(status(408), id="408"),
        pytest.param(status(500), id="500"),
        pytest.param(status(502), id="502"),
        pytest.param(status(504), id="504"),
        pytest.param(lambda _: httpx.Response(200, text="<html>"), id="unreadable"),
    ],
)
async def test_what_may_have_been_carried_out_is_unknown(send: Send, by: str, end: End) -> None:
    with pytest.raises(ConnectorError) as caught:
        await send(by, end)
    assert type(caught.value) is Unknown


@pytest.mark.parametrize("by", EVERY)
@pytest.mark.parametrize(
    "end",
    [
        pytest.param(cut(httpx.ConnectError), id="no connection"),
        pytest.param(cut(httpx.ConnectTimeout), id="no connection in time"),
        pytest.param(cut(httpx.PoolTimeout), id="no room for a connection"),
        pytest.param(status(429), id="429"),
    ],
)
async def test_what_was_surely_not_carried_out_is_tried_again(send: Send, by: str, end: End) -> None:
    with pytest.raises(ConnectorError) as caught:
        await send(by, end)
    assert type(caught.value) is TryAgain


@pytest.mark.parametrize("by", sorted(set(EVERY) - NAMELESS))
@pytest.mark.parametrize("code", [200, 400, 401, 422, 429, 500])
async def test_an_error_names_the_request(send: Send, by: str, code: int) -> None:
    spoken = EVERY[by]
    with pytest.raises(ConnectorError) as caught:
        await send(by, lambda _: httpx.Response(code, json=spoken.refusal, headers=spoken.named))
    assert caught.value.request_id == "req-1"


@pytest.mark.parametrize("by", SENDERS)
async def test_what_is_accepted_names_the_request(send: Send, by: str) -> None:
    """Where the provider does so in its headers. A CRM gives a task's id and no more."""
    spoken = SENDERS[by]
    headers = {**spoken.headers, **spoken.named}
    accepted = await send(by, lambda _: httpx.Response(200, json=spoken.made, headers=headers))
    assert accepted.provider_id
    assert accepted.request_id == ("req-1" if spoken.named else None)
