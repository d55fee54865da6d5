"""Calendly: booked, moved, canceled and missed meetings come in, and the answers of routing forms.

A reschedule is told as two things that happened, a cancellation and a booking, in any order and perhaps hours apart.
Only the booking says both which meeting was given up and which one was taken. So it alone speaks for the move, and a
cancellation that is half of one says nothing.
"""

from binascii import hexlify
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

import httpx
import structlog
from pydantic import BaseModel, BeforeValidator, Field, HttpUrl, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from connectors import http
from connectors.base import Polled, Refused, Request, Told
from connectors.credentials import Credentials
from connectors.errors import NeverAgain
from connectors.fields import checked
from connectors.webhook import Body, Moment, check_age, check_signature, one_line_errors, secrets_in
from contacts.events import Event, Identity, event, identities, identity

log = structlog.get_logger()

Purposes = list[Literal["promotional", "lifecycle"]]

OVERLAP = timedelta(hours=1)
"""How far back a sweep looks again, for what Calendly stores late. What was seen before is a repeat and harmless."""


def _by_mail() -> dict[str, Purposes]:
    return {"email": ["promotional", "lifecycle"]}


class CalendlySettings(Credentials):
    """``CALENDLY_*``.

    Attributes:
        signing_secret: The ``signing_key`` that the webhook subscription was created with; several with commas.
        access_token: A personal access token, for polling and for erasure.
        organization: The organization's URI, whose meetings are polled; None: nothing is polled.
        look_ahead_days: How far ahead a polled meeting may begin.
        consent_question: A booking form's question that asks for consent to e-mail, letter for letter.
        consent_answer: The answer to it that means yes.
        consent: What that yes allows, as ``{"email": ["promotional"]}``.
    """

    model_config = SettingsConfigDict(env_prefix="CALENDLY_")

    calls_per_second: Annotated[float, Field(gt=0)] | None = 1.0
    signing_secret: SecretStr | None = None
    access_token: SecretStr | None = None
    organization: str | None = None
    base_url: HttpUrl = HttpUrl("https://api.calendly.com")
    look_ahead_days: Annotated[int, Field(ge=1, le=365)] = 90
    consent_question: str | None = None
    consent_answer: str = "Yes"
    consent: dict[str, Purposes] = Field(default_factory=_by_mail)


@checked
class Calendly:
    """The ``Source`` of meetings, their ``Poller`` as a safety net, and a ``Sink`` that passes erasure on."""

    name: ClassVar[str] = "calendly"
    every: ClassVar[timedelta] = timedelta(minutes=15)

    def __init__(self, settings: CalendlySettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. A subscription made without a key sends unsigned requests: they are refused."""
        secrets = secrets_in(self._settings.signing_secret)
        sent, signatures = _signature_header(request.headers.get("calendly-webhook-signature", ""))
        check_signature(secrets, sent.encode() + b"." + request.body, signatures, hexlify)
        check_age(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(sent)), now)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``."""
        with one_line_errors():
            notice = _Notice.model_validate_json(request.body)
            match notice.event:
                case "invitee.created":
                    return self._booked(_Invitee.model_validate(notice.payload), notice.created_at)
                case "invitee.canceled":
                    return self._canceled(_Invitee.model_validate(notice.payload), notice.created_at)
                case "invitee_no_show.created":
                    return self._missed(_NoShow.model_validate(notice.payload), notice.created_at)
                case "invitee_no_show.deleted":
                    return self._came_after_all(_NoShow.model_validate(notice.payload), notice.created_at)
                case "routing_form_submission.created":
                    return _form(_Submission.model_validate(notice.payload), notice.created_at)
        return []

    async def poll(self, cursor: str | None, now: datetime) -> Polled:
        """See ``Poller.poll``. Every page is twenty meetings and a call for each that changed since the last sweep."""
        at = _Cursor.read(cursor) or _Cursor(since=now, began=now)
        if cursor is None or self._settings.organization is None:
            return Polled([], _Cursor(since=now, began=now).text())
        if at.page is None:
            at = _Cursor(since=at.since, began=now)
        floor = at.since - OVERLAP
        params = {
            "organization": self._settings.organization,
            "min_start_time": _utc(at.began - timedelta(days=7)),
            "max_start_time": _utc(at.began + timedelta(days=self._settings.look_ahead_days)),
            "sort": "start_time:asc",
            "count": "20",
            **({"page_token": at.page} if at.page else {}),
        }
        try:
            page = await self._ask("GET", "/scheduled_events", _Page, params=params)
        except http.Rejected as error:
            if at.page and error.status in (400, 404):
                # Calendly no longer knows the page: the sweep begins again.
                return Polled([], _Cursor(since=at.since, began=now).text(), more=True)
            raise
        found: list[Event] = []
        for item in page.collection:
            try:
                meeting = _Meeting.model_validate(item)
                if meeting.uri and (meeting.updated_at or at.began) >= floor:
                    found += await self._of_meeting(meeting, at.began)
            except ValidationError as error:
                log.warning("calendly.not_understood", meeting=_last(item.get("uri")), faults=error.error_count())
        events = sorted((e for e in found if e.occurred_at >= floor), key=lambda e: e.occurred_at)
        following = page.pagination.next_page_token
        after = _Cursor(since=at.since, began=at.began, page=following) if following else _Cursor.at(at.began)
        return Polled(events, after.text(), more=following is not None)

    async def tell(self, told: Told) -> str | None:
        """See ``Sink.tell``. Only ``contact.erased`` means anything here: Calendly deletes what invitees gave it.

        The deletion is carried out later, by Calendly, and may be asked for twice.
        """
        if told.type != "contact.erased":
            raise NeverAgain(self.name, f"{told.type} is nothing that Calendly can be told")
        emails = [i.value for i in told.identities if i.kind == "email"]
        if emails:
            await self._ask("POST", "/data_compliance/deletion/invitees", http.Unread, json={"emails": emails})
        return None

    async def _of_meeting(self, meeting: "_Meeting", now: datetime) -> list[Event]:
        path = f"/scheduled_events/{_last(meeting.uri)}/invitees"
        found: list[Event] = []
        token: str | None = None
        while True:
            params = {"count": "100", **({"page_token": token} if token else {})}
            page = await self._ask("GET", path, _Page, params=params)
            for item in page.collection:
                try:
                    found += self._of_invitee({**item, "scheduled_event": meeting.model_dump()}, now)
                except ValueError as error:
                    log.warning("calendly.not_understood", invitee=_last(item.get("uri")), error=str(error))
            token = page.pagination.next_page_token
            if token is None:
                return found

    def _of_invitee(self, item: Mapping[str, Any], now: datetime) -> list[Event]:
        """What became of an invitee so far: the very events that webhooks would have told."""
        with one_line_errors():
            invitee = _Invitee.model_validate(item)
            events = self._booked(invitee, now)
            if invitee.status == "canceled":
                events += self._canceled(invitee, now)
            if invitee.no_show is not None:
                events += self._missed(_NoShow.model_validate(item), now)
            return events

    def _booked(self, invitee: "_Invitee", told_at: datetime) -> list[Event]:
        at = invitee.created_at or told_at
        meeting = invitee.scheduled_event or _Meeting()
        facts = {
            **invitee.meeting(),
            "starts_at": meeting.start_time.isoformat() if meeting.start_time else None,
            "ends_at": meeting.end_time.isoformat() if meeting.end_time else None,
            "name": meeting.name,
            "url": meeting.location.join_url if meeting.location else None,
            "move_url": invitee.reschedule_url,
            "cancel_url": invitee.cancel_url,
            "host": next((m.user_email for m in meeting.event_memberships if m.user_email), None),
            "answers": _answers(invitee.questions_and_answers),
            "consent": self._consent(invitee.questions_and_answers),
            "utm": invitee.tracking.utm() if invitee.tracking else None,
            "moved_from": _last(invitee.old_invitee),
        }
        traits = {
            "email": invitee.email,
            "name": invitee.name,
            "first_name": invitee.first_name,
            "last_name": invitee.last_name,
            "timezone": invitee.timezone,
        }
        who = invitee.who()
        events = [
            _said("meeting.booked", f"booked/{invitee.id}", at, who, facts),
            _said("contact.updated", f"invitee/{invitee.id}", at, who, traits),
        ]
        if (old := _last(invitee.old_invitee)) is None:
            return events
        # The old time was given up before the new one was taken, if only just: who moved a meeting has one.
        gone = {"meeting_id": old, "rescheduled": True, "moved_to": invitee.id}
        given_up = _said("meeting.canceled", f"canceled/{old}", at - timedelta(milliseconds=1), _known(who, old), gone)
        return [given_up, *events]

    def _canceled(self, invitee: "_Invitee", told_at: datetime) -> list[Event]:
        if invitee.rescheduled:
            return []
        why = invitee.cancellation or _Cancellation()
        facts = {**invitee.meeting(), "by": why.canceler_type, "reason": why.reason, "rescheduled": False}
        at = why.created_at or told_at
        return [_said("meeting.canceled", f"canceled/{invitee.id}", at, invitee.who(), facts)]

    def _missed(self, mark: "_NoShow", told_at: datetime) -> list[Event]:
        at = mark.at or told_at
        source_id = f"no_show/{mark.invitee_id}/{at.isoformat()}"
        return [_said("meeting.no_show", source_id, at, mark.who(), {"meeting_id": mark.invitee_id})]

    def _came_after_all(self, mark: "_NoShow", told_at: datetime) -> list[Event]:
        source_id = f"came/{mark.invitee_id}/{told_at.isoformat()}"
        facts = {"meeting_id": mark.invitee_id, "no_show_taken_back": True}
        return [_said("meeting.completed", source_id, told_at, mark.who(), facts)]

    def _consent(self, answers: Iterable["_Answer"]) -> dict[str, Purposes] | None:
        settings = self._settings
        said = {a.question.strip(): a.answer.strip() for a in answers if a.answer}
        question = settings.consent_question
        return settings.consent if question and said.get(question.strip()) == settings.consent_answer.strip() else None

    async def _ask(
        self,
        method: str,
        path: str,
        answer: type[http.Answer],
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> http.Answer:
        if not self._settings.access_token:
            raise NeverAgain(self.name, "no access token is set (CALENDLY_ACCESS_TOKEN)")
        url = str(self._settings.base_url).rstrip("/") + path
        headers = {"Authorization": f"Bearer {self._settings.access_token.get_secret_value().strip()}"}
        request = self._client.build_request(method, url, params=params, json=json, headers=headers)
        return await http.call(self._client, _PROVIDER, request, answer, idempotent=True)


def _refusal(response: httpx.Response) -> http.Refusal:
    body = http.body_of(response)
    details = body.get("details")
    first = details[0] if isinstance(details, list) and details and isinstance(details[0], dict) else {}
    reset = response.headers.get("x-ratelimit-reset", "")
    delay = timedelta(seconds=int(reset)) if reset.isascii() and reset.isdigit() and len(reset) < 5 else None
    # ``title`` is one of a few fixed texts; ``message`` quotes what was sent.
    return http.Refusal(
        http.codes(body.get("title"), first.get("parameter")), response.headers.get("x-request-id"), delay
    )


_PROVIDER = http.Provider("calendly", busy=frozenset({429, 503}), read=_refusal)


def _signature_header(header: str) -> tuple[str, list[str]]:
    """The timestamp as it was signed, and every ``v1`` signature of ``t=...,v1=...``."""
    fields = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in fields if name == "t"]
    if not header:
        raise Refused(401, "there is no Calendly-Webhook-Signature header")
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 11):
        raise Refused(400, "the Calendly-Webhook-Signature header has no readable timestamp")
    return times[0], [value for name, _, value in fields if name == "v1"]


def _said(type: str, source_id: str, at: datetime, who: tuple[Identity, ...], data: Mapping[str, Any]) -> Event:
    known = {name: value for name, value in data.items() if value not in (None, "", {})}
    return event(type, source=Calendly.name, source_id=source_id, occurred_at=at, identities=who, data=known)


def _last(uri: object) -> str | None:
    """The id at the end of a URI. Whole URIs are long and say nothing more."""
    return (uri.rstrip("/").rpartition("/")[2] or None) if isinstance(uri, str) else None


def _known(who: tuple[Identity, ...], invitee_id: str) -> tuple[Identity, ...]:
    return tuple(dict.fromkeys((*who, *identities((Calendly.name, invitee_id)))))


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Cursor(BaseModel):
    """``since``: earlier sweeps told what happened before it. ``began``: when this one did. ``page``: its next one."""

    since: Moment
    began: Moment
    page: str | None = None

    @classmethod
    def read(cls, text: str | None) -> "_Cursor | None":
        return None if text is None else cls.model_validate_json(text)

    @classmethod
    def at(cls, moment: datetime) -> "_Cursor":
        return cls(since=moment, began=moment)

    def text(self) -> str:
        return self.model_dump_json(exclude_none=True)


class _Pagination(Body):
    next_page_token: str | None = None


class _Page(Body):
    collection: list[dict[str, Any]]
    pagination: _Pagination = _Pagination()


class _Notice(Body):
    event: str
    created_at: Moment
    payload: dict[str, Any] = Field(default_factory=dict)


class _Location(Body):
    join_url: str | None = None


class _Membership(Body):
    user_email: str | None = None


def _listed(value: Any) -> Any:
    return [] if value is None else value


class _Meeting(Body):
    uri: str | None = None
    name: str | None = None
    start_time: Moment | None = None
    end_time: Moment | None = None
    updated_at: Moment | None = None
    location: _Location | None = None
    event_memberships: Annotated[list[_Membership], BeforeValidator(_listed)] = Field(default_factory=list)


class _Answer(Body):
    question: str
    answer: str | None = None


class _Tracking(Body):
    utm_source: str | None = None
    utm_medium: str | None = None
    utm_campaign: str | None = None
    utm_content: str | None = None
    utm_term: str | None = None

    def utm(self) -> dict[str, str]:
        return {name.removeprefix("utm_"): value for name, value in self if value}


class _Cancellation(Body):
    canceler_type: str | None = None
    reason: str | None = None
    created_at: Moment | None = None


class _Mark(Body):
    created_at: Moment | None = None


InviteeUri = Annotated[str, Field(pattern=r"/invitees/[^/]{1,100}/?$")]


class _Person(Body):
    email: str | None = None
    text_reminder_number: str | None = None

    def reached(self, invitee_id: str | None) -> tuple[Identity, ...]:
        return identities(("email", self.email), ("phone", self.text_reminder_number), (Calendly.name, invitee_id))


class _Invitee(_Person):
    uri: InviteeUri
    event: str | None = None
    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    status: str | None = None
    timezone: str | None = None
    created_at: Moment | None = None
    scheduled_event: _Meeting | None = None
    questions_and_answers: Annotated[list[_Answer], BeforeValidator(_listed)] = Field(default_factory=list)
    tracking: _Tracking | None = None
    rescheduled: bool = False
    old_invitee: InviteeUri | None = None
    cancellation: _Cancellation | None = None
    no_show: _Mark | None = None
    cancel_url: str | None = None
    reschedule_url: str | None = None

    @property
    def id(self) -> str:
        return _last(self.uri) or ""

    def who(self) -> tuple[Identity, ...]:
        return self.reached(self.id)

    def meeting(self) -> dict[str, Any]:
        # A meeting of several has one event and an invitee each: the invitee is what one person booked.
        held = self.event or (self.scheduled_event.uri if self.scheduled_event else None)
        return {"meeting_id": self.id, "event_id": _last(held)}


class _NoShow(_Person):
    """Either the invitee with the mark inside, or the mark alone, which names the invitee."""

    uri: str
    invitee: str | None = None
    no_show: _Mark | None = None
    created_at: Moment | None = None

    @property
    def invitee_id(self) -> str:
        return (_last(self.invitee or self.uri) or "")[:100]

    @property
    def at(self) -> datetime | None:
        if self.invitee is not None:
            return self.created_at
        return self.no_show.created_at if self.no_show else None

    def who(self) -> tuple[Identity, ...]:
        return self.reached(self.invitee_id)


class _Submission(Body):
    uri: Annotated[str, Field(max_length=200)]
    routing_form: str | None = None
    questions_and_answers: Annotated[list[_Answer], BeforeValidator(_listed)] = Field(default_factory=list)
    tracking: _Tracking | None = None
    submitter: str | None = None
    created_at: Moment | None = None


def _answers(answers: Iterable[_Answer]) -> dict[str, str]:
    return {a.question: a.answer for a in answers if a.answer}


def _form(submission: _Submission, told_at: datetime) -> list[Event]:
    """A routing form has no field of its own for the address: the first answer that is one is taken for it."""
    given = [a.answer for a in submission.questions_and_answers]
    email = next((found.value for answer in given if (found := identity("email", answer))), None)
    submitter = submission.submitter or ""
    who = identities(("email", email), (Calendly.name, _last(submitter) if "/invitees/" in submitter else None))
    if not who:
        return []
    facts = {
        "form": _last(submission.routing_form) or "routing-form",
        "answers": _answers(submission.questions_and_answers),
        "utm": submission.tracking.utm() if submission.tracking else None,
    }
    at = submission.created_at or told_at
    return [_said("form.submitted", f"form/{_last(submission.uri)}", at, who, facts)]
