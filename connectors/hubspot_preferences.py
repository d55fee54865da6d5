"""Who may be mailed, as HubSpot keeps it: a status for every subscription type, by e-mail address.

A subscription type is said to serve a purpose of ours in ``HUBSPOT_SUBSCRIPTIONS``. A no travels more widely than a
yes: one about a type that serves no purpose we know is about all of them, and a yes counts only where it is plain.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

from pydantic import Field

from connectors import http
from connectors.base import Told
from connectors.errors import NeverAgain
from connectors.hubspot_api import Api
from connectors.webhook import Body, Moment
from contacts.events import Event, event, identities

LegalBasis = Literal[
    "CONSENT_WITH_NOTICE", "LEGITIMATE_INTEREST_CLIENT", "LEGITIMATE_INTEREST_OTHER", "LEGITIMATE_INTEREST_PQL",
    "NON_GDPR", "PERFORMANCE_OF_CONTRACT", "PROCESS_AND_STORE",
]  # fmt: skip

_STATUSES = "/communication-preferences/v4/statuses"
_EMAIL = {"channel": "EMAIL"}
_OURS = "Perennial event "


Subscriptions = Mapping[Literal["promotional", "lifecycle"], tuple[int, ...]]
"""The subscription types that serve a purpose."""


class Preferences:
    """Reads and writes them.

    Attributes:
        purposes: What a subscription type is for, by its id; ``all`` where it serves several purposes.
    """

    def __init__(self, api: Api, subscriptions: Subscriptions, legal_basis: LegalBasis) -> None:
        self._api = api
        self._subscriptions: dict[str, Sequence[int]] = dict(subscriptions.items())
        self._legal_basis = legal_basis
        self.purposes: dict[str, str] = {}
        for purpose, types in subscriptions.items():
            for type in types:
                self.purposes[str(type)] = "all" if str(type) in self.purposes else purpose

    async def withdraw(self, told: Told) -> None:
        """Takes every address of the contact off what the contact said no to.

        A no to everything, to what no subscription type is set for, and a complaint become HubSpot's
        "unsubscribe from all".
        """
        channel, purpose = told.data.get("channel", "email"), told.data.get("purpose") or "all"
        if told.type == "message.complained":
            channel = purpose = "all"
        if channel not in ("email", "all") or purpose == "transactional":
            return  # HubSpot keeps e-mail only, and nothing of it about transactional mail
        types = self._subscriptions.get(purpose, ())
        for email in (identity.value for identity in told.identities if identity.kind == "email"):
            for type in types:
                await self._set(email, type, "UNSUBSCRIBED", told)
            if not types:
                await self._api.ask("POST", f"{_path(email)}/unsubscribe-all", http.Unread, params=_EMAIL)

    async def grant(self, told: Told) -> None:
        """Subscribes the contact's newest address to what they said yes to, unless HubSpot has a later no of theirs.

        Raises:
            NeverAgain: No subscription type is set for the purpose.
        """
        channel, purpose = told.data.get("channel", "email"), told.data.get("purpose") or "all"
        email = told.known_as("email")
        if channel not in ("email", "all") or purpose == "transactional" or email is None:
            return
        purposes = list(self._subscriptions) if purpose == "all" else [purpose]
        types = [type for name in purposes for type in self._subscriptions.get(name, ())]
        if not types:
            raise NeverAgain("hubspot", f"no subscription type is set for {purpose} (HUBSPOT_SUBSCRIPTIONS)")
        wide = await self._api.ask("GET", f"{_path(email)}/unsubscribe-all", _Statuses, params=_EMAIL)
        if any(status.is_no_after(told.occurred_at) for status in wide.results):
            return
        known = await self._api.ask("GET", _path(email), _Statuses, params=_EMAIL)
        stands = {status.subscriptionId: status for status in known.results}
        for type in types:
            status = stands.get(type)
            if status and (status.status == "SUBSCRIBED" or status.is_no_after(told.occurred_at)):
                continue
            await self._set(email, type, "SUBSCRIBED", told)

    async def events(self, contacts: Mapping[str, str]) -> list[Event]:
        """What these contacts have said, as HubSpot knows it; the same status gives the same event every time.

        Args:
            contacts: Ids of at most a hundred contacts, by address.
        """
        if not contacts:
            return []
        addresses = list(contacts)
        each = await self._read(f"{_STATUSES}/batch/read", "", addresses)
        wide = await self._read(f"{_STATUSES}/batch/unsubscribe-all/read", "/unsubscribe-all", addresses)
        found: list[Event] = []
        for address, contact in contacts.items():
            for status in [*each.get(address.lower(), ()), *wide.get(address.lower(), ())]:
                found += _events(contact, address, status, self.purposes)
        return found

    async def _read(self, path: str, one: str, addresses: Sequence[str]) -> dict[str, list["_Status"]]:
        answer = await self._api.ask("POST", path, _Batch, params=_EMAIL, json={"inputs": addresses})
        found = {person.subscriberIdString.lower(): person.statuses + person.wideStatuses for person in answer.results}
        # One that could not be read among the others is read alone; what HubSpot does not take for an address has none.
        for address in addresses if answer.errors else ():
            if address.lower() in found:
                continue
            try:
                alone = await self._api.ask("GET", _path(address) + one, _Statuses, params=_EMAIL)
            except http.Rejected as error:
                if error.status not in (400, 404):
                    raise
            else:
                found[address.lower()] = alone.results
        return found

    async def _set(self, email: str, type: int, state: str, told: Told) -> None:
        wanted = {
            "channel": "EMAIL",
            "statusState": state,
            "subscriptionId": type,
            "legalBasis": self._legal_basis,
            # By this we know our own word when we read it again.
            "legalBasisExplanation": _OURS + told.id,
        }
        await self._api.ask("POST", _path(email), http.Unread, json=wanted)


class _Status(Body):
    status: str
    timestamp: Moment
    subscriptionId: int | None = None
    legalBasis: str | None = None
    legalBasisExplanation: str | None = None

    @property
    def is_ours(self) -> bool:
        return (self.legalBasisExplanation or "").startswith(_OURS)

    def is_no_after(self, moment: datetime) -> bool:
        return self.status == "UNSUBSCRIBED" and self.timestamp > moment and not self.is_ours


class _Statuses(Body):
    results: list[_Status] = Field(default_factory=list)


class _Person(Body):
    subscriberIdString: str
    statuses: list[_Status] = Field(default_factory=list)
    wideStatuses: list[_Status] = Field(default_factory=list)


class _Batch(Body):
    results: list[_Person] = Field(default_factory=list)
    errors: list[Any] = Field(default_factory=list)


def _path(email: str) -> str:
    return f"{_STATUSES}/{quote(email, safe='')}"


def _events(contact: str, address: str, status: _Status, purposes: Mapping[str, str]) -> list[Event]:
    type = str(status.subscriptionId or "all")
    if status.is_ours:
        return []
    if status.status == "UNSUBSCRIBED":
        kind, purpose = "consent.withdrawn", purposes.get(type, "all")
    elif status.status == "SUBSCRIBED" and type in purposes and status.legalBasis == "CONSENT_WITH_NOTICE":
        kind, purpose = "consent.granted", purposes[type]
    else:
        return []
    moment = status.timestamp.astimezone(UTC)
    return [
        event(
            kind,
            source="hubspot",
            source_id=f"subscription-{contact}-{type}-{status.status}-{moment.isoformat()}",
            occurred_at=moment,
            identities=identities(("hubspot", contact), ("email", address)),
            data={"channel": "email", "purpose": purpose, "evidence": f"hubspot subscription {type}"},
        )
    ]
