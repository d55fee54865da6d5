"""The tracking API: the calls of analytics.js and the libraries like it, as events.

A browser's write key is public. Whoever has one can say what a visitor did and who they are, but not what only an
operator or a provider may (``FOREIGN``), and can read nothing.
"""

import hmac
import json
import re
import unicodedata
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from hashlib import sha256
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic.alias_generators import to_camel

from connectors.base import Refused, Request
from connectors.batch import Problem, Reading, load_json
from connectors.webhook import one_line_errors
from contacts.events import (
    DATA,
    TYPE_PATTERN,
    Event,
    Identity,
    InvalidEvent,
    event,
    identities,
    identity,
    minor_digits,
)

CALL_LIMIT = 32 * 1024
"""Bytes of one call."""

BATCH_LIMIT = 500 * 1024
"""Bytes of a batch, unpacked."""

BATCH_CALLS = 2500
"""Calls in a batch."""

AHEAD = timedelta(minutes=5)
"""How far a client's clock may be ahead of ours before we take our own word for it."""

FOREIGN = (
    "handoff.", "approval.", "hold.", "segment.", "broadcast.", "message.", "address.", "contact.merged",
    "contact.erased",
)  # fmt: skip
"""Types no write key may speak of: what operators and we do, what happens to our messages, who is erased."""

PATHS = {
    "identify": "identify", "i": "identify",
    "track": "track", "t": "track",
    "page": "page", "p": "page",
    "screen": "screen", "s": "screen",
    "group": "group", "g": "group",
    "alias": "alias", "a": "alias",
    "batch": "batch", "b": "batch", "import": "batch",
}  # fmt: skip
"""The last segment of a call's address, and the call it makes; short ones are for older clients."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_NOBODY = frozenset({"", "undefined", "null", "none", "nan", "[object object]", "true", "false"})
"""What broken clients send for an absent id. As an id it would make one person of all their visitors."""


def _id(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    return None if isinstance(value, str) and value.strip().lower() in _NOBODY else value


def _with_offset(value: datetime) -> datetime:
    value = value if value.tzinfo else value.replace(tzinfo=UTC)
    if not 1970 <= value.year <= 9998:
        raise ValueError("is not a time a clock can show")
    return value.astimezone(UTC)


def _is_id(value: object) -> bool:
    return isinstance(value, str | int | float) and _id(value) is not None


Id = Annotated[str | None, BeforeValidator(_id)]
Time = Annotated[datetime | None, AfterValidator(lambda value: value and _with_offset(value))]
Object = Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)]


class Call(BaseModel):
    """One call as clients send it; fields we do not know are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel)

    type: Literal["identify", "track", "page", "screen", "group", "alias"]
    user_id: Id = None
    anonymous_id: Id = None
    previous_id: Id = None
    group_id: Id = None
    message_id: Annotated[str | None, Field(max_length=100)] = None
    event: Annotated[str | None, Field(max_length=255)] = None
    name: str | None = None
    timestamp: Time = None
    sent_at: Time = None
    traits: Object = Field(default_factory=dict)
    properties: Object = Field(default_factory=dict)
    context: Object = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> "Call":
        if self.user_id is None and self.anonymous_id is None and self.type != "alias":
            raise ValueError("needs a userId or an anonymousId")
        if self.type == "alias" and (self.user_id is None or self.previous_id is None):
            raise ValueError("alias needs a userId and a previousId")
        if self.type == "group" and self.group_id is None:
            raise ValueError("group needs a groupId")
        if self.type == "track" and not (self.event and self.event.strip()):
            raise ValueError("track needs an event")
        if self.type == "track" and self.event and self.event.strip().startswith(FOREIGN):
            raise ValueError("the tracking API does not take this type of event")
        return self

    def within(self, name: str) -> Mapping[str, Any]:
        """An object of the context (``page``, ``traits``); empty where there is none."""
        found = self.context.get(name)
        return found if isinstance(found, dict) else {}

    def occurred_at(self, received_at: datetime) -> datetime:
        """When it happened by our clock: ``received_at`` less the age the client's own clock gives the call."""
        if self.timestamp is None:
            return received_at
        age = (self.sent_at or received_at) - self.timestamp
        return received_at - min(max(age, -AHEAD), received_at - _EPOCH)


class Track:
    """The ``Source`` of tracking calls. Its signature is a write key, by Basic authorization or in the body."""

    name: ClassVar[str] = "track"

    def __init__(self, write_keys: Sequence[SecretStr]) -> None:
        self._keys = [key.get_secret_value().encode() for key in write_keys]

    def verify(self, request: Request, now: datetime) -> None:
        """See ``Source.verify``. A single call that is malformed is refused; in a batch it costs only itself."""
        from_header = _basic_user(request.headers.get("authorization", ""))
        document = _document(request)
        if not self._knows(from_header) and not self._knows(document.get("writeKey")):
            raise Refused(401, "the write key is not known")
        for call in _calls(request, document):
            if isinstance(call, Problem) and not _is_batch(request):
                raise Refused(400, call.reason)

    def parse(self, request: Request, received_at: datetime) -> Sequence[Event]:
        """See ``Source.parse``; ``read`` tells more."""
        return self.read(request, received_at).understood()

    def read(self, request: Request, received_at: datetime) -> Reading:
        """The events of every call, and what could not be understood.

        Raises:
            Refused: The request is not one that ``verify`` lets pass.
        """
        events: list[Event] = []
        problems: list[Problem] = []
        remarks: list[Problem] = []
        # A call without an id of its own gets one that is the same when the stored request is read again.
        made = sha256(request.body + received_at.isoformat().encode()).hexdigest()[:32]
        for index, call in enumerate(_calls(request, _document(request))):
            if isinstance(call, Problem):
                problems.append(call)
                continue
            given = _Given(call, call.message_id or f"{made}-{index}", received_at)
            try:
                events += given.events()
            except InvalidEvent as error:
                problems.append(Problem(index, str(error)))
            remarks += [Problem(index, reason) for reason in given.unusable]
        return Reading(tuple(events), tuple(problems), tuple(remarks))

    def _knows(self, offered: object) -> bool:
        if not isinstance(offered, str):
            return False
        given = offered.encode()
        return any(hmac.compare_digest(key, given) for key in self._keys)


def _basic_user(header: str) -> str | None:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        # Old clients leave out the colon between user and password.
        return b64decode(value.strip(), validate=True).decode().partition(":")[0]
    except ValueError:
        return None


def _unpacked(request: Request) -> bytes:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return request.body
    if encoding != "gzip":
        raise Refused(415, "the body may be plain or gzip")
    stream = zlib.decompressobj(wbits=31)
    try:
        body = stream.decompress(request.body, BATCH_LIMIT + 1)
    except zlib.error:
        body = b""
    if not stream.eof and len(body) <= BATCH_LIMIT:
        raise Refused(400, "the body is not gzip")
    return body


def _document(request: Request) -> dict[str, Any]:
    body = _unpacked(request)
    limit = BATCH_LIMIT if _is_batch(request) else CALL_LIMIT
    if len(body) > limit:
        raise Refused(400, f"the body is larger than {limit // 1024} KB")
    document = load_json(body)
    if not isinstance(document, dict):
        raise Refused(400, "the body is not a JSON object")
    return document


def _endpoint(request: Request) -> str:
    try:
        path = urlsplit(request.url).path
    except ValueError:
        raise Refused(400, "the URL does not parse") from None
    return PATHS.get(path.rpartition("/")[2], "")


def _is_batch(request: Request) -> bool:
    return _endpoint(request) == "batch"


def _calls(request: Request, document: Mapping[str, Any]) -> Iterator[Call | Problem]:
    if not _is_batch(request):
        yield _call({**document, "type": _endpoint(request)}, 0)
        return
    items = document.get("batch")
    if not isinstance(items, list):
        raise Refused(400, "batch: must be a list of calls")
    if len(items) > BATCH_CALLS:
        raise Refused(400, f"batch: more than {BATCH_CALLS} calls")
    outer = document.get("context")
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            yield Problem(index, "a call must be an object")
        elif len(json.dumps(item, ensure_ascii=False).encode()) > CALL_LIMIT:
            yield Problem(index, f"the call is larger than {CALL_LIMIT // 1024} KB")
        else:
            inner = item.get("context")
            context = {**(outer if isinstance(outer, dict) else {}), **(inner if isinstance(inner, dict) else {})}
            yield _call({"sentAt": document.get("sentAt"), **item, "context": context}, index)


def _call(fields: Mapping[str, Any], index: int) -> Call | Problem:
    try:
        with one_line_errors():
            return Call.model_validate(fields)
    except InvalidEvent as error:
        return Problem(index, error.reason if error.field == "body" else str(error))


class _Given:
    """What one call gives: its events, and in ``unusable`` what of it had to be left out of them."""

    def __init__(self, call: Call, source_id: str, received_at: datetime) -> None:
        self._call = call
        self._source_id = source_id
        self._occurred_at = call.occurred_at(received_at)
        self.unusable: list[str] = []

    def events(self) -> list[Event]:
        makers: Mapping[str, Callable[[], list[Event]]] = {
            "identify": self._identify,
            "track": self._track,
            "page": self._page,
            "screen": self._page,
            "group": self._group,
            "alias": self._alias,
        }
        return makers[self._call.type]()

    def _event(self, type: str, data: Mapping[str, Any], suffix: str = "") -> Event:
        return event(
            type,
            source=Track.name,
            source_id=self._source_id + suffix,
            occurred_at=self._occurred_at,
            identities=self._identities(),
            data=data,
        )

    def _identities(self) -> tuple[Identity, ...]:
        call = self._call
        if call.type == "alias":
            # The old id may be a visitor's or a user's: the client does not say.
            ids = [("user", call.user_id), ("user", call.previous_id), ("anonymous", call.previous_id)]
            return identities(*ids, ("anonymous", call.anonymous_id))
        sources = [call.within("traits")]
        if call.type == "identify":
            sources.insert(0, call.traits)
        elif call.user_id is None:
            # Once a call names its user, an address among its properties may be a friend's who is being invited.
            sources.append(call.properties)
        pairs = [(kind, next((s[kind] for s in sources if s.get(kind)), None)) for kind in ("email", "phone")]
        return identities(("user", call.user_id), *pairs, ("anonymous", call.anonymous_id))

    def _identify(self) -> list[Event]:
        traits = {**self._call.within("traits"), **self._call.traits}
        consents = self._consents(traits.pop("consent", None))
        return [*consents, self._event("contact.identified", self._profile(traits))]

    def _consents(self, consent: Any) -> list[Event]:
        if consent is None:
            return []
        page = self._call.within("page").get("url")
        evidence = f"tracking API, {page}" if isinstance(page, str) else "tracking API"
        granted: list[Event] = []
        for channel, purposes in consent.items() if isinstance(consent, dict) else [("", None)]:
            for purpose in purposes if isinstance(purposes, list) else [purposes]:
                data = {"channel": channel, "purpose": purpose, "evidence": evidence}
                try:
                    if not re.fullmatch("[a-z]{1,20}", channel):
                        raise InvalidEvent("channel", 'must be such as {"email": ["promotional"]}')
                    granted.append(self._event("consent.granted", data, f":{channel}:{purpose}"))
                except InvalidEvent as error:
                    self.unusable.append(f"traits.consent: {error.reason}")
        return granted

    def _profile(self, traits: Mapping[str, Any]) -> dict[str, Any]:
        """Traits under our names. What cannot be reached is said to be so; the event keeps it as it was given."""
        profile = dict(traits)
        for ours, theirs in (("first_name", "firstName"), ("last_name", "lastName")):
            if theirs in profile:
                profile.setdefault(ours, profile.pop(theirs))
        if (address := profile.pop("address", None)) is not None:
            # Under its own name it would stay among what journeys are told.
            place = address if isinstance(address, dict) else {}
            profile.setdefault("postal_address", {o: str(place[t]) for o, t in _ADDRESS.items() if place.get(t)})
        company = profile.get("company")
        if isinstance(company, dict):
            profile["company"] = company.get("name")
        for name in ("timezone", "locale"):
            if profile.get(name) is None:
                profile[name] = self._call.context.get(name)
        for kind in ("email", "phone"):
            if profile.get(kind) not in (None, "") and identity(kind, profile[kind]) is None:
                self.unusable.append(f"traits.{kind}: {_UNREACHABLE[kind]}")
        for name in ("postal_address", "topics", "frequency", "preferred_channel"):
            try:
                # Traits are the sender's own words: one of ours may mean something else there.
                self._event("contact.updated", {name: profile.get(name)})
            except InvalidEvent as error:
                del profile[name]
                self.unusable.append(f"{error.field.replace('data', 'traits', 1)}: {error.reason}")
        return profile

    def _track(self) -> list[Event]:
        name = (self._call.event or "").strip()
        properties = self._call.properties
        if name in ("contact.identified", "contact.updated"):
            return [self._event(name, self._profile(properties))]
        if name in DATA or (name.startswith("custom.") and TYPE_PATTERN.fullmatch(name)):
            return [self._event(name, properties)]
        slug = _slug(name, "_")
        if slug in _COMMERCE:
            return [self._event(_COMMERCE[slug], self._commerce(_COMMERCE[slug], properties))]
        if not slug:
            # A name in another script still makes a type of its own; the data says which.
            slug = "event_" + sha256(name.encode()).hexdigest()[:12]
        return [self._event(f"custom.{slug[:90]}", {**properties, "event": name})]

    def _commerce(self, type: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        """An order by the e-commerce names. Whatever is wrong with its amount, that there was an order counts."""
        data = {k: v for k, v in properties.items() if k not in ("value", "currency", "products", "items")}
        try:
            if money := _minor_units(properties):
                data["value"], data["currency"] = money
        except InvalidEvent as error:
            self.unusable.append(str(error))
        if isinstance(properties.get("products"), list):
            data["items"] = properties["products"]
        # An order that names its checkout by the one id both have still ends the run that waits for it.
        named = {n: str(properties[n]) for n in ("checkout_id", "cart_id", "order_id") if _is_id(properties.get(n))}
        if named or type == "checkout.started":
            data["checkout_id"] = next(iter(named.values()), self._source_id)
        if type != "checkout.started":
            data["order_id"] = named.get("order_id") or data.get("checkout_id") or self._source_id
        return data

    def _page(self) -> list[Event]:
        call = self._call
        shown = {**call.within("page"), **call.properties}
        url = shown.get("url")
        named = shown.get("page") or _slug(shown.get("name") or call.name or "", "-")
        page = named or _last_segment(shown.get("path")) or _last_segment(url)
        if not page:
            raise InvalidEvent("properties", "nothing says which page: give a name, a path or a url")
        return [self._event("page.viewed", {**call.properties, "page": page, "url": url})]

    def _group(self) -> list[Event]:
        return [
            self._event("contact.updated", {"company": self._call.traits.get("name"), "group_id": self._call.group_id})
        ]

    def _alias(self) -> list[Event]:
        return [self._event("contact.merged", {"previous_id": self._call.previous_id})]


_ADDRESS = {"line1": "street", "city": "city", "region": "state", "postal_code": "postalCode", "country": "country"}
"""The parts of an address in our words, and in those of a trait."""

_UNREACHABLE = {
    "email": "not an e-mail address",
    "phone": "not a phone number with its country (+49...)",
}

_COMMERCE = {
    "checkout_started": "checkout.started",
    "order_completed": "purchase.completed",
    "order_refunded": "purchase.refunded",
}


def _minor_units(properties: Mapping[str, Any]) -> tuple[int, str] | None:
    """The amount in minor units with its currency; None where none is given.

    Browsers add prices as floats: 59.97000000000001 is rounded to the nearest minor unit, a half away from zero.

    Raises:
        InvalidEvent: There is an amount, and it or its currency makes no sense.
    """
    field = next((name for name in ("total", "revenue", "value") if properties.get(name) is not None), None)
    if field is None:
        return None
    amount, currency = properties[field], str(properties.get("currency") or "").strip().upper()
    if not re.fullmatch("[A-Z]{3}", currency):
        raise InvalidEvent("properties.currency", "an amount needs one, such as EUR")
    try:
        # str() of a float is the shortest text that means it, so 49.9 is 49.9 here and not 49.89999...
        exact = Decimal(str(amount).strip()).scaleb(minor_digits(currency))
        minor = exact.quantize(Decimal(1), ROUND_HALF_UP)
    except ArithmeticError:
        minor = Decimal("NaN")
    if isinstance(amount, bool) or not minor.is_finite() or abs(minor) >= _MOST:
        raise InvalidEvent(f"properties.{field}", "is not an amount such as 49.90")
    return int(minor), currency


_MOST = 10**15
"""Minor units nobody is ever charged: more is a mistake."""


def _slug(text: object, separator: str) -> str:
    """``Pricing & Plans`` as ``pricing-plans``: the Latin letters and digits of a text, lower case."""
    folded = unicodedata.normalize("NFKD", str(text)).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", separator, folded).strip(separator)


def _last_segment(address: object) -> str:
    if not isinstance(address, str) or not address.strip():
        return ""
    try:
        path = urlsplit(address.strip()).path
    except ValueError:
        return ""
    return _slug(path.rstrip("/").rpartition("/")[2], "-") if path.strip("/") else "home"
