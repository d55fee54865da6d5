"""GoHighLevel: contacts, tasks, notes, tags and Do Not Disturb."""

from collections.abc import Awaitable, Callable

import httpx
from pydantic import HttpUrl, SecretStr

from connectors.base import Person
from connectors.gohighlevel import GoHighLevel, GoHighLevelSettings
from contract.cases.samples import (
    AT,
    BARE,
    BARE_TASK,
    KEY,
    LONG,
    LONG_TASK,
    MANY,
    ORDINARY,
    PLAIN_TEXT,
    TASK,
    UNICODE,
    UNICODE_TEXT,
    told,
)  # fmt: skip
from contract.peer import Answer, Case, File, Run, Vendor

_ID = "seD4PfOuKoVMLkEZqohJ"
_CONTACT = f"/contacts/{_ID}"
_KNOWN_AS = ("gohighlevel", _ID)


def _ask(act: Callable[[GoHighLevel], Awaitable[object]], stage_field: str | None = None) -> Run:
    async def run(client: httpx.AsyncClient, base_url: str) -> object:
        settings = GoHighLevelSettings(
            access_token=SecretStr("token"),
            location_id="ve9EPM428h8vShlRW1KT",
            base_url=HttpUrl(base_url),
            stage_field=stage_field,
            custom_fields={"shop_kind": "6dvNaf7VhkQ9snc5vnjJ", "note": "zbvUEmXqV0kYcPSoKKVa"},
        )
        return await act(GoHighLevel(settings, client))

    return run


def _contact(**fields: object) -> Answer:
    return Answer({"contact": {"id": _ID, **fields}})


_PLAIN = {f"GET {_CONTACT}": _contact(), "GET /contacts/search/duplicate": _contact()}
_REFUSED = {"Email": {"status": "active", "code": "perennial", "message": "2026-01-01T00:00:00.000Z"}}
_SAID_NO = {f"GET {_CONTACT}": _contact(dndSettings=_REFUSED)}
_CURSOR = '{"since":"2026-03-14T09:00:00Z","newest":"2026-03-14T09:00:00Z"}'
_NONE = {f"GET {_CONTACT}/tasks": Answer({"tasks": []}), f"GET {_CONTACT}/notes": Answer({"notes": []})}

VENDOR = Vendor(
    "gohighlevel",
    files=(File("gohighlevel-*.json"),),
    cases=(
        Case("a contact", _ask(lambda crm: crm.upsert(ORDINARY))),
        Case("a contact with an address only", _ask(lambda crm: crm.upsert(BARE))),
        Case("a contact in unicode", _ask(lambda crm: crm.upsert(UNICODE))),
        Case("a contact of the longest fields", _ask(lambda crm: crm.upsert(LONG))),
        Case(
            "a contact with own fields",
            _ask(lambda crm: crm.upsert(Person("alice@example.com", properties={"shop_kind": "garden", "note": ""}))),
        ),
        Case("a task", _ask(lambda crm: crm.task(_ID, TASK)), _NONE),
        Case("a task without a text", _ask(lambda crm: crm.task(_ID, BARE_TASK)), _NONE),
        Case("a task of the longest fields", _ask(lambda crm: crm.task(_ID, LONG_TASK)), _NONE),
        Case("a note", _ask(lambda crm: crm.note(_ID, KEY, PLAIN_TEXT, AT)), _NONE),
        Case("a note in unicode", _ask(lambda crm: crm.note(_ID, KEY, UNICODE_TEXT, AT)), _NONE),
        Case("a stage as a field", _ask(lambda crm: crm.stage(_ID, "customer"), "6dvNaf7VhkQ9snc5vnjJ")),
        Case(
            "a stage as a tag",
            _ask(lambda crm: crm.stage(_ID, "customer")),
            {f"GET {_CONTACT}": _contact(tags=["perennial stage lead", "vip"])},
        ),
        Case(
            "traits",
            _ask(lambda crm: crm.tell(told("contact.updated", *MANY, first_name="Zoë", timezone="Europe/Berlin"))),
        ),
        Case("a no", _ask(lambda crm: crm.tell(told("consent.withdrawn", _KNOWN_AS, channel="email"))), _PLAIN),
        Case("a no by address", _ask(lambda crm: crm.tell(told("consent.withdrawn", channel="email"))), _PLAIN),
        Case("a complaint", _ask(lambda crm: crm.tell(told("message.complained", *MANY))), _PLAIN),
        Case("a yes", _ask(lambda crm: crm.tell(told("consent.granted", _KNOWN_AS, channel="email"))), _SAID_NO),
        Case("a segment", _ask(lambda crm: crm.tell(told("segment.joined", _KNOWN_AS, segment="regulars")))),
        Case("a segment left", _ask(lambda crm: crm.tell(told("segment.left", _KNOWN_AS, segment="regulars")))),
        Case("a poll", _ask(lambda crm: crm.poll(_CURSOR, AT))),
        Case("a further page", _ask(lambda crm: crm.poll(_CURSOR[:-1] + ',"after":[1741944600000,"abc"]}', AT))),
    ),
    operations=(
        "POST /contacts/upsert",
        "GET /contacts/{contactId}",
        "PUT /contacts/{contactId}",
        "GET /contacts/search/duplicate",
        "POST /contacts/search",
        "GET /contacts/{contactId}/tasks",
        "POST /contacts/{contactId}/tasks",
        "GET /contacts/{contactId}/notes",
        "POST /contacts/{contactId}/notes",
        "POST /contacts/{contactId}/tags",
        "DELETE /contacts/{contactId}/tags",
    ),
    remarks=("POST /contacts/search: the spec says nothing of what its body holds, so its fields are not judged",),
)
