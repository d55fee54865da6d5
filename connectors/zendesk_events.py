"""What Zendesk says of tickets and users: by event subscription, by trigger, and in an export of what changed.

An event subscription has a fixed body, without the requester's address. A webhook fired by a trigger has the body its
administrator typed: ``docs/connectors/zendesk.md`` gives the one understood here.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from connectors.webhook import Body, Moment, one_line_errors
from contacts.events import Event, InvalidEvent, event, identities

SOURCE = "zendesk"

OURS = "perennial"
"""Tag, and beginning of the external id, of the tickets we open: nobody asked for help in those."""

Shape = TypeVar("Shape", bound=BaseModel)

_OVER = ("SOLVED", "CLOSED", "DELETED", "ARCHIVED", "SCRUBBED")


def read(body: bytes) -> Sequence[Event]:
    """The events in a webhook's body; none where its kind means nothing to us.

    Raises:
        ValueError: The body is of another shape; one line that names the field.
    """
    with one_line_errors():
        kind = _Kind.model_validate_json(body).type
        if kind.startswith("zen:"):
            return _subscribed(_Notice.model_validate_json(body))
        return _triggered(_Trigger.model_validate_json(body))


class Export(Body):
    """A page of tickets that changed, with who asked."""

    tickets: list[Any]
    users: list[Any] = Field(default_factory=list)
    metric_sets: list[Any] = Field(default_factory=list)
    after_cursor: str | None = None
    end_of_stream: bool = True

    def events(self) -> list[Event]:
        """What has happened, oldest first. What cannot be read must not stand in the way of what comes after it."""
        who = {user.id: user for user in _readable(_Requester, self.users)}
        solved = {metrics.ticket_id: metrics.solved_at for metrics in _readable(_Metrics, self.metric_sets)}
        found: list[Event] = []
        for ticket in _readable(_Exported, self.tickets):
            with suppress(InvalidEvent):
                found += _as_of(ticket, who.get(ticket.requester_id or ""), solved.get(ticket.id))
        return sorted(found, key=lambda event: event.occurred_at)


class _Exported(Body):
    id: str
    status: str
    created_at: Moment
    updated_at: Moment
    priority: str | None = None
    requester_id: str | None = None
    external_id: str | None = None
    tags: list[str] = Field(default_factory=list)


class _Requester(Body):
    id: str
    email: str | None = None
    external_id: str | None = None


class _Metrics(Body):
    ticket_id: str
    solved_at: Moment | None = None


def _readable(shape: type[Shape], items: list[Any]) -> Iterator[Shape]:
    for item in items:
        try:
            yield shape.model_validate(item)
        except ValidationError:
            continue


def _as_of(ticket: _Exported, requester: _Requester | None, solved_at: datetime | None) -> list[Event]:
    """What a ticket's state says has happened: that it was opened, and that it is over.

    The export tells states and not changes, so a ticket that was opened again between two polls is not noticed. The
    source ids are those of the trigger's body, so that who is told by both hears of an opening once.
    """
    if _is_ours(ticket.external_id, ticket.tags):
        return []
    who = identities(
        ("user", requester.external_id if requester else None),
        ("email", requester.email if requester else None),
        ("zendesk", ticket.requester_id),
    )
    priority = {"priority": ticket.priority.lower()} if ticket.priority else {}
    over = ticket.status.upper() in _OVER
    at = (solved_at or ticket.updated_at) if over else ticket.created_at
    if over and at <= ticket.created_at:  # filed as already solved, to log a call
        return []
    type = "ticket.solved" if over else "ticket.opened"
    return [
        event(
            type,
            source=SOURCE,
            # Without the time it was solved every later change of the ticket would look like another solution.
            source_id=_source_id(type, ticket.id, None if over and solved_at is None else at),
            occurred_at=at,
            identities=who,
            data={"ticket_id": ticket.id, "status": ticket.status.lower(), **priority},
        )
    ]


def _source_id(type: str, ticket_id: str, at: datetime | None) -> str:
    return f"{type}:{ticket_id}:{at.astimezone(UTC).isoformat() if at else 'polled'}"


def _is_ours(external_id: str | None, tags: Sequence[str]) -> bool:
    return (external_id or "").startswith(f"{OURS}/") or OURS in tags


class _Kind(Body):
    type: str


class _Detail(Body):
    id: str
    created_at: Moment | None = None
    requester_id: str | None = None
    status: str = ""
    priority: str | None = None
    email: str | None = None
    external_id: str | None = None
    role: str = ""
    tags: list[str] = Field(default_factory=list)


class _Notice(Body):
    type: str
    id: str
    time: Moment
    detail: dict[str, Any] = Field(default_factory=dict)
    event: dict[str, Any] = Field(default_factory=dict)

    def say(
        self, type: str, who: Sequence[tuple[str, object]], data: Mapping[str, Any], source_id: str | None = None
    ) -> list[Event]:
        return [
            event(
                type,
                source=SOURCE,
                source_id=source_id or self.id,
                occurred_at=self.time,
                identities=identities(*who),
                data=data,
            )
        ]

    def say_of(self, type: str, detail: "_Detail", at: datetime | None = None, **more: Any) -> list[Event]:
        """What happened to a ticket, under the id that whoever else tells of it gives it."""
        ticket = {"ticket_id": detail.id, "priority": (detail.priority or "").lower() or None, **more}
        source_id = _source_id(type, detail.id, (at or self.time).replace(microsecond=0))
        return self.say(type, [("zendesk", detail.requester_id)], ticket, source_id)


class _Changed(Body):
    current: str
    previous: str


class _Score(Body):
    score: str
    comment: str | None = None


class _Rating(Body):
    satisfaction_score: _Score


class _Merged(Body):
    id: str


class _Merge(Body):
    user: _Merged


def _subscribed(notice: _Notice) -> list[Event]:
    kind = notice.type.removeprefix("zen:event-type").lstrip(":/")
    if kind not in _READERS:
        return []
    detail = _Detail.model_validate(notice.detail)
    if kind.startswith("ticket.") and _is_ours(detail.external_id, detail.tags):
        return []
    return _READERS[kind](notice, detail)


def _opened(notice: _Notice, detail: _Detail) -> list[Event]:
    # A ticket can be filed as already solved, to log a call. Nobody is waiting on it.
    return [] if detail.status.upper() in _OVER else notice.say_of("ticket.opened", detail)


def _created(notice: _Notice, detail: _Detail) -> list[Event]:
    return [] if detail.status.upper() in _OVER else notice.say_of("ticket.opened", detail, detail.created_at)


def _status_changed(notice: _Notice, detail: _Detail) -> list[Event]:
    change = _Changed.model_validate(notice.event)
    was_over, is_over = change.previous.upper() in _OVER, change.current.upper() in _OVER
    if was_over == is_over:
        return []
    if is_over:
        return notice.say_of("ticket.solved", detail, status=change.current.lower())
    return notice.say_of("ticket.opened", detail, reopened=True)


def _withdrawn(notice: _Notice, detail: _Detail) -> list[Event]:
    # Not solved, but over all the same: it must not hold messages back for ever.
    return notice.say_of("ticket.solved", detail, status="deleted")


def _rated(notice: _Notice, detail: _Detail) -> list[Event]:
    rating = _Rating.model_validate(notice.event).satisfaction_score
    answer = {"score": rating.score.lower(), "comment": rating.comment, "ticket_id": detail.id}
    priority = (detail.priority or "").lower() or None
    return notice.say("csat.answered", [("zendesk", detail.requester_id)], {**answer, "priority": priority})


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
    "ticket.created": _created,
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
    tags: str = ""


def _triggered(said: _Trigger) -> list[Event]:
    if _is_ours(None, said.tags.split()):
        return []
    told = {"priority": said.priority, "status": said.status, "score": said.score}
    lower = {name: value.lower() for name, value in told.items() if value}
    return [
        event(
            said.type,
            source=SOURCE,
            # Only what is signed counts: the invocation id in the headers is not.
            source_id=_source_id(said.type, said.ticket_id, said.updated_at),
            occurred_at=said.updated_at,
            identities=identities(
                ("user", said.requester_external_id),
                ("email", said.requester_email),
                ("zendesk", said.requester_id),
            ),
            data={"ticket_id": said.ticket_id, **lower, **({"comment": said.comment} if said.comment else {})},
        )
    ]
