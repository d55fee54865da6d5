"""Zendesk: support tickets, satisfaction ratings and users come in.

Two kinds of webhook exist. An event subscription has a fixed body, without the requester's address. A webhook fired by
a trigger has the body its administrator typed: ``docs/connectors/zendesk.md`` gives the one understood here.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from connectors.base import Refused, Request
from connectors.webhook import Body, Moment, check_age, check_signature, one_line_errors, secrets_in
from contacts.events import Event, event, identities

PUBLIC_TEST_SECRET = b"dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ=="
"""Signs the test requests of a webhook that is not saved yet. Everybody knows it, so it proves nothing."""

_OVER = ("SOLVED", "CLOSED", "DELETED", "ARCHIVED", "SCRUBBED")


class ZendeskSettings(BaseSettings):
    """``ZENDESK_*``. Several signing secrets may stand side by side, with commas: each webhook has its own."""

    model_config = SettingsConfigDict(
        env_prefix="ZENDESK_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    signing_secret: SecretStr | None = None


class Zendesk:
    """The ``Source`` of support tickets."""

    name: ClassVar[str] = "zendesk"

    def __init__(self, settings: ZendeskSettings) -> None:
        self._settings = settings

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``."""
        secrets = secrets_in(self._settings.signing_secret)
        if PUBLIC_TEST_SECRET in secrets:
            raise Refused(401, "the signing secret is Zendesk's public test secret: set the webhook's own")
        signature = request.headers.get("x-zendesk-webhook-signature", "")
        sent = request.headers.get("x-zendesk-webhook-signature-timestamp", "")
        if not signature:
            raise Refused(401, "there is no X-Zendesk-Webhook-Signature header")
        try:
            sent_at = datetime.fromisoformat(sent)
        except ValueError:
            sent_at = None
        if sent_at is None or sent_at.tzinfo is None:
            raise Refused(400, "X-Zendesk-Webhook-Signature-Timestamp is not an ISO 8601 time with an offset")
        check_signature(secrets, sent.encode(errors="replace") + request.body, [signature], b64encode)
        check_age(sent_at, now)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``."""
        with one_line_errors():
            kind = _Kind.model_validate_json(request.body).type
            if kind.startswith("zen:"):
                return _subscribed(_Notice.model_validate_json(request.body))
            return _triggered(_Trigger.model_validate_json(request.body))


class _Kind(Body):
    type: str


class _Detail(Body):
    id: str
    requester_id: str | None = None
    status: str = ""
    priority: str | None = None
    email: str | None = None
    external_id: str | None = None
    role: str = ""


class _Notice(Body):
    type: str
    id: str
    time: Moment
    detail: dict[str, Any] = Field(default_factory=dict)
    event: dict[str, Any] = Field(default_factory=dict)

    def say(self, type: str, who: Sequence[tuple[str, object]], data: Mapping[str, Any]) -> list[Event]:
        return [
            event(
                type,
                source=Zendesk.name,
                source_id=self.id,
                occurred_at=self.time,
                identities=identities(*who),
                data=data,
            )
        ]


class _Changed(Body):
    current: str
    previous: str


class _Score(Body):
    score: str
    comment: str | None = None


class _Rating(Body):
    satisfaction_score: _Score


class _User(Body):
    id: str


class _Merge(Body):
    user: _User


def _subscribed(notice: _Notice) -> list[Event]:
    kind = notice.type.removeprefix("zen:event-type").lstrip(":/")
    if kind not in _READERS:
        return []
    return _READERS[kind](notice, _Detail.model_validate(notice.detail))


def _ticket(detail: _Detail, **more: Any) -> dict[str, Any]:
    return {"ticket_id": detail.id, "priority": (detail.priority or "").lower() or None, **more}


def _opened(notice: _Notice, detail: _Detail) -> list[Event]:
    # A ticket can be filed as already solved, to log a call. Nobody is waiting on it.
    if detail.status.upper() in _OVER:
        return []
    return notice.say("ticket.opened", [("zendesk", detail.requester_id)], _ticket(detail))


def _status_changed(notice: _Notice, detail: _Detail) -> list[Event]:
    change = _Changed.model_validate(notice.event)
    was_over, is_over = change.previous.upper() in _OVER, change.current.upper() in _OVER
    if was_over == is_over:
        return []
    requester = [("zendesk", detail.requester_id)]
    if is_over:
        return notice.say("ticket.solved", requester, _ticket(detail, status=change.current.lower()))
    return notice.say("ticket.opened", requester, _ticket(detail, reopened=True))


def _withdrawn(notice: _Notice, detail: _Detail) -> list[Event]:
    # Not solved, but over all the same: it must not hold messages back for ever.
    return notice.say("ticket.solved", [("zendesk", detail.requester_id)], _ticket(detail, status="deleted"))


def _rated(notice: _Notice, detail: _Detail) -> list[Event]:
    rating = _Rating.model_validate(notice.event).satisfaction_score
    answer = {"score": rating.score.lower(), "comment": rating.comment}
    return notice.say("csat.answered", [("zendesk", detail.requester_id)], _ticket(detail, **answer))


def _user_created(notice: _Notice, detail: _Detail) -> list[Event]:
    if detail.role.lower() in ("agent", "admin"):
        return []
    who = [("user", detail.external_id), ("zendesk", detail.id), ("email", detail.email)]
    return notice.say("contact.updated", who, {"email": detail.email})


def _user_merged(notice: _Notice, detail: _Detail) -> list[Event]:
    other = _Merge.model_validate(notice.event).user.id
    who = [("zendesk", detail.id), ("zendesk", other), ("email", detail.email)]
    return notice.say("contact.merged", who, {"into": detail.id, "merged": [other]})


_READERS = {
    "ticket.created": _opened,
    "ticket.undeleted": _opened,
    "ticket.status_changed": _status_changed,
    "ticket.soft_deleted": _withdrawn,
    "ticket.marked_as_spam": _withdrawn,
    "ticket.csat_received": _rated,
    "user.created": _user_created,
    "user.merged": _user_merged,
}


def _or_none(value: Any) -> Any:
    """A placeholder with nothing behind it renders as an empty text, or as a dash."""
    return None if isinstance(value, str) and value.strip() in ("", "-") else value


Rendered = Annotated[str | None, BeforeValidator(_or_none)]


class _Trigger(Body):
    type: Literal["ticket.opened", "ticket.solved", "csat.answered"]
    ticket_id: Annotated[str, Field(min_length=1)]
    updated_at: Moment
    requester_email: Rendered = None
    requester_id: Rendered = None
    requester_external_id: Rendered = None
    priority: Rendered = None
    status: Rendered = None
    score: Rendered = None
    comment: Rendered = None


def _triggered(said: _Trigger) -> list[Event]:
    told = {"priority": said.priority, "status": said.status, "score": said.score}
    lower = {name: value.lower() for name, value in told.items() if value}
    return [
        event(
            said.type,
            source=Zendesk.name,
            # Only what is signed counts: the invocation id in the headers is not.
            source_id=f"{said.type}:{said.ticket_id}:{said.updated_at.isoformat()}",
            occurred_at=said.updated_at,
            identities=identities(
                ("user", said.requester_external_id),
                ("email", said.requester_email),
                ("zendesk", said.requester_id),
            ),
            data={"ticket_id": said.ticket_id, **lower, **({"comment": said.comment} if said.comment else {})},
        )
    ]
