"""HubSpot: contacts, tasks, deals, lists, custom events and communication preferences."""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httpx

from connectors.base import Person
from connectors.hubspot import HubSpot, HubSpotSettings
from contract import preparation
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
    told,
)  # fmt: skip
from contract.peer import Answer, Case, File, Run, Vendor

_CONTACTS = "/crm/v3/objects/contacts"
_STATUSES = "/communication-preferences/v4/statuses"
_SUBSCRIPTIONS = {"promotional": (101,), "lifecycle": (102, 101)}


def _ask(act: Callable[[HubSpot], Awaitable[object]], **settings: Any) -> Run:
    async def run(client: httpx.AsyncClient, base_url: str) -> object:
        made = {"access_token": "pat-eu1-test", "base_url": base_url, **settings}
        return await act(HubSpot(HubSpotSettings.model_validate(made), client))

    return run


def _linked(kind: str) -> Answer:
    return Answer({"id": "512", "associations": {kind: {"results": [{"id": str(n)} for n in range(1, 121)]}}})


_TAKEN = {f"POST {_CONTACTS}": Answer({"category": "CONFLICT"}, 409)}
_WALK = {"since": 1773480000000, "after": "100"}
_CURSOR = json.dumps({"begun": AT.isoformat(), "deals": _WALK, "contacts": _WALK})
_STATUS = {"status": "UNSUBSCRIBED", "timestamp": "2026-01-01T00:00:00Z", "subscriptionId": 101}
_CHANGES = {
    "POST /crm/v3/objects/deals/search": Answer({"results": [{"id": "7"}]}),
    "GET /crm/v3/objects/deals/7": Answer({"id": "7", "associations": {"contacts": {"results": [{"id": "512"}]}}}),
    f"POST {_CONTACTS}/search": Answer({"results": [{"id": "512", "properties": {"email": "alice@example.com"}}]}),
}
_UNREAD = {
    f"POST {_STATUSES}/batch/read": Answer({"results": [], "errors": [{}]}),
    f"POST {_STATUSES}/batch/unsubscribe-all/read": Answer({"results": [], "errors": [{}]}),
}
_SAID = {
    f"GET {_STATUSES}/alice@example.com/unsubscribe-all": Answer({"results": []}),
    f"GET {_STATUSES}/alice@example.com": Answer({"results": [_STATUS]}),
}
_NOTES = "no file describes notes"
_EVENTS = {"event_prefix": "pe123456_perennial_", "event_properties": ("resource", "value", "note")}
_TIMELINE = {"timeline_events": {"purchase.completed": "1001298"}, "event_properties": ("order_id", "value", "note")}
_ID = ("hubspot", "512")

VENDOR = Vendor(
    "hubspot",
    files=(
        File("hubspot-contacts-v3.json"),
        File("hubspot-tasks-v3.json"),
        # Prism takes minutes to read how a list's filters nest, and we set none.
        File("hubspot-lists-v3.json", (partial(preparation.with_paths_like, pattern=r"/memberships(/|$)"),)),
        File("hubspot-communication-preferences-v4.json"),
        File("hubspot-events-send-v3.json"),
        File("hubspot-timeline-v3.json", (partial(preparation.with_paths_like, pattern=r"/timeline/v3/events$"),)),
        # 0-3 is the number of the type that is called deals.
        File("hubspot-deals-v3.json", (partial(preparation.with_path, theirs="/objects/0-3", ours="/objects/deals"),)),
    ),
    edits=(
        preparation.without_null_examples,
        preparation.with_json_answers,
        preparation.with_bearer,
        preparation.with_said_errors,
    ),
    cases=(
        Case("a new contact", _ask(lambda crm: crm.upsert(ORDINARY))),
        Case("a new contact with an address only", _ask(lambda crm: crm.upsert(BARE))),
        Case("a new contact in unicode", _ask(lambda crm: crm.upsert(UNICODE))),
        Case(
            "a new contact of the longest fields",
            _ask(
                lambda crm: crm.upsert(
                    Person(LONG.email, LONG.first_name, properties={"note": "n" * 65_536, "empty": ""})
                )
            ),
        ),
        Case("a known contact", _ask(lambda crm: crm.upsert(ORDINARY)), _TAKEN),
        Case("a known contact with an address only", _ask(lambda crm: crm.upsert(BARE)), _TAKEN),
        Case("a known contact in unicode", _ask(lambda crm: crm.upsert(UNICODE)), _TAKEN),
        Case("a task", _ask(lambda crm: crm.task("512", TASK))),
        Case("a task for an owner's number", _ask(lambda crm: crm.task("512", BARE_TASK))),
        Case(
            "a task of the longest fields, among many",
            _ask(lambda crm: crm.task("512", LONG_TASK)),
            {
                f"GET {_CONTACTS}/512": _linked("tasks"),
                "POST /crm/v3/objects/tasks/batch/read": Answer({"results": []}),
            },
        ),
        Case(
            "a note among many",
            _ask(lambda crm: crm.note("512", KEY, PLAIN_TEXT, AT)),
            {
                f"GET {_CONTACTS}/512": _linked("notes"),
                "POST /crm/v3/objects/notes/batch/read": Answer({"results": []}),
            },
        ),
        Case("a stage", _ask(lambda crm: crm.stage("512", "customer"))),
        Case("a stage in a property", _ask(lambda crm: crm.stage("512", "lapsed"), stage_property="perennial_stage")),
        Case(
            "a no",
            _ask(
                lambda crm: crm.tell(told("consent.withdrawn", channel="email", purpose="promotional")),
                subscriptions=_SUBSCRIPTIONS,
            ),
        ),
        Case(
            "a no of every address to every kind of lifecycle mail",
            _ask(
                lambda crm: crm.tell(told("consent.withdrawn", *MANY, purpose="lifecycle")),
                subscriptions=_SUBSCRIPTIONS,
            ),
        ),
        Case(
            "a complaint", _ask(lambda crm: crm.tell(told("message.complained", *MANY)), subscriptions=_SUBSCRIPTIONS)
        ),
        Case(
            "a yes after an older no",
            _ask(
                lambda crm: crm.tell(told("consent.granted", channel="email", purpose="all")),
                subscriptions=_SUBSCRIPTIONS,
            ),
            _SAID,
        ),
        Case(
            "a yes that rests on a contract",
            _ask(
                lambda crm: crm.tell(told("consent.granted", purpose="lifecycle")),
                subscriptions=_SUBSCRIPTIONS,
                legal_basis="PERFORMANCE_OF_CONTRACT",
            ),
            _SAID,
        ),
        Case(
            "a segment",
            _ask(lambda crm: crm.tell(told("segment.joined", segment="regulars")), segment_lists={"regulars": "42"}),
        ),
        Case(
            "a segment left",
            _ask(lambda crm: crm.tell(told("segment.left", segment="regulars")), segment_lists={"regulars": "42"}),
        ),
        Case(
            "a segment left by id",
            _ask(lambda crm: crm.tell(told("segment.left", _ID, segment="regulars")), segment_lists={"regulars": "42"}),
        ),
        Case("an erasure", _ask(lambda crm: crm.tell(told("contact.erased", *MANY)), erase=True)),
        Case("an erasure by id", _ask(lambda crm: crm.tell(told("contact.erased", _ID)), erase=True)),
        Case("an event", _ask(lambda crm: crm.tell(told("resource.downloaded", resource="seo-guide")), **_EVENTS)),
        Case("an event without data", _ask(lambda crm: crm.tell(told("custom.seen", _ID)), **_EVENTS)),
        Case(
            "an event with values of all kinds",
            _ask(lambda crm: crm.tell(told("purchase.completed", *MANY, value=4990, note="Grüße 🌱" * 146)), **_EVENTS),
        ),
        Case("an event on the timeline", _ask(lambda crm: crm.tell(told("purchase.completed", _ID)), **_TIMELINE)),
        Case(
            "an event with values of all kinds on the timeline",
            _ask(
                lambda crm: crm.tell(told("purchase.completed", *MANY, value=4990, note="Grüße 🌱" * 500)), **_TIMELINE
            ),
        ),
        Case("the first poll", _ask(lambda crm: crm.poll(None, AT), subscriptions=_SUBSCRIPTIONS), _CHANGES),
        Case("a poll", _ask(lambda crm: crm.poll(_CURSOR, AT), subscriptions=_SUBSCRIPTIONS), _CHANGES),
        Case(
            "a poll where a batch cannot be read",
            _ask(lambda crm: crm.poll(_CURSOR, AT), subscriptions=_SUBSCRIPTIONS),
            {**_CHANGES, **_UNREAD},
        ),
        Case("a poll as the mock answers it", _ask(lambda crm: crm.poll(_CURSOR, AT), subscriptions=_SUBSCRIPTIONS)),
    ),
    operations=(
        f"POST {_CONTACTS}",
        f"GET {_CONTACTS}/{{contactId}}",
        f"PATCH {_CONTACTS}/{{contactId}}",
        f"POST {_CONTACTS}/search",
        f"POST {_CONTACTS}/batch/read",
        f"POST {_CONTACTS}/gdpr-delete",
        "POST /crm/v3/objects/tasks",
        "POST /crm/v3/objects/tasks/batch/read",
        "POST /crm/v3/objects/deals/search",
        "GET /crm/v3/objects/deals/{dealId}",
        "PUT /crm/v3/lists/{listId}/memberships/add",
        "PUT /crm/v3/lists/{listId}/memberships/remove",
        "POST /events/v3/send",
        "POST /integrators/timeline/v3/events",
        f"GET {_STATUSES}/{{subscriberIdString}}",
        f"POST {_STATUSES}/{{subscriberIdString}}",
        f"GET {_STATUSES}/{{subscriberIdString}}/unsubscribe-all",
        f"POST {_STATUSES}/{{subscriberIdString}}/unsubscribe-all",
        f"POST {_STATUSES}/batch/read",
        f"POST {_STATUSES}/batch/unsubscribe-all/read",
    ),
    absent={"POST /crm/v3/objects/notes": _NOTES, "POST /crm/v3/objects/notes/batch/read": _NOTES},
    remarks=(
        "the names and values of properties, of custom events and of a template's tokens are the account's own, and no "
        "file has them",
        "the connector makes no merge or webhook request",
    ),
)
