"""HubSpot: what changed in the CRM comes in; contacts, tasks and notes go out."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape, unescape
from typing import Any, ClassVar
from urllib.parse import quote

import httpx
from pydantic import Field, HttpUrl, RootModel, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from connectors import http
from connectors.base import Person, Refused, Request, Task
from connectors.errors import NeverAgain
from connectors.webhook import Body, check_age, check_signature, one_line_errors, secrets_in
from contacts.events import Event, PartlyUnderstood, event, identities

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class HubSpotSettings(BaseSettings):
    """``HUBSPOT_*``. The webhook secret is the app's client secret; several may stand side by side, with commas.

    ``signing_secret``, the name other connectors use, is understood as ``client_secret`` where settings are given
    as credentials.
    """

    model_config = SettingsConfigDict(
        env_prefix="HUBSPOT_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    client_secret: SecretStr | None = None
    access_token: SecretStr | None = None
    base_url: HttpUrl = HttpUrl("https://api.hubapi.com")

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "signing_secret" in values:
            values = {**values, "client_secret": values["signing_secret"]}
        return values


class HubSpot:
    """The ``Source`` of CRM changes, and the ``Crm`` that people in sales work in."""

    name: ClassVar[str] = "hubspot"

    def __init__(self, settings: HubSpotSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. Only signatures of version 3 are taken: older ones can be replayed for ever."""
        secrets = secrets_in(self._settings.client_secret)
        signature = request.headers.get("x-hubspot-signature-v3", "")
        sent = request.headers.get("x-hubspot-request-timestamp", "")
        if not signature:
            raise Refused(401, "there is no X-HubSpot-Signature-v3 header, and no other version is taken")
        if not (sent.isascii() and sent.isdigit() and len(sent) <= 14):
            raise Refused(400, "X-HubSpot-Request-Timestamp is not a number of milliseconds")
        url = _decoded(request.url)
        message = f"{request.method}{url}".encode(errors="replace") + request.body + sent.encode()
        check_signature(secrets, message, [signature], b64encode)
        check_age(_EPOCH + timedelta(milliseconds=int(sent)), now)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. One item we cannot read does not cost the others: they come with the error.

        Raises:
            PartlyUnderstood: Some items do not parse; those that do are in its ``events``.
        """
        with one_line_errors():
            items = _Batch.model_validate_json(request.body).root
        events: list[Event] = []
        faults: list[str] = []
        for position, item in enumerate(items):
            try:
                with one_line_errors():
                    events += _events(item)
            except ValueError as error:
                faults.append(f"item {position}: {error}")
        if faults:
            raise PartlyUnderstood(f"{faults[0]} ({len(faults)} of {len(items)} items do not parse)", events)
        return events

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
        properties = {name: value for name, value in traits.items() if value is not None}
        new = {"properties": {"email": person.email, **properties}, "associations": []}
        try:
            return (await self._ask("POST", "/crm/v3/objects/contacts", _Record, json=new)).id
        except http.Rejected as error:
            if error.status != 409:
                raise
        path = f"/crm/v3/objects/contacts/{quote(person.email, safe='')}"
        method, body = ("PATCH", {"properties": properties}) if properties else ("GET", None)
        return (await self._ask(method, path, _Record, params={"idProperty": "email"}, json=body)).id

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
        path = f"/crm/v3/objects/contacts/{quote(crm_id, safe='')}"
        contact = await self._ask("GET", path, _Record, params={"associations": kind})
        linked = contact.associations.get(kind, _Links()).results
        newest = sorted({link.id for link in linked}, key=lambda id: (len(id), id))[-100:]
        if newest:
            wanted = {"inputs": [{"id": id} for id in newest], "properties": [field], "propertiesWithHistory": []}
            found = await self._ask("POST", f"/crm/v3/objects/{kind}/batch/read", _Records, json=wanted)
            for record in found.results:
                if mark in unescape(record.properties.get(field) or ""):
                    return record.id
        link = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": association}
        new = {
            "properties": {**properties, field: escape(f"{text}\n\n{mark}", quote=False).replace("\n", "<br>")},
            "associations": [{"to": {"id": crm_id}, "types": [link]}],
        }
        return (await self._ask("POST", f"/crm/v3/objects/{kind}", _Record, json=new, idempotent=False)).id

    async def _ask(
        self,
        method: str,
        path: str,
        answer: type[http.Answer],
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        idempotent: bool = True,
    ) -> http.Answer:
        if not self._settings.access_token:
            raise NeverAgain(self.name, "no access token is set (HUBSPOT_ACCESS_TOKEN)")
        url = str(self._settings.base_url).rstrip("/") + path
        headers = {"Authorization": f"Bearer {self._settings.access_token.get_secret_value().strip()}"}
        request = self._client.build_request(method, url, params=params, json=json, headers=headers)
        return await http.call(self._client, _PROVIDER, request, answer, idempotent=idempotent)


class _Link(Body):
    id: str


class _Links(Body):
    results: list[_Link] = Field(default_factory=list)


class _Record(Body):
    id: str
    properties: dict[str, str | None] = Field(default_factory=dict)
    associations: dict[str, _Links] = Field(default_factory=dict)


class _Records(Body):
    results: list[_Record]


_DELAYS = {
    "SECONDLY": timedelta(seconds=1),
    "TEN_SECONDLY_ROLLING": timedelta(seconds=10),
    # The day's limit ends at midnight of the account's time zone, which we do not know.
    "DAILY": timedelta(hours=1),
}


def _refusal(response: httpx.Response) -> http.Refusal:
    body = http.body_of(response)
    policy = body.get("policyName")
    errors = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    request_id = body.get("correlationId")
    return http.Refusal(
        http.codes(body.get("category"), body.get("subCategory"), policy, first.get("code"), first.get("in")),
        request_id if isinstance(request_id, str) else response.headers.get("x-hubspot-correlation-id"),
        _DELAYS.get(policy) if isinstance(policy, str) else None,
    )


# 423: the record is locked for a moment. 477: the account is being moved, and Retry-After says for how long.
_PROVIDER = http.Provider("hubspot", busy=frozenset({423, 429, 477, 503}), read=_refusal)


def _milliseconds(moment: datetime) -> str:
    return str(int(moment.timestamp() * 1000))


def _decoded(url: str) -> str:
    """The URL as HubSpot signs it: these twelve escapes decoded, once, and no other."""
    return re.sub("%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", lambda found: chr(int(found[1], 16)), url, flags=re.I)


class _Batch(RootModel[list[Any]]):
    """A list of up to a hundred items; one item on its own is a batch of one."""

    @field_validator("root", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value


class _Kind(Body):
    subscriptionType: str
    objectTypeId: str | None = None

    def name(self) -> str:
        """``contact.creation``, also where the item comes in the generic form ``object.creation``."""
        family, _, change = self.subscriptionType.partition(".")
        named = {"0-1": "contact", "0-3": "deal"}.get(self.objectTypeId or "") if family == "object" else None
        return f"{named or family}.{change}"


class _Item(Body):
    eventId: int
    objectId: str
    occurredAt: int = Field(ge=0, lt=253_370_764_800_000)  # ms, to the end of the year 9998
    subscriptionId: int | None = None
    portalId: int | None = None
    changeSource: str | None = None
    propertyName: str | None = None
    propertyValue: str | None = None
    primaryObjectId: str | None = None
    mergedObjectIds: list[str] = Field(default_factory=list)
    newObjectId: str | None = None

    def say(self, type: str, who: Sequence[tuple[str, object]], data: Mapping[str, Any]) -> list[Event]:
        parts = (self.portalId, self.subscriptionId, self.eventId, self.objectId, self.occurredAt)
        source = {"change_source": self.changeSource} if self.changeSource else {}
        return [
            event(
                type,
                source=HubSpot.name,
                # The event id alone is not unique; the attempt number differs on every repeat.
                source_id="-".join(str(part) for part in parts),
                occurred_at=_EPOCH + timedelta(milliseconds=self.occurredAt),
                identities=identities(*who),
                data={**data, **source},
            )
        ]


def _created(item: _Item) -> list[Event]:
    return item.say("contact.identified", [("hubspot", item.objectId)], {})


def _contact_changed(item: _Item) -> list[Event]:
    # A field that was emptied does not make us forget what we know.
    if not item.propertyName or not item.propertyValue:
        return []
    trait = {"firstname": "first_name", "lastname": "last_name"}.get(item.propertyName, item.propertyName)
    who = [("hubspot", item.objectId), ("email", item.propertyValue if trait == "email" else None)]
    return item.say("contact.updated", who, {trait: item.propertyValue})


def _merged(item: _Item) -> list[Event]:
    kept = item.newObjectId or item.primaryObjectId or item.objectId
    gone = dict.fromkeys(id for id in (item.primaryObjectId, *item.mergedObjectIds) if id and id != kept)
    return item.say("contact.merged", [("hubspot", id) for id in (kept, *gone)], {"into": kept, "merged": list(gone)})


def _erased(item: _Item) -> list[Event]:
    return item.say("contact.erased", [("hubspot", item.objectId)], {})


def _deal_changed(item: _Item) -> list[Event]:
    # HubSpot names the deal and not its contacts, and a deal's number is no contact's.
    if item.propertyName != "dealstage" or not item.propertyValue:
        return []
    return item.say("deal.stage_changed", [], {"deal_id": item.objectId, "stage": item.propertyValue})


_READERS = {
    "contact.creation": _created,
    "contact.propertyChange": _contact_changed,
    "contact.merge": _merged,
    "contact.privacyDeletion": _erased,
    "deal.propertyChange": _deal_changed,
}


def _events(item: object) -> list[Event]:
    read = _READERS.get(_Kind.model_validate(item).name())
    return read(_Item.model_validate(item)) if read else []
