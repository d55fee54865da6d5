"""What ActiveCampaign's webhooks say: unsigned forms with PHP-style keys (``contact[email]``), one event a request."""

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

from pydantic import SecretStr, TypeAdapter

from connectors.base import Refused, Request
from connectors.webhook import Moment, check_secret, secrets_in
from contacts.events import Event, InvalidEvent, event, identities


def verify(secret: SecretStr | None, request: Request) -> None:
    """See ``Source.verify``. The secret stands in the webhook's URL: as its password, or as ``key`` in its query."""
    secrets = secrets_in(secret)
    try:
        keys = [
            value for name, value in parse_qsl(urlsplit(request.url).query, keep_blank_values=True) if name == "key"
        ]
    except ValueError:
        raise Refused(400, "the URL does not parse") from None
    if len(keys) > 1:
        raise Refused(400, "there is more than one key in the query")
    check_secret(secrets, keys[0] if keys else _password(request.headers.get("authorization", "")))


def _password(authorization: str) -> str:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise Refused(401, "there is no key in the query and no Basic authorization")
    try:
        return b64decode(credentials.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        raise Refused(400, "the Basic authorization does not parse") from None


@dataclass(frozen=True)
class Reading:
    """How one account's words are read.

    Attributes:
        purposes: What a list is for, by its id.
        zone: The account's own time zone, in which it writes times that have no offset.
    """

    purposes: Mapping[str, str]
    zone: ZoneInfo

    def moment(self, written: str | None) -> datetime | None:
        """The time, with or without an offset; None where it is none."""
        try:
            at = datetime.fromisoformat(written or "")
            return _MOMENT.validate_python(at if at.tzinfo else at.replace(tzinfo=self.zone))
        except (ValueError, OverflowError):
            return None

    def withdrawn(self, list_id: str | None) -> dict[str, Any]:
        """The data of a no to a list; one that serves no purpose we know is a no to all of them."""
        evidence = f"activecampaign list {list_id}" if list_id else "activecampaign"
        return {"channel": "email", "purpose": self.purposes.get(list_id or "", "all"), "evidence": evidence}


_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)


def parse(body: bytes, reading: Reading, received_at: datetime) -> Sequence[Event]:
    """The events in a body.

    Raises:
        InvalidEvent: It is no form, or lacks what its kind has.
    """
    try:
        form = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=2000))
    except ValueError:
        raise InvalidEvent("body", "is not a form") from None
    kind = form.get("type", "")
    if not kind:
        raise InvalidEvent("type", "is missing")
    read = _READERS.get(kind)
    return read(_Notice(kind, form, reading, received_at)) if read else []


@dataclass(frozen=True)
class _Notice:
    kind: str
    form: Mapping[str, str]
    reading: Reading
    received_at: datetime

    def get(self, name: str) -> str | None:
        value = self.form.get(name, "").strip()
        return value or None

    def say(self, type: str, data: Mapping[str, Any], *, suffix: str = "", once: Sequence[str | None] = ()) -> Event:
        """The event.

        There is no id of an event: what it says is its name, which is ``once`` where when it was does not matter.
        """
        at = self.reading.moment(self.get("date_time"))
        if at is None:
            raise InvalidEvent("date_time", "is no time")
        contact = self.get("contact[id]") or self.get("deal[contactid]")
        about = ("list", "tag", "campaign[id]", "message[id]", "link[url]", "link[id]")
        name, *parts = once or (self.kind, contact, self.get("date_time"), *(self.get(part) for part in about))
        digest = sha256("\n".join(part or "" for part in parts).encode(errors="replace")).hexdigest()[:32]
        return event(
            type,
            source="activecampaign",
            source_id=f"{name}-{digest}{suffix}",
            # An account in another zone than we were told would write of the future.
            occurred_at=min(at, self.received_at),
            identities=identities(
                ("activecampaign", contact), ("email", self.get("contact[email]") or self.get("deal[contact_email]"))
            ),
            data={name: value for name, value in data.items() if value is not None},
        )

    def traits(self) -> dict[str, str | None]:
        names = {"email": "email", "first_name": "first_name", "last_name": "last_name", "phone": "phone"}
        known = {ours: self.get(f"contact[{theirs}]") for ours, theirs in names.items()}
        return {**known, "company": self.get("contact[orgname]"), "tags": self.get("contact[tags]")}


def _subscribed(notice: _Notice) -> list[Event]:
    # Who was put on a list by a colleague, an automation or a program has not asked for anything.
    if notice.get("initiated_from") != "public":
        return [notice.say("contact.updated", notice.traits())]
    found = [notice.say("contact.identified", notice.traits())]
    list_id = notice.get("list") or ""
    if list_id in notice.reading.purposes:
        said = notice.reading.withdrawn(list_id)
        found.append(notice.say("consent.granted", said, suffix=":consent"))
    return found


def _unsubscribed(notice: _Notice) -> list[Event]:
    list_id = notice.get("list")
    return [notice.say("consent.withdrawn", notice.reading.withdrawn(None if list_id == "0" else list_id))]


def _changed(notice: _Notice) -> list[Event]:
    return [notice.say("contact.updated", notice.traits())]


def _tagged(notice: _Notice) -> list[Event]:
    tag = notice.get("tag")
    if tag is None:
        raise InvalidEvent("tag", "is missing")
    name = notice.kind.removeprefix("contact_")
    return [notice.say(f"custom.activecampaign_{name}", {"tag": tag})]


def _bounced(notice: _Notice) -> list[Event]:
    kind = (notice.get("bounce[type]") or "").lower()
    said = {
        "channel": "email",
        "permanent": kind == "hard",
        "address": notice.get("bounce[email]") or notice.get("contact[email]"),
        "reason": notice.get("bounce[code]"),
    }
    return [notice.say("message.bounced", said)]


def _acted(type: str, channel: str) -> Callable[[_Notice], list[Event]]:
    def read(notice: _Notice) -> list[Event]:
        said = {"channel": channel, "campaign": notice.get("campaign[id]"), "url": notice.get("link[url]")}
        return [notice.say(type, said)]

    return read


def _sms_stopped(notice: _Notice) -> list[Event]:
    return [notice.say("consent.withdrawn", {"channel": "sms", "purpose": "all", "evidence": "activecampaign sms"})]


_DEAL_STATUS = {"0": "open", "1": "won", "2": "lost"}


def _deal(notice: _Notice) -> list[Event]:
    deal, stage = notice.get("deal[id]"), notice.get("deal[stage_title]") or notice.get("deal[stage]")
    contact = notice.get("deal[contactid]") or notice.get("contact[id]")
    if deal is None or stage is None:
        raise InvalidEvent("deal", "has no id or no stage")
    status = _DEAL_STATUS.get(notice.get("deal[status]") or "")
    said = {"deal_id": deal, "stage": stage, "status": status}
    # Any change of a deal is told. Where it stands is news only once.
    return [notice.say("deal.stage_changed", said, once=("deal", deal, contact, stage, status))]


_READERS: Mapping[str, Callable[[_Notice], list[Event]]] = {
    "subscribe": _subscribed,
    "unsubscribe": _unsubscribed,
    "update": _changed,
    "contact_add": _changed,
    "contact_tag_added": _tagged,
    "contact_tag_removed": _tagged,
    "bounce": _bounced,
    "open": _acted("message.opened", "email"),
    "click": _acted("message.clicked", "email"),
    "reply": _acted("message.replied", "email"),
    "sms_reply": _acted("message.replied", "sms"),
    "sms_unsub": _sms_stopped,
    "deal_add": _deal,
    "deal_update": _deal,
}
