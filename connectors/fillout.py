"""Fillout: the answers of forms come in, by webhook or by asking.

Fillout signs nothing. Whoever knows the secret can send any answers for any address, so the secret is all there is:
``docs/connectors/fillout.md`` says what follows from that.
"""

import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import structlog
from pydantic import BaseModel, BeforeValidator, Field, HttpUrl, SecretStr
from pydantic_settings import SettingsConfigDict

from connectors import http
from connectors.base import Polled, Refused, Request
from connectors.credentials import Credentials
from connectors.errors import NeverAgain
from connectors.webhook import Body, Moment, one_line_errors, secrets_in
from contacts.events import Event, event, identities

log = structlog.get_logger()

Purposes = list[Literal["promotional", "lifecycle"]]

PAGE = 150
"""Submissions in a page: the most that Fillout gives."""

OVERLAP = timedelta(hours=1)
"""How far back a sweep looks again, for what was stored late. A repeat is harmless."""


class FilloutSettings(Credentials):
    """``FILLOUT_*``.

    Attributes:
        signing_secret: What every webhook brings as ``Authorization: Bearer`` or as ``?key=``; several with commas.
        api_key: For polling.
        base_url: Another one for accounts in the EU or on a server of one's own.
        forms: Names of ours for forms, by Fillout's form id: ``{"a1b2c3": "quiz"}``. These forms are polled.
        questions: Names of ours for questions, by Fillout's question id; the others keep the text people read.
        consent: What a ticked box allows, by its question's id: ``{"q9": {"email": ["promotional"]}}``.
    """

    model_config = SettingsConfigDict(env_prefix="FILLOUT_")

    calls_per_second: Annotated[float, Field(gt=0)] | None = 5.0
    signing_secret: SecretStr | None = None
    api_key: SecretStr | None = None
    base_url: HttpUrl = HttpUrl("https://api.fillout.com/v1/api")
    forms: dict[str, str] = Field(default_factory=dict)
    questions: dict[str, str] = Field(default_factory=dict)
    consent: dict[str, dict[str, Purposes]] = Field(default_factory=dict)


class Fillout:
    """The ``Source`` of submitted forms, and their ``Poller``: nobody says that Fillout repeats a lost webhook."""

    name: ClassVar[str] = "fillout"
    every: ClassVar[timedelta] = timedelta(minutes=10)

    def __init__(self, settings: FilloutSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. The secret proves who sends; the body itself is not signed."""
        secrets = secrets_in(self._settings.signing_secret)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else _key_in(request.url)
        if not given:
            raise Refused(401, "there is no secret: neither an Authorization: Bearer header nor ?key= in the address")
        offered = given.encode(errors="replace")
        if not any(hmac.compare_digest(secret, offered) for secret in secrets):
            raise Refused(401, "the secret is not ours")

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``."""
        with one_line_errors():
            notice = _Notice.model_validate_json(request.body)
            return self._submitted(notice.formId, notice.formName, notice.submission)

    async def poll(self, cursor: str | None, now: datetime) -> Polled:
        """See ``Poller.poll``: one form after another, the oldest submissions first.

        Fillout finds submissions by when they were made. What was edited long after is told by webhook only.
        """
        forms = sorted(self._settings.forms)
        if cursor is None or not forms:
            return Polled([], _Cursor(since=now, began=now).model_dump_json())
        at = _Cursor.model_validate_json(cursor)
        if (at.form, at.offset) == (0, 0):
            at = _Cursor(since=at.since, began=now)
        form = forms[min(at.form, len(forms) - 1)]
        page = await self._page(form, at.since - OVERLAP, at.offset)
        events: list[Event] = []
        for item in page.responses:
            try:
                with one_line_errors():
                    events += self._submitted(form, None, _Submission.model_validate(item))
            except ValueError as error:
                log.warning("fillout.not_understood", form=form, error=str(error))
        if len(page.responses) == PAGE:
            after = at.model_copy(update={"offset": at.offset + PAGE})
        elif at.form + 1 < len(forms):
            after = at.model_copy(update={"form": at.form + 1, "offset": 0})
        else:
            return Polled(events, _Cursor(since=at.began, began=at.began).model_dump_json())
        return Polled(events, after.model_dump_json(), more=True)

    async def _page(self, form: str, since: datetime, offset: int) -> "_Page":
        settings = self._settings
        if not settings.api_key:
            raise NeverAgain(self.name, "no API key is set (FILLOUT_API_KEY)")
        url = f"{str(settings.base_url).rstrip('/')}/forms/{quote(form, safe='')}/submissions"
        params = {
            "limit": str(PAGE),
            "offset": str(offset),
            "status": "finished",
            "sort": "asc",
            "afterDate": since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        }
        headers = {"Authorization": f"Bearer {settings.api_key.get_secret_value().strip()}"}
        request = self._client.build_request("GET", url, params=params, headers=headers)
        return await http.call(self._client, _PROVIDER, request, _Page, idempotent=True)

    def _submitted(self, form: str, title: str | None, submission: "_Submission") -> list[Event]:
        who = identities(
            *(("email", text) for text in submission.texts("EmailInput")),
            *(("phone", text) for text in submission.texts("PhoneNumber")),
            # An address anybody can type makes no person of ours; a device of ours joins no two people.
            ("anonymous", submission.parameters.get("anonymous_id")),
        )
        if not who:
            return []
        settings = self._settings
        answers = {settings.questions.get(q.id, q.name or q.id): q.value for q in submission.questions if q.given}
        edited = submission.lastUpdatedAt is not None and submission.lastUpdatedAt > submission.submissionTime
        at = submission.lastUpdatedAt if edited and submission.lastUpdatedAt else submission.submissionTime
        facts = {
            "form": settings.forms.get(form, form),
            "title": title,
            "answers": answers,
            "topic": submission.parameters.get("topic"),
            "utm": {k.removeprefix("utm_"): v for k, v in submission.parameters.items() if k.startswith("utm_")},
            "consent": self._consent(submission),
            "edited": edited or None,
        }
        return [
            event(
                "form.submitted",
                source=self.name,
                # An edit is sent again, under the same id.
                source_id=f"{submission.submissionId}/{at.isoformat()}",
                occurred_at=at,
                identities=who,
                data={name: value for name, value in facts.items() if value not in (None, "", {})},
            )
        ]

    def _consent(self, submission: "_Submission") -> dict[str, list[str]]:
        """What the ticked boxes allow together. A box left empty takes nothing back, so it says nothing."""
        allowed: dict[str, list[str]] = {}
        for question in submission.questions:
            for channel, purposes in self._settings.consent.get(question.id, {}).items() if question.ticked else ():
                allowed[channel] = sorted({*allowed.get(channel, []), *purposes})
        return allowed


def _key_in(url: str) -> str:
    """The ``key`` of the address's query; none where it comes twice, for then nobody can say which is meant."""
    try:
        found = [value for name, value in parse_qsl(urlsplit(url).query) if name == "key"]
    except ValueError:
        return ""
    return found[0] if len(found) == 1 else ""


def _refusal(response: httpx.Response) -> http.Refusal:
    return http.Refusal(http.codes(http.body_of(response).get("error")), response.headers.get("x-request-id"))


_PROVIDER = http.Provider("fillout", busy=frozenset({429, 503}), read=_refusal)


class _Cursor(BaseModel):
    """``since``: earlier sweeps told what was submitted before. ``began``: when this one did; ``form``, ``offset``."""

    since: Moment
    began: Moment
    form: Annotated[int, Field(ge=0)] = 0
    offset: Annotated[int, Field(ge=0)] = 0


class _Question(Body):
    id: str
    name: str | None = None
    type: str = ""
    value: Any = None

    @property
    def given(self) -> bool:
        return self.value not in (None, "", [], {})

    @property
    def ticked(self) -> bool:
        return self.value is True


class _Parameter(Body):
    name: str
    value: str | None = None


def _listed(value: Any) -> Any:
    return [] if value is None else value


class _Submission(Body):
    submissionId: Annotated[str, Field(min_length=1, max_length=200)]
    submissionTime: Moment
    lastUpdatedAt: Moment | None = None
    questions: Annotated[list[_Question], BeforeValidator(_listed)] = Field(default_factory=list)
    urlParameters: Annotated[list[_Parameter], BeforeValidator(_listed)] = Field(default_factory=list)

    @property
    def parameters(self) -> Mapping[str, str]:
        return {p.name: p.value for p in self.urlParameters if p.value}

    def texts(self, type: str) -> list[str]:
        """What was answered to the questions of a type: a text each, several, or nothing."""
        values = [q.value if isinstance(q.value, list) else [q.value] for q in self.questions if q.type == type]
        return [text for value in values for text in value if isinstance(text, str)]


class _Notice(Body):
    formId: Annotated[str, Field(min_length=1)]
    formName: str | None = None
    submission: _Submission


class _Page(Body):
    responses: list[dict[str, Any]]
