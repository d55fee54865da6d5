"""Intercom: contacts and events; the rest of what the connector asks is in no file."""

from collections.abc import Awaitable, Callable

import httpx
from pydantic import HttpUrl, SecretStr

from connectors.intercom import Intercom, IntercomSettings
from contract.cases.samples import AT, BARE, KEY, LONG, MANY, ORDINARY, PLAIN_TEXT, TASK, UNICODE, message, told
from contract.peer import Answer, Case, File, Run, Vendor

_ID = "6762f0dd1bb69f9f2193bb83"


def _ask(act: Callable[[Intercom], Awaitable[object]]) -> Run:
    async def run(client: httpx.AsyncClient, base_url: str) -> object:
        settings = IntercomSettings(
            access_token=SecretStr("token"), base_url=HttpUrl(base_url), admin_id="814860", ticket_type_id="1234"
        )
        return await act(Intercom(settings, client))

    return run


_NOBODY = {"POST /contacts/search": Answer({"data": []})}
_SOMEBODY = {"POST /contacts/search": Answer({"data": [{"id": _ID, "role": "user"}]})}
_MADE = {"GET": Answer({"data": []}), "POST": Answer({"id": "1"})}
_MANY = {f"field_{number}": "v" for number in range(12)}
_TRIMMED = "the file is trimmed to other paths"

VENDOR = Vendor(
    "intercom",
    files=(File("intercom-*.json"),),
    cases=(
        Case("a new contact", _ask(lambda intercom: intercom.upsert(ORDINARY)), _NOBODY),
        Case("a new contact with an address only", _ask(lambda intercom: intercom.upsert(BARE)), _NOBODY),
        Case("a new contact in unicode", _ask(lambda intercom: intercom.upsert(UNICODE)), _NOBODY),
        Case("a new contact of the longest fields", _ask(lambda intercom: intercom.upsert(LONG)), _NOBODY),
        Case("a known contact", _ask(lambda intercom: intercom.upsert(ORDINARY)), _SOMEBODY),
        Case("an event", _ask(lambda intercom: intercom.tell(told("resource.downloaded", resource="seo-guide")))),
        Case("an event of an id", _ask(lambda intercom: intercom.tell(told("page.viewed", ("intercom", _ID))))),
        Case(
            "an event of somebody known by many names, with values of all kinds",
            _ask(
                lambda intercom: intercom.tell(
                    told(
                        "purchase.completed",
                        *MANY,
                        value=4990,
                        share=0.5,
                        gift=True,
                        items=[1],
                        note="n" * 255,
                        **_MANY,
                    )
                )
            ),
        ),
        Case("a no", _ask(lambda intercom: intercom.tell(told("consent.withdrawn", channel="email"))), _SOMEBODY),
        Case("a no of a user", _ask(lambda intercom: intercom.tell(told("message.complained", *MANY)))),
        Case("a stage", _ask(lambda intercom: intercom.stage(_ID, "customer"))),
        Case("an address", _ask(lambda intercom: intercom.email(_ID))),
        Case(
            "a task",
            _ask(lambda intercom: intercom.task(_ID, TASK)),
            {"POST /tickets/search": Answer({"tickets": []}), "POST /tickets": Answer({"id": "1"})},
        ),
        Case(
            "a note",
            _ask(lambda intercom: intercom.note(_ID, KEY, PLAIN_TEXT, AT)),
            {f"{method} /contacts/{_ID}/notes": answer for method, answer in _MADE.items()},
        ),
        Case("a message", _ask(lambda intercom: intercom.send(message("alice@example.com"))), _SOMEBODY),
    ),
    operations=("POST /contacts", "POST /contacts/search", "POST /events"),
    absent={
        "GET /contacts/{id}": _TRIMMED,
        "PUT /contacts/{id}": _TRIMMED,
        "GET /contacts/find_by_external_id/{external_id}": _TRIMMED,
        "GET /contacts/{id}/notes": _TRIMMED,
        "POST /contacts/{id}/notes": _TRIMMED,
        "POST /messages": _TRIMMED,
        "POST /tickets": _TRIMMED,
        "POST /tickets/search": _TRIMMED,
    },
)
