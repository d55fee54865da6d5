"""HubSpot: what changed in the CRM comes in; contacts, tasks, notes, stages and what happened go out."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from html import escape, unescape
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

import httpx
from pydantic import Field, HttpUrl, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from connectors import http, hubspot_poll, hubspot_webhooks
from connectors.base import Person, Polled, Request, Task, Told
from connectors.credentials import Credentials
from connectors.errors import NeverAgain
from connectors.fields import checked
from connectors.hubspot_api import CONTACTS, Api, Links, Record, Records
from connectors.hubspot_preferences import LegalBasis, Preferences, Subscriptions
from connectors.limits import Limits
from connectors.webhook import Body
from contacts.events import TYPE_PATTERN, Event

# Of a record's properties; of a custom event's; of what an event on the timeline says, each by itself and all of it.
_LIMITS = Limits("hubspot", each=65_536)
_EVENT = Limits("hubspot", each=1_024, fields=50)
_EACH_ON_TIMELINE = Limits("hubspot", each=510_000, unit="bytes")
_ON_TIMELINE = Limits("hubspot", named={"data": 1_000_000}, unit="bytes")


class HubSpotSettings(Credentials):
    """``HUBSPOT_*``. The webhook secret is the app's client secret; several may stand side by side, with commas.

    ``signing_secret``, the name other connectors use, is understood as ``client_secret`` where settings are given
    as credentials.

    Attributes:
        subscriptions: The ids of HubSpot's subscription types that serve a purpose of ours; without any, HubSpot is
            not asked who may be mailed.
        legal_basis: What HubSpot is told a subscription rests on.
        stage_property: The contact property that says where a contact stands with us.
        stage_values: HubSpot's value for a stage of ours, where it is another than usual.
        segment_lists: The id of the static list of a segment.
        event_prefix: What the names of custom events begin with, HubSpot's own ``pe<account>_`` included.
        timeline_events: By what a type of event stands on a contact's timeline: the id of an event template (digits)
            or the full name of an app event (``ae<app>_...``). Such a type becomes no custom event.
        event_properties: Fields of an event's data that go along; HubSpot must have a property, or the template a
            token, of each name.
        erase: Whether a contact who is erased here is erased for good in HubSpot too.
    """

    model_config = SettingsConfigDict(env_prefix="HUBSPOT_")

    client_secret: SecretStr | None = None
    access_token: SecretStr | None = None
    base_url: HttpUrl = HttpUrl("https://api.hubapi.com")
    calls_per_second: Annotated[float, Field(gt=0)] | None = 10
    subscriptions: Subscriptions = Field(default_factory=dict)
    legal_basis: LegalBasis = "CONSENT_WITH_NOTICE"
    stage_property: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = "lifecyclestage"
    stage_values: Mapping[str, str] = Field(default_factory=dict)
    segment_lists: Mapping[str, Annotated[str, Field(pattern=r"^\d+$")]] = Field(default_factory=dict)
    event_prefix: Annotated[str, Field(pattern=r"^pe\d+_[a-z0-9_]*$")] | None = None
    timeline_events: Mapping[str, Annotated[str, Field(pattern=r"^(\d+|ae\d+_[A-Za-z0-9_-]+)$")]] = Field(
        default_factory=dict
    )
    event_properties: tuple[str, ...] = ()
    erase: bool = False

    @field_validator("timeline_events")
    @classmethod
    def _have_a_type(cls, templates: Mapping[str, str]) -> Mapping[str, str]:
        for type in templates:
            if not TYPE_PATTERN.fullmatch(type):
                raise ValueError(f"{type} is no type of event, such as page.viewed")
            if type in _HAVE_A_PLACE:
                raise ValueError(f"{type} is told in another way")
        return templates

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "signing_secret" in values:
            values = {**values, "client_secret": values["signing_secret"]}
        return values


_HAVE_A_PLACE = frozenset({
    "consent.granted", "consent.withdrawn", "message.unsubscribed", "message.complained",
    "segment.joined", "segment.left", "contact.erased",
})  # fmt: skip
"""Events for which HubSpot has a place of its own."""

_FUNNEL = (
    "subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead", "opportunity", "customer", "evangelist",
    "other",
)  # fmt: skip
"""HubSpot's own lifecycle stages, in the order in which a contact moves through them."""

_LIFECYCLE: Mapping[str, str | None] = {
    "visitor": "subscriber",
    "lead": "lead",
    "interested": "marketingqualifiedlead",
    "in_talks": "salesqualifiedlead",
    "new_customer": "customer",
    "customer": "customer",
    "at_risk": "customer",
    # HubSpot's funnel has no word for somebody who went.
    "lapsed": None,
    "former": None,
}


@checked
class HubSpot:
    """The ``Source`` and ``Poller`` of CRM changes, the ``Crm`` that people in sales work in, and a ``Sink``."""

    name: ClassVar[str] = "hubspot"
    every: ClassVar[timedelta] = timedelta(minutes=5)

    def __init__(self, settings: HubSpotSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._api = Api(str(settings.base_url), settings.access_token, client or http.new_client())
        self._preferences = Preferences(self._api, settings.subscriptions, settings.legal_basis)

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. Only signatures of version 3 are taken: older ones can be replayed for ever."""
        hubspot_webhooks.verify(self._settings.client_secret, request, now)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. One item we cannot read does not cost the others: they come with the error.

        Raises:
            PartlyUnderstood: Some items do not parse; those that do are in its ``events``.
        """
        return hubspot_webhooks.parse(request.body, self._preferences.purposes)

    async def poll(self, cursor: str | None, now: datetime) -> Polled:
        """See ``Poller.poll``: whose deal moved, and who may be mailed; the webhooks say neither."""
        return await hubspot_poll.poll(self._api, self._preferences, cursor, now)

    async def upsert(self, person: Person) -> str:
        """See ``Crm.upsert``.

        Creates first, because only a create is checked for uniqueness: of two at once, one wins and the other finds
        the address taken and updates. The address itself is not updated, as it may be a contact's second one.
        """
        traits = {
            "firstname": person.first_name,
            "lastname": person.last_name,
            "phone": person.phone,
            "company": person.company,
            **person.properties,
        }
        properties = _LIMITS.check({name: value for name, value in traits.items() if value is not None})
        new = {"properties": {"email": person.email, **properties}, "associations": []}
        try:
            return (await self._api.ask("POST", CONTACTS, Record, json=new)).id
        except http.Rejected as error:
            if error.status != 409:
                raise
        path = f"{CONTACTS}/{quote(person.email, safe='')}"
        method, body = ("PATCH", {"properties": properties}) if properties else ("GET", None)
        return (await self._api.ask(method, path, Record, params={"idProperty": "email"}, json=body)).id

    async def task(self, crm_id: str, task: Task) -> str:
        """See ``Crm.task``; ``_once`` says how a key makes one task."""
        # HubSpot knows owners by number; any other name of one is for people to read.
        numbered = task.owner if task.owner and task.owner.isdigit() else None
        body = task.body if numbered or not task.owner else f"{task.body}\n\nFor {task.owner}"
        properties = {
            "hs_timestamp": _milliseconds(task.due),
            "hs_task_subject": task.title,
            "hs_task_status": "NOT_STARTED",
            "hs_task_type": "TODO",
            **({"hubspot_owner_id": numbered} if numbered else {}),
        }
        return await self._once("tasks", 204, crm_id, task.key, "hs_task_body", body, properties)

    async def note(self, crm_id: str, key: str, body: str, at: datetime) -> str:
        """See ``Crm.note``; ``_once`` says how a key makes one note."""
        return await self._once("notes", 202, crm_id, key, "hs_note_body", body, {"hs_timestamp": _milliseconds(at)})

    async def _once(
        self, kind: str, association: int, crm_id: str, key: str, field: str, text: str, properties: Mapping[str, str]
    ) -> str:
        """Creates a task or note on a contact unless the contact has one with this key; returns its id.

        HubSpot takes no idempotency key, and its search lags behind writes. So the key is written at the foot of the
        text, and before a create the contact's newest hundred are read: the records, not the index. Two creates at the
        very same moment can still make two.
        """
        mark = f"[perennial {key}]"
        written = escape(f"{text}\n\n{mark}", quote=False).replace("\n", "<br>")
        link = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": association}
        new = {
            "properties": _LIMITS.check({**properties, field: written}),
            "associations": [{"to": {"id": crm_id}, "types": [link]}],
        }
        path = f"{CONTACTS}/{quote(crm_id, safe='')}"
        contact = await self._api.ask("GET", path, Record, params={"associations": kind})
        linked = contact.associations.get(kind, Links()).results
        newest = sorted({link.id for link in linked}, key=lambda id: (len(id), id))[-100:]
        if newest:
            wanted = {"inputs": [{"id": id} for id in newest], "properties": [field], "propertiesWithHistory": []}
            found = await self._api.ask("POST", f"/crm/v3/objects/{kind}/batch/read", Records, json=wanted)
            for record in found.results:
                if mark in unescape(record.properties.get(field) or ""):
                    return record.id
        return (await self._api.ask("POST", f"/crm/v3/objects/{kind}", Record, json=new, idempotent=False)).id

    async def stage(self, crm_id: str, stage: str) -> None:
        """See ``Crm.stage``.

        HubSpot's own funnel goes one way: a contact whom somebody has moved further than we would is left there.
        """
        name = self._settings.stage_property
        value = self._stage_value(stage)
        if value is None:
            return
        path = f"{CONTACTS}/{quote(crm_id, safe='')}"
        stands = (await self._api.ask("GET", path, Record, params={"properties": name})).properties.get(name)
        if stands == value or (name == "lifecyclestage" and _is_further(stands, value)):
            return
        await self._api.ask("PATCH", path, Record, json={"properties": {name: value}})

    def _stage_value(self, stage: str) -> str | None:
        if stage in self._settings.stage_values:
            return self._settings.stage_values[stage]
        if self._settings.stage_property != "lifecyclestage":
            return stage
        if stage not in _LIFECYCLE:
            raise NeverAgain(self.name, "no such stage")
        return _LIFECYCLE[stage]

    async def tell(self, told: Told) -> str | None:
        """See ``Sink.tell``.

        Consent goes to the communication preferences, a segment to its static list, an erasure to HubSpot's own.
        Anything else stands on the timeline if a template or an app event is set for it, and is a custom event if none
        is. Whoever HubSpot cannot know, having no address and no id, is left out.
        """
        match told.type:
            case "consent.withdrawn" | "message.unsubscribed" | "message.complained":
                await self._preferences.withdraw(told)
            case "consent.granted":
                await self._preferences.grant(told)
            case "segment.joined" | "segment.left":
                await self._list(told)
            case "contact.erased":
                await self._erase(told)
            case _:
                await self._happened(told)
        return None

    async def _list(self, told: Told) -> None:
        list_id = self._settings.segment_lists.get(str(told.data.get("segment")))
        if list_id is None:
            return
        joined, email = told.type == "segment.joined", told.known_as("email")
        contact = told.known_as("hubspot")
        if contact is None and email is not None:
            contact = await (self.upsert(Person(email)) if joined else self._api.contact_with(email))
        if contact is None:
            return
        path = f"/crm/v3/lists/{list_id}/memberships/{'add' if joined else 'remove'}"
        answer = await self._api.ask("PUT", path, _Membership, json=[contact])
        if joined and contact in answer.recordIdsMissing:
            raise NeverAgain(self.name, "the contact is no longer there under this id")

    async def _erase(self, told: Told) -> None:
        if not self._settings.erase:
            raise NeverAgain(self.name, "is not allowed to erase (HUBSPOT_ERASE)")
        ids = [{"objectId": i.value} for i in told.identities if i.kind == "hubspot"]
        addresses = [{"objectId": i.value, "idProperty": "email"} for i in told.identities if i.kind == "email"]
        # By id HubSpot erases whatever addresses the contact has there, the same ones or others.
        for body in ids or addresses:
            try:
                await self._api.ask("POST", f"{CONTACTS}/gdpr-delete", http.Unread, json=body)
            except http.Rejected as error:
                if error.status != 404:
                    raise

    async def _happened(self, told: Told) -> None:
        kind, prefix = self._settings.timeline_events.get(told.type), self._settings.event_prefix
        if kind is None and prefix is None:
            unset = "HUBSPOT_EVENT_PREFIX, HUBSPOT_TIMELINE_EVENTS"
            raise NeverAgain(
                self.name, f"no name for custom events is set, and nothing on the timeline for {told.type} ({unset})"
            )
        contact, email = told.known_as("hubspot"), told.known_as("email")
        if contact is None and email is None:
            return
        # Only one of them: an address that comes with an id would become the contact's.
        whose = {"objectId": contact} if contact else {"email": email}
        given = {name: told.data.get(name) for name in self._settings.event_properties}
        said = {n: v if isinstance(v, str) else str(v) for n, v in given.items() if v is not None}
        if kind is not None:
            await self._on_timeline(kind, told, said, whose)
            return
        body = {
            "eventName": f"{prefix}{re.sub(r'[^a-z0-9_]', '_', told.type)}",
            # Within one kind of event HubSpot takes an id once.
            "uuid": told.id,
            "occurredAt": told.occurred_at.isoformat(),
            "properties": _EVENT.check(said),
            **whose,
        }
        await self._api.ask("POST", "/events/v3/send", http.Unread, json=body)

    async def _on_timeline(self, kind: str, told: Told, said: Mapping[str, str], whose: Mapping[str, Any]) -> None:
        _ON_TIMELINE.check({"data": _EACH_ON_TIMELINE.check(said)})
        body = {"id": told.id, "timestamp": told.occurred_at.isoformat(), **whose}
        if kind.isdigit():
            version, body = "v3", {"eventTemplateId": kind, "tokens": said, **body}
        else:
            version, body = "2026-03", {"eventTypeName": kind, "properties": said, **body}
        try:
            await self._api.ask("POST", f"/integrators/timeline/{version}/events", http.Unread, json=body)
        except http.Rejected as error:
            if error.status != 409:  # an event with this id is there already
                raise


class _Membership(Body):
    recordIdsMissing: list[str] = Field(default_factory=list)


def _is_further(stands: str | None, value: str) -> bool:
    return stands in _FUNNEL and value in _FUNNEL and _FUNNEL.index(stands) > _FUNNEL.index(value)


def _milliseconds(moment: datetime) -> str:
    return str(int(moment.timestamp() * 1000))
