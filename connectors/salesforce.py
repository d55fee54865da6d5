"""Salesforce: changes in the CRM come in, asked for or told by a flow; contacts, tasks, notes and consent go out."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, NamedTuple
from urllib.parse import quote

import httpx
from pydantic import Field, HttpUrl, SecretStr
from pydantic_settings import SettingsConfigDict

from connectors import http, salesforce_poll
from connectors.base import Person, Polled, Request, Task, Told
from connectors.credentials import Credentials
from connectors.errors import NeverAgain, TryAgain
from connectors.fields import checked
from connectors.limits import Limits
from connectors.salesforce_api import FIELD, ID, Api, MaybeSaved, Saved, record_id, text
from connectors.webhook import Body, Moment, check_secret, one_line_errors, secrets_in
from contacts.events import Event, event, identities

FieldName = Annotated[str, Field(pattern=FIELD)]

_LIMITS = Limits(
    "salesforce",
    # The longest kind of text field there is; an org's own fields take less, and refuse the rest themselves.
    each=131_072,
    named={
        "FirstName": 40,
        "LastName": 80,
        "Email": 80,
        "Phone": 40,
        "Company": 255,
        "Subject": 255,
        "Description": 32_000,
    },
)


class SalesforceSettings(Credentials):
    """``SALESFORCE_*``. A flow's callout carries ``signing_secret``; several may stand side by side, with commas.

    Attributes:
        instance_url: The org's own address ("My Domain"), also that of a sandbox.
        object: What a person becomes who is not there yet.
        key_field: A text field of that object, external id and unique, that holds the address a person is known by.
        stage_field: The field that says where a contact stands with us; None: Salesforce is not told.
        stage_values: Salesforce's value for a stage of ours, where it is another word.
        opt_out: What ``HasOptedOutOfEmail`` is a no to.
        event_fields: Fields to set on the person when something happens, by event type; a segment is named after a
            colon (``segment.joined:vip``).
    """

    model_config = SettingsConfigDict(env_prefix="SALESFORCE_")

    signing_secret: SecretStr | None = None
    instance_url: HttpUrl | None = None
    client_id: SecretStr | None = None
    client_secret: SecretStr | None = None
    api_version: Annotated[str, Field(pattern=r"^v\d{2,3}\.0$")] = "v68.0"
    object: Literal["Contact", "Lead"] = "Contact"
    key_field: FieldName = "Perennial_Key__c"
    stage_field: FieldName | None = None
    stage_values: Mapping[str, str] = Field(default_factory=dict)
    opt_out: salesforce_poll.OptOut = "all"
    event_fields: Mapping[str, Mapping[FieldName, str | bool]] = Field(default_factory=dict)


@checked
class Salesforce:
    """The ``Source`` and ``Poller`` of CRM changes, the ``Crm`` that people in sales work in, and a ``Sink``."""

    name: ClassVar[str] = "salesforce"
    every: ClassVar[timedelta] = timedelta(minutes=5)

    def __init__(self, settings: SalesforceSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        instance = str(settings.instance_url) if settings.instance_url else None
        app = (settings.client_id, settings.client_secret)
        self._api = Api(instance, settings.api_version, *app, client or http.new_client())

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. A flow signs nothing: it knows the secret in ``X-API-Key``, and that is all."""
        check_secret(secrets_in(self._settings.signing_secret), request.headers.get("x-api-key", ""))

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``. The body is the one in ``docs/connectors/salesforce.md``, typed into the flow."""
        with one_line_errors():
            return [_Callout.model_validate_json(request.body).event()]

    async def poll(self, cursor: str | None, now: datetime) -> Polled:
        """See ``Poller.poll``."""
        return await salesforce_poll.poll(self._api, self._settings.opt_out, cursor, now)

    async def upsert(self, person: Person) -> str:
        """See ``Crm.upsert``.

        A record that has our key, else the oldest that has the address, is the person. Whoever is not there is made by
        an upsert on the key, which is unique: of two at once, the second updates what the first has made.
        """
        kind, key = self._settings.object, self._settings.key_field
        fields = {
            "FirstName": person.first_name,
            "LastName": person.last_name,
            "Phone": person.phone,
            "Company": person.company if kind == "Lead" else None,
            **person.properties,
        }
        given = _LIMITS.check({name: value for name, value in fields.items() if value is not None})
        _LIMITS.check({"Email": person.email})
        found = await self._find(person.email)
        if found is not None:
            changes = given if found.key else {key: person.email, **given}
            if changes:
                await self._api.ask("PATCH", f"/sobjects/{kind}/{record_id(found.id)}", http.Unread, json=changes)
            return found.id
        needed = {"LastName": person.email, **({"Company": "unknown"} if kind == "Lead" else {})}
        path = f"/sobjects/{kind}/{key}/{quote(person.email, safe='')}"
        saved = await self._api.ask("PATCH", path, MaybeSaved, json={**needed, "Email": person.email, **given})
        if saved.root is not None:
            return saved.root.id
        found = await self._find(person.email)
        if found is None:
            raise TryAgain(self.name, "the record is not there yet")
        return found.id

    async def _find(self, email: str) -> "_Known | None":
        kind, key, value = self._settings.object, self._settings.key_field, text(email)
        alive = " AND IsConverted = false" if kind == "Lead" else ""
        where = f"({key} = {value} OR Email = {value}){alive}"
        found = await self._api.select(f"Id, {key}", kind, where, _KnownAs, order="CreatedDate, Id")
        records = [_Known(str(record.get("Id")), str(record.get(key) or "")) for record in found.records]
        keyed = [record for record in records if record.key.lower() == email.lower()]
        # One that is known by another address by now still is this person, if there is no better one.
        return next(iter(keyed or [record for record in records if not record.key] or records), None)

    async def task(self, crm_id: str, task: Task) -> str:
        """See ``Crm.task``; ``_once`` says how a key makes one task."""
        # An owner that is a user's id is the task's owner; any other name of one is for people to read.
        numbered = task.owner if task.owner and task.owner.startswith("005") and ID.fullmatch(task.owner) else None
        body = task.body if numbered or not task.owner else f"{task.body}\n\nFor {task.owner}"
        fields = {"Subject": task.title, "ActivityDate": task.due.date().isoformat(), "Status": "Not Started"}
        return await self._once(crm_id, task.key, body, {**fields, **({"OwnerId": numbered} if numbered else {})})

    async def note(self, crm_id: str, key: str, body: str, at: datetime) -> str:
        """See ``Crm.note``: a task that is done, which is how Salesforce keeps what happened on a timeline."""
        fields = {"Subject": "Perennial", "ActivityDate": at.date().isoformat(), "Status": "Completed"}
        return await self._once(crm_id, key, body, fields)

    async def _once(self, crm_id: str, key: str, body: str, fields: Mapping[str, str]) -> str:
        """Creates a task on a person unless the person has one with this key; returns its id.

        Salesforce takes no idempotency key, and no question can look into a description. So the key is its last line,
        and before a create the person's newest two hundred are read: a query reads the records, not an index. Two
        creates at the very same moment can still make two.
        """
        mark = f"[perennial {key}]"
        new = _LIMITS.check({**fields, "WhoId": crm_id, "Description": f"{body}\n\n{mark}"})
        theirs = f"WhoId = {text(record_id(crm_id))}"
        found = await self._api.select("Id, Description", "Task", theirs, _Tasks, order="CreatedDate DESC")
        for task in found.records:
            if mark in (task.Description or ""):
                return task.Id
        return (await self._api.ask("POST", "/sobjects/Task", Saved, json=new, idempotent=False)).id

    async def stage(self, crm_id: str, stage: str) -> None:
        """See ``Crm.stage``."""
        field = self._settings.stage_field
        if field is None:
            raise NeverAgain(self.name, "no field for the stage is set (SALESFORCE_STAGE_FIELD)")
        kind = "Lead" if record_id(crm_id).startswith("00Q") else "Contact"
        value = self._settings.stage_values.get(stage, stage)
        await self._api.ask("PATCH", f"/sobjects/{kind}/{crm_id}", http.Unread, json={field: value})

    async def tell(self, told: Told) -> str | None:
        """See ``Sink.tell``: consent to mail becomes ``HasOptedOutOfEmail``, other events the fields set for them."""
        match told.type:
            case "consent.withdrawn" | "message.unsubscribed" | "message.complained":
                if _about_mail(told) and _touches(told, self._settings.opt_out):
                    for record in await self._records(told, ("Contact", "Lead")):
                        if not record.HasOptedOutOfEmail:
                            await self._set(record, {"HasOptedOutOfEmail": True})
            case "consent.granted":
                if _about_mail(told) and told.data.get("purpose", "all") in ("all", self._settings.opt_out):
                    await self._opt_in(told)
            case _:
                await self._note_in_fields(told)
        return None

    async def _opt_in(self, told: Told) -> None:
        # Salesforce does not say since when somebody has opted out, only since when the record is as it is.
        records = [r for r in await self._records(told, ("Contact", "Lead")) if r.HasOptedOutOfEmail]
        for record in records:
            if record.SystemModstamp > told.occurred_at:
                raise NeverAgain(
                    self.name, "the record has changed since this yes, so its opt-out may be the later word"
                )
        for record in records:
            await self._set(record, {"HasOptedOutOfEmail": False})

    async def _note_in_fields(self, told: Told) -> None:
        segment = told.data.get("segment") if told.type in ("segment.joined", "segment.left") else None
        fields = self._settings.event_fields.get(f"{told.type}:{segment}" if segment else told.type)
        if fields:
            for record in await self._records(told, (self._settings.object,)):
                await self._set(record, fields)
        elif not segment:
            raise NeverAgain(self.name, f"nothing is set to be done on {told.type} (SALESFORCE_EVENT_FIELDS)")

    async def _records(self, told: Told, kinds: Sequence[str]) -> "list[_Reached]":
        """The records of a person, by address and by id: a contact and a lead, or several of each."""
        ids = [text(i.value) for i in told.identities if i.kind == "salesforce" and ID.fullmatch(i.value)]
        emails = [text(i.value) for i in told.identities if i.kind == "email"]
        found: list[_Reached] = []
        for kind in kinds:
            named = [f"{field} IN ({', '.join(v)})" for field, v in (("Id", ids), ("Email", emails)) if v]
            if not named:
                continue
            alive = " AND IsConverted = false" if kind == "Lead" else ""
            where = f"({' OR '.join(named)}){alive}"
            page = await self._api.select(
                "Id, HasOptedOutOfEmail, SystemModstamp", kind, where, _ReachedAll, order="Id"
            )
            found += [record.model_copy(update={"kind": kind}) for record in page.records]
        return found

    async def _set(self, record: "_Reached", fields: Mapping[str, str | bool]) -> None:
        await self._api.ask("PATCH", f"/sobjects/{record.kind}/{record_id(record.Id)}", http.Unread, json=dict(fields))


class _Known(NamedTuple):
    id: str
    key: str


class _KnownAs(Body):
    records: list[dict[str, Any]]


class _Task(Body):
    Id: str
    Description: str | None = None


class _Tasks(Body):
    records: list[_Task]


class _Reached(Body):
    Id: str
    HasOptedOutOfEmail: bool = False
    SystemModstamp: Moment
    kind: str = ""


class _ReachedAll(Body):
    records: list[_Reached]


def _about_mail(told: Told) -> bool:
    # Whoever complains wants nothing more, on whichever channel it was.
    return told.type == "message.complained" or told.data.get("channel", "email") in ("email", "all")


def _touches(told: Told, opt_out: salesforce_poll.OptOut) -> bool:
    """Whether a no is about what the opt-out stands for: with one switch for everything, any no to marketing is."""
    purpose = told.data.get("purpose") or "all"
    return (
        told.type == "message.complained"
        or purpose in ("all", opt_out)
        or (opt_out == "all" and purpose != "transactional")
    )


class _Callout(Body):
    """What a flow sends: the body in ``docs/connectors/salesforce.md``."""

    type: Literal[
        "contact.identified", "contact.updated", "contact.erased", "consent.granted", "consent.withdrawn",
        "deal.stage_changed", "contract.signed", "meeting.booked", "meeting.canceled", "meeting.no_show",
        "meeting.completed", "call.missed", "conversation.started", "conversation.ended",
        "ticket.opened", "ticket.solved", "purchase.completed",
    ]  # fmt: skip
    record_id: Annotated[str, Field(pattern=r"^[a-zA-Z0-9]{18}$")]
    occurred_at: Moment
    email: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)

    def event(self) -> Event:
        about = self.data.get("deal_id") or self.data.get("channel") or ""
        return event(
            self.type,
            source=Salesforce.name,
            source_id=salesforce_poll.source_id(self.type, self.record_id, self.occurred_at, str(about)),
            occurred_at=self.occurred_at,
            identities=identities(("salesforce", self.record_id), ("email", self.email)),
            data=self.data,
        )
