"""What HubSpot's webhooks do not say, asked for: whose deal moved, and who may be mailed.

Records are walked in the order in which they were last changed. The search index lags behind the records, so every walk
begins a little before the last one ended; what is read twice makes the same events.
"""

from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from connectors import http
from connectors.base import Polled
from connectors.errors import NeverAgain
from connectors.hubspot_api import CONTACTS, Api, Record, Records
from connectors.hubspot_preferences import Preferences
from connectors.webhook import Body, Moment
from contacts.events import Event, event, identities

_DEALS = "/crm/v3/objects/deals"
_LAG = timedelta(minutes=10)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def poll(api: Api, preferences: Preferences, cursor: str | None, now: datetime) -> Polled:
    """See ``Poller.poll``: a page of deals and, where subscription types serve a purpose, one of contacts.

    Either is told though the token has no scope for the other.
    """
    try:
        at = _Cursor.model_validate_json(cursor) if cursor else _Cursor.beginning(now)
    except ValidationError:
        raise NeverAgain("hubspot", "the cursor is not one of this poller's") from None
    again = _Walk.beginning(max(at.begun, now - _LAG))
    deals = await _allowed("deals", _deals(api, at, again), at.deals)
    consent = await _allowed("consent", _consent(api, preferences, at, again), at.contacts)
    reached = _Cursor(begun=at.begun, deals=deals.next, contacts=consent.next)
    return Polled(
        sorted([*deals.events, *consent.events], key=lambda event: event.occurred_at),
        reached.model_dump_json(),
        deals.more or consent.more,
        "; ".join(walked.fault for walked in (deals, consent) if walked.fault) or None,
    )


async def _allowed(what: str, walk: Awaitable["_Walked"], at: "_Walk") -> "_Walked":
    """The walk; where the token has no scope for it, none, and it stays where it is."""
    try:
        return await walk
    except http.Rejected as error:
        if error.status != 403:
            raise
        return _Walked((), at, more=False, fault=f"{what}: {error.reason}")


async def _deals(api: Api, at: "_Cursor", again: "_Walk") -> "_Walked":
    page = await _changed(api, _DEALS, "hs_lastmodifieddate", [], 25, at.deals, again)
    return _Walked(await _deals_moved(api, [deal.id for deal in page.records], at.begun), page.next, page.more)


async def _consent(api: Api, preferences: Preferences, at: "_Cursor", again: "_Walk") -> "_Walked":
    if not preferences.purposes:
        return _Walked((), again, more=False)
    page = await _changed(api, CONTACTS, "lastmodifieddate", ["email"], 100, at.contacts, again)
    by_address = {email: contact.id for contact in page.records if (email := contact.properties.get("email"))}
    return _Walked(await preferences.events(by_address), page.next, page.more)


class _Walk(BaseModel):
    """Where a walk is: records changed since then (ms), and how far into those of this very moment."""

    since: int = Field(ge=0)
    after: str = "0"

    @classmethod
    def beginning(cls, at: datetime) -> "_Walk":
        return cls(since=(at - _EPOCH) // timedelta(milliseconds=1))


class _Walked(NamedTuple):
    """What a page of a walk makes, where to go on, and why there is none."""

    events: Sequence[Event]
    next: _Walk
    more: bool
    fault: str | None = None


class _Cursor(BaseModel):
    begun: Moment
    deals: _Walk
    contacts: _Walk

    @classmethod
    def beginning(cls, at: datetime) -> "_Cursor":
        return cls(begun=at, deals=_Walk.beginning(at), contacts=_Walk.beginning(at))


class _Next(Body):
    after: str


class _Paging(Body):
    next: _Next | None = None


class _Found(Body):
    results: list[Record]
    paging: _Paging | None = None


class _Page(BaseModel):
    records: Sequence[Record]
    next: _Walk
    more: bool


_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)


async def _changed(
    api: Api, path: str, changed: str, properties: Sequence[str], limit: int, walk: _Walk, again: _Walk
) -> _Page:
    """A page of the records changed since; where it is the last one, the next walk is ``again``."""
    wanted = {
        "filterGroups": [{"filters": [{"propertyName": changed, "operator": "GTE", "value": str(walk.since)}]}],
        "sorts": [changed],
        "properties": [changed, *properties],
        "limit": limit,
        "after": walk.after,
    }
    found = await api.ask("POST", f"{path}/search", _Found, json=wanted)
    following = found.paging.next if found.paging else None
    if following is None or not found.results:
        return _Page(records=found.results, next=again, more=False)
    try:
        last = _Walk.beginning(_MOMENT.validate_python(found.results[-1].properties.get(changed)))
    except ValidationError:
        raise NeverAgain("hubspot", f"a search result does not say its {changed}") from None
    # A search ends after ten thousand records, so it is begun anew from the last one; where a whole page was changed
    # in one moment that would stand still, and its next page is read.
    return _Page(
        records=found.results,
        next=last if last.since > walk.since else _Walk(since=walk.since, after=following.after),
        more=True,
    )


async def _deals_moved(api: Api, ids: Sequence[str], begun: datetime) -> list[Event]:
    wanted = {"associations": "contacts", "propertiesWithHistory": "dealstage", "properties": "dealstage"}
    moved: list[tuple[Record, Sequence[str]]] = []
    for id in ids:
        try:
            deal = await api.ask("GET", f"{_DEALS}/{quote(id, safe='')}", Record, params=wanted)
        except http.Rejected as error:
            if error.status != 404:  # deleted since
                raise
            continue
        links = deal.associations.get("contacts")
        moved.append((deal, list(dict.fromkeys(link.id for link in links.results)) if links else []))
    addresses = await _addresses(api, list(dict.fromkeys(id for _, contacts in moved for id in contacts)))
    return [
        event(
            "deal.stage_changed",
            source="hubspot",
            source_id=f"deal-{deal.id}-{contact}-{version.value}-{version.timestamp.astimezone(UTC).isoformat()}",
            occurred_at=version.timestamp,
            # Several people may stand behind one deal, and they stay several.
            identities=identities(("hubspot", contact), ("email", addresses.get(contact))),
            data=_moved(deal.id, version.value, version.sourceType),
        )
        for deal, contacts in moved
        for version in deal.propertiesWithHistory.get("dealstage", ())
        if version.value and version.timestamp >= begun
        for contact in contacts
    ]


def _moved(deal_id: str, stage: str, source: str | None) -> dict[str, Any]:
    return {"deal_id": deal_id, "stage": stage, **({"change_source": source} if source else {})}


async def _addresses(api: Api, contacts: Sequence[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for start in range(0, len(contacts), 100):
        inputs = [{"id": id} for id in contacts[start : start + 100]]
        wanted = {"inputs": inputs, "properties": ["email"], "propertiesWithHistory": []}
        page = await api.ask("POST", f"{CONTACTS}/batch/read", Records, json=wanted)
        found |= {contact.id: contact.properties.get("email") for contact in page.results}
    return found
