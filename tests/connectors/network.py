"""Every connector that acts, with settings enough to call out, on a network that writes down what it is asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from connectors.configured import CONNECTORS, Place

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "activecampaign": {
        "base_url": "https://acme.api-us1.com",
        "api_token": "token",
        "lists": {"promotional": ["3"]},
        "segment_tags": {"regulars": "9"},
        "stage_field": "4",
        "fields": {"plan": "5"},
    },
    "calendly": {"access_token": "token"},
    "chatbase": {"api_key": "key"},
    "clickfunnels": {
        "base_url": "https://acme.example.com/api/v2",
        "access_token": "token",
        "workspace_id": 7,
        "tags": {"purchase.completed": 1, "contact.erased": 2, "consent.withdrawn": 3, "message.complained": 4},
    },
    "customerio": {"site_id": "site", "api_key": "key"},
    "fillout": {"api_key": "key"},
    "gohighlevel": {"access_token": "token", "location_id": "ours", "custom_fields": {"plan": "f-1"}},
    "hubspot": {
        "access_token": "token",
        "subscriptions": {"promotional": [11]},
        "event_prefix": "pe5_perennial_",
        "event_properties": ["note"],
        "timeline_events": {"purchase.completed": "77"},
        "erase": True,
    },
    "intercom": {"access_token": "token", "admin_id": "1", "ticket_type_id": "2"},
    "klaviyo": {"api_key": "key"},
    "lob": {"api_key": "key", "sender": "adr_1"},
    "mailgun": {"api_key": "key", "domain": "mg.example.com"},
    "make": {"hook_url": "https://hook.eu1.make.com/abc"},
    "manychat": {"api_key": "key", "fields": {"first_name": "name"}},
    "postmark": {"server_token": "token"},
    "resend": {"api_key": "key"},
    "salesforce": {
        "instance_url": "https://acme.my.salesforce.com",
        "client_id": "id",
        "client_secret": "secret",
        "stage_field": "Stage__c",
        "event_fields": {"contact.erased": {"Erased__c": True}},
    },
    "sendgrid": {"api_key": "key"},
    "sendoso": {"client_id": "id", "client_secret": "secret", "refresh_token": "token", "touch_id": 1},
    "ses": {"region": "eu-central-1", "access_key_id": "id", "secret_access_key": "secret"},
    "slack": {"bot_token": "token", "channel": "C1"},
    "stripe": {"api_key": "sk_test_1"},
    "tremendous": {"api_key": "key", "funding_source": "balance", "campaign": "C1", "amount": "25.00"},
    "twilio": {"account_sid": "AC" + "0" * 32, "auth_token": "token", "from_number": "+15005550006"},
    "zendesk": {"subdomain": "acme", "oauth_token": "token"},
}
"""By connector; those of no system but a relay of mail, which is no vendor, are not here."""


def somebody(request: httpx.Request) -> httpx.Response:
    """What a system says that knows the person, and has no tasks, notes or messages of theirs."""
    lists = ("results", "contacts", "data", "records", "tickets", "users", "tasks", "notes", "dealTasks", "messages")
    token = {"access_token": "t", "token_type": "Bearer", "expires_in": 3600}
    one = {"id": "1", "contact": {"id": "1"}, "user": {"id": "1"}, "status": "success", "ok": True}
    return httpx.Response(200, json={**one, **{name: [] for name in lists}, **token})


Answer = Callable[[httpx.Request], httpx.Response]


def nobody(request: httpx.Request) -> httpx.Response:
    """What a system says that knows nobody: lists are empty, records are not there, what is written is taken."""
    if request.method == "GET" and request.url.host == "acme.example.com":
        return httpx.Response(200, json=[])
    if request.method == "GET" and request.url.host == "api.intercom.io":
        return httpx.Response(404)
    empty = {"results": [], "contacts": [], "data": [], "records": [], "contact": None}
    token = {"access_token": "t", "token_type": "Bearer", "expires_in": 3600}
    return httpx.Response(200, json={"id": "1", "status": "success", **empty, **token})


@dataclass
class Network:
    """Where calls go, and what was asked.

    Attributes:
        asked: ``POST api.example.com/path``, but for those that only read.
        sent: Of every call the address, what stands in its headers, and the body.
    """

    answer: Answer = nobody
    asked: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def made(self, name: str, **settings: Any) -> Any:
        """The connector of this name, on this network."""
        known = CONNECTORS[name]
        given = known.settings.model_validate({**SETTINGS[name], **settings})
        return known.make(given, Place(mail_from="Ann <ann@example.com>", client=self.client()))

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self._take))

    def _take(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(" ".join((str(request.url), *request.headers.values(), request.content.decode())))
        if request.method != "GET" and not _only_reads(request):
            self.asked.append(f"{request.method} {request.url.host}{request.url.path}")
        return self.answer(request)


def _only_reads(request: httpx.Request) -> bool:
    return request.url.path.endswith(("/search", "/token"))
