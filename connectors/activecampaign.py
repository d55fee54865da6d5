"""ActiveCampaign: what its contacts do comes in; contacts, tasks, notes, lists and tags go out."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
from pydantic import BaseModel, Field, HttpUrl, SecretStr, ValidationError, field_validator
from pydantic_settings import SettingsConfigDict

from connectors import activecampaign_webhooks, http
from connectors.base import Person, Polled, Request, Task, Told
from connectors.credentials import Credentials
from connectors.errors import NeverAgain
from connectors.fields import checked
from connectors.limits import TEXT, Limits
from connectors.webhook import Body, Moment
from contacts.events import Event, event, identities

Id = Annotated[str, Field(pattern=r"^[1-9]\d*$")]
"""Whatever has an id in ActiveCampaign has a number."""

_LIMITS = Limits("activecampaign", each=255, named={"note": TEXT})
_OWN_FIELDS = Limits("activecampaign", each=TEXT)
"""ActiveCampaign's pages say nothing of a note's length, nor of a custom field's."""


class ActiveCampaignSettings(Credentials):
    """``ACTIVECAMPAIGN_*``. The webhook's URL has ``signing_secret``; several may stand side by side, with commas.

    Attributes:
        base_url: The account's own API address, as its Developer tab shows it.
        lists: The ids of the lists that serve a purpose of ours.
        segment_tags: The id of the tag of a segment.
        fields: The id of the custom field of a trait.
        stage_field: The id of the custom field that says where a contact stands with us; None: it is not told.
        task_type: The id of the type tasks are made with; 1 is the first an account has.
        timezone: The account's, in which it writes times that have no offset.
    """

    model_config = SettingsConfigDict(env_prefix="ACTIVECAMPAIGN_")

    signing_secret: SecretStr | None = None
    api_token: SecretStr | None = None
    base_url: HttpUrl | None = None
    calls_per_second: Annotated[float, Field(gt=0)] | None = 5
    lists: Mapping[Literal["promotional", "lifecycle"], tuple[Id, ...]] = Field(default_factory=dict)
    segment_tags: Mapping[str, Id] = Field(default_factory=dict)
    fields: Mapping[str, Id] = Field(default_factory=dict)
    stage_field: Id | None = None
    task_type: int = 1
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("no such time zone") from None
        return value


@checked
class ActiveCampaign:
    """The ``Source`` and ``Poller`` of what contacts do there, a ``Crm``, and a ``Sink`` of consent and segments."""

    name: ClassVar[str] = "activecampaign"
    every: ClassVar[timedelta] = timedelta(minutes=15)

    def __init__(self, settings: ActiveCampaignSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()
        self._lists: dict[str, Sequence[str]] = dict(settings.lists.items())
        purposes: dict[str, str] = {}
        for purpose, lists in self._lists.items():
            for list_id in lists:
                purposes[list_id] = "all" if list_id in purposes else purpose
        self._reading = activecampaign_webhooks.Reading(purposes, ZoneInfo(settings.timezone))

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. Nothing is signed: whoever knows the URL is believed."""
        activecampaign_webhooks.verify(self._settings.signing_secret, request)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``."""
        return activecampaign_webhooks.parse(request.body, self._reading, received_at)

    async def poll(self, cursor: str | None, now: datetime) -> Polled:
        """See ``Poller.poll``: contacts that changed, and which lists they have left.

        ActiveCampaign repeats no webhook that failed, and fires none for imports. A walk goes by id through all that
        changed since the last one began; what changes under way is found by the next.
        """
        try:
            at = _Cursor.model_validate_json(cursor) if cursor else _Cursor(since=now, begun=now)
        except ValidationError:
            raise NeverAgain(self.name, "the cursor is not one of this poller's") from None
        params = {
            "filters[updated_after]": at.since.isoformat(timespec="seconds"),
            "orders[id]": "ASC",
            "id_greater": str(at.after),
            "include": "contactLists",
            "limit": "100",
        }
        page = await self._ask("GET", "/contacts", _Contacts, params=params)
        lists: dict[str, list[_Listed]] = {}
        for listed in page.contactLists:
            lists.setdefault(listed.contact, []).append(listed)
        found = [event for contact in page.contacts for event in self._found(contact, lists.get(contact.id, []), now)]
        found.sort(key=lambda event: event.occurred_at)
        if len(page.contacts) == 100:
            if int(page.contacts[-1].id) <= at.after:
                raise NeverAgain(self.name, "the contacts do not come in the order of their ids")
            following = at.model_copy(update={"after": int(page.contacts[-1].id)})
            return Polled(found, following.model_dump_json(), more=True)
        # Its clock and ours may differ, and a change may be seen late.
        return Polled(found, _Cursor(since=at.begun - timedelta(minutes=5), begun=now).model_dump_json())

    def _found(self, contact: "_Contact", lists: "Sequence[_Listed]", now: datetime) -> list[Event]:
        who = identities((self.name, contact.id), ("email", contact.email))
        changed = min(self._reading.moment(contact.udate) or now, now)
        traits = {
            "email": contact.email,
            "first_name": contact.firstName,
            "last_name": contact.lastName,
            "phone": contact.phone,
        }
        said: list[tuple[str, str, datetime, Mapping[str, Any]]] = [
            (
                "contact.updated",
                f"contact-{contact.id}-{contact.udate}",
                changed,
                {n: v for n, v in traits.items() if v},
            )
        ]
        for listed in lists:
            if listed.status == _OFF:
                name = f"list-{contact.id}-{listed.list}-{listed.udate}"
                left = min(self._reading.moment(listed.udate) or changed, now)
                said.append(("consent.withdrawn", name, left, self._reading.withdrawn(listed.list)))
        return [
            event(type, source=self.name, source_id=name, occurred_at=at, identities=who, data=data)
            for type, name, at, data in said
        ]

    async def upsert(self, person: Person) -> str:
        """See ``Crm.upsert``; by address. What there is no field of must have one in ``ACTIVECAMPAIGN_FIELDS``."""
        traits = {"firstName": person.first_name, "lastName": person.last_name, "phone": person.phone}
        more = {**({"company": person.company} if "company" in self._settings.fields else {}), **person.properties}
        if unknown := [name for name in more if name not in self._settings.fields]:
            raise NeverAgain(self.name, f"no field is set for {unknown[0]} (ACTIVECAMPAIGN_FIELDS)")
        _OWN_FIELDS.check(more)
        values = [{"field": self._settings.fields[name], "value": value} for name, value in more.items() if value]
        return await self._sync(person.email, {name: value for name, value in traits.items() if value}, values)

    async def _sync(self, email: str, traits: Mapping[str, str], values: Sequence[Mapping[str, str]] = ()) -> str:
        contact = {**_LIMITS.check({"email": email, **traits}), **({"fieldValues": values} if values else {})}
        return (await self._ask("POST", "/contact/sync", _Synced, json={"contact": contact})).contact.id

    async def task(self, crm_id: str, task: Task) -> str:
        """See ``Crm.task``; ``_with_key`` says how a key makes one task."""
        # An owner is a user's number; any other name of one is for people to read.
        numbered = task.owner if task.owner and task.owner.isascii() and task.owner.isdigit() else None
        body = task.body if numbered or not task.owner else f"{task.body}\n\nFor {task.owner}"
        new = {
            **_LIMITS.check({"title": task.title, "note": f"{body}\n\n{_mark(task.key)}"}),
            "ownerType": "contact",
            "relid": _number(crm_id),
            "status": 0,
            "duedate": task.due.isoformat(timespec="seconds"),
            "dealTasktype": self._settings.task_type,
            **({"assignee": numbered} if numbered else {}),
        }
        theirs = {"filters[reltype]": "Subscriber", "filters[relid]": crm_id}
        known = await self._with_key(task.key, "/dealTasks", theirs, _Tasks)
        if known is not None:
            return known
        return (await self._ask("POST", "/dealTasks", _OneTask, json={"dealTask": new}, idempotent=False)).made.id

    async def note(self, crm_id: str, key: str, body: str, at: datetime) -> str:
        """See ``Crm.note``; ``_with_key`` says how a key makes one note. A note's time is that of its making."""
        new = {"relid": crm_id, "reltype": "Subscriber", **_LIMITS.check({"note": f"{body}\n\n{_mark(key)}"})}
        known = await self._with_key(key, f"/contacts/{_number(crm_id)}/notes", {}, _Notes)
        if known is not None:
            return known
        return (await self._ask("POST", "/notes", _OneNote, json={"note": new}, idempotent=False)).made.id

    async def _with_key(
        self, key: str, path: str, theirs: Mapping[str, str], answer: "type[_Tasks] | type[_Notes]"
    ) -> str | None:
        """The id of a contact's task or note with this key; None if none of the first thousand has it.

        ActiveCampaign takes no idempotency key. So the key is a text's last line, and before a create the contact's own
        are read. Two creates at the very same moment can still make two.
        """
        for offset in range(0, 1000, 100):
            page = await self._ask("GET", path, answer, params={**theirs, "limit": "100", "offset": str(offset)})
            for found in page.items:
                if _mark(key) in (found.note or ""):
                    return found.id
            if len(page.items) < 100:
                break
        return None

    async def stage(self, crm_id: str, stage: str) -> None:
        """See ``Crm.stage``: a custom field of the contact."""
        field = self._settings.stage_field
        if field is None:
            raise NeverAgain(self.name, "no field for the stage is set (ACTIVECAMPAIGN_STAGE_FIELD)")
        contact = (await self._ask("GET", f"/contacts/{_number(crm_id)}", _Synced)).contact
        if contact.email is None:
            raise NeverAgain(self.name, "the contact has no address to be known by")
        await self._sync(contact.email, {}, [{"field": field, "value": stage}])

    async def tell(self, told: Told) -> str | None:
        """See ``Sink.tell``: consent becomes a status on lists, a segment becomes a tag; it takes nothing else."""
        match told.type:
            case "consent.withdrawn" | "message.unsubscribed" | "message.complained":
                await self._withdraw(told)
            case "consent.granted":
                await self._grant(told)
            case "segment.joined" | "segment.left":
                await self._tag(told)
            case _:
                raise NeverAgain(self.name, f"takes consent and segments, and no {told.type}")
        return None

    async def _withdraw(self, told: Told) -> None:
        """Takes every address off the lists of the purpose; where none is set for it, off every list it is on."""
        channel, purpose = told.data.get("channel", "email"), told.data.get("purpose") or "all"
        if told.type == "message.complained":
            channel = purpose = "all"
        if channel not in ("email", "all") or purpose == "transactional":
            return
        for email in (identity.value for identity in told.identities if identity.kind == "email"):
            contact = await self._contact_with(email)
            if contact is None:
                continue
            named = self._lists.get(purpose)
            stands = await self._stands(contact) if not named else {}
            for list_id in named or [id for id, listed in stands.items() if listed.status != _OFF]:
                await self._put(contact, list_id, _OFF)

    async def _grant(self, told: Told) -> None:
        """Puts the newest address on the lists of the purpose, but for those it has left since the yes."""
        channel, purpose = told.data.get("channel", "email"), told.data.get("purpose") or "all"
        email = told.known_as("email")
        if channel not in ("email", "all") or purpose == "transactional" or email is None:
            return
        purposes = list(self._lists) if purpose == "all" else [purpose]
        lists = [list_id for name in purposes for list_id in self._lists.get(name, ())]
        if not lists:
            raise NeverAgain(self.name, f"no list is set for {purpose} (ACTIVECAMPAIGN_LISTS)")
        contact = await self._sync(email, {})
        stands = await self._stands(contact)
        for list_id in lists:
            listed = stands.get(list_id)
            if listed and (listed.status == _ON or self._left_after(listed, told.occurred_at)):
                continue
            await self._put(contact, list_id, _ON)

    def _left_after(self, listed: "_Listed", moment: datetime) -> bool:
        """Whether they left the list after that; also where it does not say when."""
        left = self._reading.moment(listed.udate)
        return listed.status == _OFF and (left is None or left > moment)

    async def _stands(self, contact: str) -> "dict[str, _Listed]":
        answer = await self._ask("GET", f"/contacts/{_number(contact)}/contactLists", _Lists)
        return {listed.list: listed for listed in answer.contactLists}

    async def _put(self, contact: str, list_id: str, status: str) -> None:
        listed = {"list": list_id, "contact": contact, "status": int(status)}
        await self._ask("POST", "/contactLists", http.Unread, json={"contactList": listed})

    async def _tag(self, told: Told) -> None:
        tag = self._settings.segment_tags.get(str(told.data.get("segment")))
        if tag is None:
            return
        joined, email, contact = told.type == "segment.joined", told.known_as("email"), told.known_as(self.name)
        if contact is None and email is not None:
            contact = await (self._sync(email, {}) if joined else self._contact_with(email))
        if contact is None:
            return
        tags = (await self._ask("GET", f"/contacts/{_number(contact)}/contactTags", _Tags)).contactTags
        has = [link.id for link in tags if link.tag == tag]
        if joined and not has:
            await self._ask("POST", "/contactTags", http.Unread, json={"contactTag": {"contact": contact, "tag": tag}})
        for link in has if not joined else ():
            try:
                await self._ask("DELETE", f"/contactTags/{_number(link)}", http.Unread)
            except http.Rejected as error:
                if error.status != 404:
                    raise

    async def _contact_with(self, email: str) -> str | None:
        page = await self._ask("GET", "/contacts", _Contacts, params={"email": email})
        return next((contact.id for contact in page.contacts), None)

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
        if not self._settings.api_token or not self._settings.base_url:
            needed = "ACTIVECAMPAIGN_BASE_URL, ACTIVECAMPAIGN_API_TOKEN"
            raise NeverAgain(self.name, f"no account or token is set ({needed})")
        url = str(self._settings.base_url).rstrip("/").removesuffix("/api/3") + "/api/3" + path
        headers = {"Api-Token": self._settings.api_token.get_secret_value().strip()}
        request = self._client.build_request(method, url, params=params, json=json, headers=headers)
        return await http.call(self._client, _PROVIDER, request, answer, idempotent=idempotent)


_ON, _OFF = "1", "2"
"""On a list, and no longer on it."""


class _Cursor(BaseModel):
    """``since`` is what the walk looks for, ``begun`` when it began, ``after`` the last id it has seen."""

    since: Moment
    begun: Moment
    after: int = Field(0, ge=0)


class _Contact(Body):
    id: Id
    email: str | None = None
    firstName: str | None = None
    lastName: str | None = None
    phone: str | None = None
    udate: str | None = None


class _Synced(Body):
    contact: _Contact


class _Listed(Body):
    contact: str = ""
    list: str
    status: str
    udate: str | None = None


class _Lists(Body):
    contactLists: list[_Listed] = Field(default_factory=list)


class _Contacts(Body):
    contacts: list[_Contact]
    contactLists: list[_Listed] = Field(default_factory=list)


class _Link(Body):
    id: str
    tag: str


class _Tags(Body):
    contactTags: list[_Link] = Field(default_factory=list)


class _Written(Body):
    id: str
    note: str | None = None


class _OneTask(Body):
    made: _Written = Field(validation_alias="dealTask")


class _Tasks(Body):
    items: list[_Written] = Field(default_factory=list, validation_alias="dealTasks")


class _OneNote(Body):
    made: _Written = Field(validation_alias="note")


class _Notes(Body):
    items: list[_Written] = Field(default_factory=list, validation_alias="notes")


def _refusal(response: httpx.Response) -> http.Refusal:
    errors = http.body_of(response).get("errors")
    faults = [fault for fault in errors if isinstance(fault, dict)] if isinstance(errors, list) else []
    said: list[object] = []
    for fault in faults[:3]:
        source = fault.get("source")
        said += [fault.get("code"), source.get("pointer") if isinstance(source, dict) else None]
    return http.Refusal(http.codes(*said))


_PROVIDER = http.Provider("activecampaign", busy=frozenset({429, 503}), read=_refusal)


def _mark(key: str) -> str:
    return f"[perennial {key}]"


def _number(id: str) -> str:
    if not (id.isascii() and id.isdigit() and len(id) < 20):
        raise NeverAgain("activecampaign", "this is no id of ActiveCampaign's")
    return id
