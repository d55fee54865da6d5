"""What changed in Salesforce, asked for: contacts, leads and opportunities in the order of their last change."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

from pydantic import AliasPath, BaseModel, Field, ValidationError

from connectors import http
from connectors.base import Polled
from connectors.errors import NeverAgain
from connectors.salesforce_api import PAGE, Api, moment, text
from connectors.webhook import Body, Moment
from contacts.events import Event, Identity, event, identities

Kind = Literal["Contact", "Lead", "Opportunity"]
OptOut = Literal["promotional", "lifecycle", "all"]

_SETTLED = timedelta(minutes=2)
"""How long a change may take from its stamp to being seen: what is younger is left for the next time."""

_UNSEEN = {"INVALID_TYPE", "INVALID_FIELD", "INSUFFICIENT_ACCESS"}
"""How Salesforce refuses a question about an object or a field that the app's user may not see."""

_PERSON = "Id, Email, FirstName, LastName, Phone, HasOptedOutOfEmail, DoNotCall, IsDeleted, MasterRecordId, CreatedDate"
_FIELDS: Mapping[Kind, str] = {
    "Contact": f"{_PERSON}, Account.Name, SystemModstamp",
    "Lead": f"{_PERSON}, Company, IsConverted, ConvertedContactId, SystemModstamp",
    "Opportunity": (
        "Id, StageName, IsClosed, IsWon, IsDeleted, CreatedDate, LastStageChangeDate, SystemModstamp, "
        "(SELECT ContactId, Contact.Email FROM OpportunityContactRoles)"
    ),
}


async def poll(api: Api, opt_out: OptOut, cursor: str | None, now: datetime) -> Polled:
    """See ``Poller.poll``: a page of each kind of record.

    Each is told though the app's user may not see another, or not one of its fields.
    """
    try:
        at = _Cursor.model_validate_json(cursor) if cursor else _Cursor(begun=now)
    except ValidationError:
        raise NeverAgain("salesforce", "the cursor is not one of this poller's") from None
    until = now - _SETTLED
    told: list[Event] = []
    reached: dict[Kind, _Mark] = {}
    faults: list[str] = []
    more = False
    for kind in _FIELDS:
        try:
            records = await _records(api, kind, at, until)
        except http.Rejected as error:
            if not _UNSEEN & set(error.reason.split()):
                raise
            faults.append(f"{kind}: {error.reason}")
            continue
        for record in records:
            told += _person(kind, record, at.begun, opt_out) if isinstance(record, _Person) else _deal(record, at.begun)
        if records:
            reached[kind] = _Mark(stamp=records[-1].SystemModstamp, id=records[-1].Id)
        more = more or len(records) == PAGE
    return Polled(
        sorted(told, key=lambda event: event.occurred_at),
        _Cursor(begun=at.begun, marks={**at.marks, **reached}).model_dump_json(),
        more,
        "; ".join(faults) or None,
    )


def source_id(type: str, record: str, at: datetime, about: str = "") -> str:
    """The name of a change, the same whether it was asked for or a flow told us."""
    name = ":".join((type, *((about,) if about else ()), record, at.astimezone(UTC).isoformat()))
    return name if len(name) <= 255 else sha256(name.encode(errors="replace")).hexdigest()


class _Mark(BaseModel):
    """The last record seen: many share a stamp, which has whole seconds, and their ids tell them apart."""

    stamp: Moment
    id: str = Field(pattern=r"^[a-zA-Z0-9]{18}$")


class _Cursor(BaseModel):
    begun: Moment
    marks: dict[Kind, _Mark] = Field(default_factory=dict)


async def _records(api: Api, kind: Kind, at: _Cursor, until: datetime) -> "Sequence[_Person] | Sequence[_Deal]":
    mark = at.marks.get(kind)
    since = f"SystemModstamp >= {moment(at.begun)}"
    if mark:
        stamp = moment(mark.stamp)
        since = f"(SystemModstamp > {stamp} OR (SystemModstamp = {stamp} AND Id > {text(mark.id)}))"
    where = f"{since} AND SystemModstamp <= {moment(until)}"
    answer: type[_People] | type[_Deals] = _Deals if kind == "Opportunity" else _People
    return (await api.select(_FIELDS[kind], kind, where, answer, order="SystemModstamp, Id", deleted=True)).records


class _Record(Body):
    Id: str = Field(pattern=r"^[a-zA-Z0-9]{18}$")
    SystemModstamp: Moment
    CreatedDate: Moment
    IsDeleted: bool = False


class _Person(_Record):
    Email: str | None = None
    FirstName: str | None = None
    LastName: str | None = None
    Phone: str | None = None
    Company: str | None = None
    AccountName: str | None = Field(None, validation_alias=AliasPath("Account", "Name"))
    HasOptedOutOfEmail: bool = False
    DoNotCall: bool = False
    MasterRecordId: str | None = None
    IsConverted: bool = False
    ConvertedContactId: str | None = None

    def who(self) -> tuple[Identity, ...]:
        # A phone number in a CRM is often a switchboard: data, and no identity.
        return identities(("salesforce", self.Id), ("email", self.Email))

    def say(self, type: str, data: Mapping[str, Any], *, at: datetime | None = None, about: str = "") -> Event:
        at = at or self.SystemModstamp
        return event(
            type,
            source="salesforce",
            source_id=source_id(type, self.Id, at, about),
            occurred_at=at,
            identities=self.who(),
            data=data,
        )

    def became(self, other: str) -> Event:
        return event(
            "contact.merged",
            source="salesforce",
            source_id=source_id("contact.merged", self.Id, self.SystemModstamp, other),
            occurred_at=self.SystemModstamp,
            identities=identities(("salesforce", other), ("salesforce", self.Id)),
            data={"into": other, "merged": [self.Id]},
        )


class _People(Body):
    records: list[_Person]


class _Role(Body):
    ContactId: str | None = None
    Email: str | None = Field(None, validation_alias=AliasPath("Contact", "Email"))


class _Roles(Body):
    records: list[_Role] = Field(default_factory=list)


class _Deal(_Record):
    StageName: str | None = None
    IsClosed: bool = False
    IsWon: bool = False
    LastStageChangeDate: Moment | None = None
    OpportunityContactRoles: _Roles | None = None


class _Deals(Body):
    records: list[_Deal]


def _person(kind: Kind, person: _Person, begun: datetime, opt_out: OptOut) -> list[Event]:
    if person.IsDeleted:
        if person.MasterRecordId:
            return [person.became(person.MasterRecordId)]
        # Somebody tidied the CRM, and can take it back: that is no request for erasure.
        return [person.say("custom.salesforce_deleted", {"object": kind})]
    traits = {
        "email": person.Email,
        "first_name": person.FirstName,
        "last_name": person.LastName,
        "phone": person.Phone,
        "company": person.Company or person.AccountName,
    }
    found = []
    if person.CreatedDate >= begun:
        found.append(person.say("contact.identified", {"object": kind}, at=person.CreatedDate))
    found.append(person.say("contact.updated", traits))
    for opted_out, channel, purpose, field in (
        (person.HasOptedOutOfEmail, "email", opt_out, "HasOptedOutOfEmail"),
        (person.DoNotCall, "call", "all", "DoNotCall"),
    ):
        if opted_out:
            said = {"channel": channel, "purpose": purpose, "evidence": f"salesforce {field}"}
            found.append(person.say("consent.withdrawn", said, about=channel))
    if person.IsConverted and person.ConvertedContactId:
        found.append(person.became(person.ConvertedContactId))
    return found


def _deal(deal: _Deal, begun: datetime) -> list[Event]:
    at = deal.LastStageChangeDate or deal.CreatedDate
    if deal.IsDeleted or not deal.StageName or at < begun:
        return []
    roles = deal.OpportunityContactRoles.records if deal.OpportunityContactRoles else []
    people = {role.ContactId: role.Email for role in roles if role.ContactId}
    return [
        event(
            "deal.stage_changed",
            source="salesforce",
            source_id=source_id("deal.stage_changed", contact, at, deal.Id),
            occurred_at=at,
            # Several people may stand behind one deal, and they stay several.
            identities=identities(("salesforce", contact), ("email", email)),
            data={"deal_id": deal.Id, "stage": deal.StageName, "closed": deal.IsClosed, "won": deal.IsWon},
        )
        for contact, email in people.items()
    ]
