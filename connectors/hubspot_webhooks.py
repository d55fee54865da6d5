"""What HubSpot's webhooks say: the signature of version 3, and a batch of CRM changes as events."""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field, RootModel, SecretStr, field_validator

from connectors.base import Refused, Request
from connectors.webhook import Body, check_age, check_signature, one_line_errors, secrets_in
from contacts.events import Event, PartlyUnderstood, event, identities

SOURCE = "hubspot"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def verify(client_secret: SecretStr | None, request: Request, now: datetime) -> None:
    """See ``Source.verify``. Only signatures of version 3 are taken: older ones can be replayed for ever."""
    secrets = secrets_in(client_secret)
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


def parse(body: bytes, purposes: Mapping[str, str]) -> Sequence[Event]:
    """The events in a body. One item we cannot read does not cost the others: they come with the error.

    Args:
        body: As it was signed.
        purposes: What a subscription type is for, by its id.

    Raises:
        ValueError: It is no batch at all.
        PartlyUnderstood: Some items do not parse; those that do are in its ``events``.
    """
    with one_line_errors():
        items = _Batch.model_validate_json(body).root
    events: list[Event] = []
    faults: list[str] = []
    for position, item in enumerate(items):
        try:
            with one_line_errors():
                events += _events(item, purposes)
        except ValueError as error:
            faults.append(f"item {position}: {error}")
    if faults:
        raise PartlyUnderstood(f"{faults[0]} ({len(faults)} of {len(items)} items do not parse)", events)
    return events


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
                source=SOURCE,
                # The event id alone is not unique; the attempt number differs on every repeat.
                source_id="-".join(str(part) for part in parts),
                occurred_at=_EPOCH + timedelta(milliseconds=self.occurredAt),
                identities=identities(*who),
                data={**data, **source},
            )
        ]


def _created(item: _Item, purposes: Mapping[str, str]) -> list[Event]:
    return item.say("contact.identified", [("hubspot", item.objectId)], {})


def _contact_changed(item: _Item, purposes: Mapping[str, str]) -> list[Event]:
    # A field that was emptied does not make us forget what we know.
    if not item.propertyName or not item.propertyValue:
        return []
    if item.propertyName.startswith(_OPTED_OUT):
        return _opted_out(item, purposes)
    trait = {"firstname": "first_name", "lastname": "last_name"}.get(item.propertyName, item.propertyName)
    who = [("hubspot", item.objectId), ("email", item.propertyValue if trait == "email" else None)]
    return item.say("contact.updated", who, {trait: item.propertyValue})


_OPTED_OUT = "hs_email_optout"


def _opted_out(item: _Item, purposes: Mapping[str, str]) -> list[Event]:
    """``hs_email_optout`` is about all mail, ``hs_email_optout_<id>`` about one subscription type."""
    # An opt-out that was taken back is no consent: whoever took it back did not ask for anything.
    if item.propertyValue != "true" or item.propertyName is None:
        return []
    subscription = item.propertyName.removeprefix(_OPTED_OUT).removeprefix("_")
    said = {"channel": "email", "purpose": purposes.get(subscription, "all"), "evidence": item.propertyName}
    return item.say("consent.withdrawn", [("hubspot", item.objectId)], said)


def _merged(item: _Item, purposes: Mapping[str, str]) -> list[Event]:
    kept = item.newObjectId or item.primaryObjectId or item.objectId
    gone = dict.fromkeys(id for id in (item.primaryObjectId, *item.mergedObjectIds) if id and id != kept)
    return item.say("contact.merged", [("hubspot", id) for id in (kept, *gone)], {"into": kept, "merged": list(gone)})


def _erased(item: _Item, purposes: Mapping[str, str]) -> list[Event]:
    return item.say("contact.erased", [("hubspot", item.objectId)], {})


def _deal_changed(item: _Item, purposes: Mapping[str, str]) -> list[Event]:
    # HubSpot names the deal and not its contacts, and a deal's number is no contact's.
    if item.propertyName != "dealstage" or not item.propertyValue:
        return []
    return item.say("deal.stage_changed", [], {"deal_id": item.objectId, "stage": item.propertyValue})


_READERS: Mapping[str, Callable[[_Item, Mapping[str, str]], list[Event]]] = {
    "contact.creation": _created,
    "contact.propertyChange": _contact_changed,
    "contact.merge": _merged,
    "contact.privacyDeletion": _erased,
    "deal.propertyChange": _deal_changed,
}


def _events(item: object, purposes: Mapping[str, str]) -> list[Event]:
    read = _READERS.get(_Kind.model_validate(item).name())
    return read(_Item.model_validate(item), purposes) if read else []
