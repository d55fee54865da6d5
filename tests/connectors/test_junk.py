"""Whatever anybody sends to any source: a clean refusal or a line that says what is wrong, and never a trace."""

import hmac
import importlib
import json
import pkgutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import connectors
from connectors.base import Confirms, Prepares, Refused, Replies, Request, SingleUse, Source
from connectors.batch import DEEPEST
from connectors.errors import ConnectorError
from contacts.events import Event, PartlyUnderstood
from ops.webhook_check import CONNECTORS
from tests.connectors import senders
from tests.connectors.senders import ASYMMETRIC, GENUINE, NOW, SECRET, SIGNED, WHSEC, source

every_source = pytest.mark.parametrize("name", sorted(CONNECTORS))
often = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WORTHLESS = (SECRET, WHSEC, "web:")
"""What must stand in no reason."""

DEEP = b'{"a":' * 5_000 + b"1" + b"}" * 5_000

RAW = [
    b"",
    b" ",
    b"\0",
    b"null",
    b"true",
    b"0",
    b'""',
    b"[]",
    b"[null]",
    b"[[]]",
    b"{}",
    b'{"":null}',
    b"NaN",
    b"[NaN, Infinity, -Infinity]",
    b"1e999",
    b"9" * 5_000,
    b'"\\ud800"',
    b'{"\\ud800": "\\udfff\\u0000"}',
    b'{"id": 1, "id": 2}',
    b"[" * 100_000,
    DEEP,
    b"\xff\xfe",
    b'{"a": "\xc3',
    b'{"a": "\xff"}',
    "\ufeff{}".encode(),
    '{"a": "ü"}'.encode("utf-16"),
    '{"a": "ü"}'.encode("latin-1"),
    b"%ff=%00&&=&a",
    b"&" * 5_000,
    b"payload=%7B",
    b"<xml/>",
]

VALUES = [
    None,
    True,
    0,
    -1,
    1,
    10**30,
    1e300,
    -1e300,
    float("nan"),
    float("inf"),
    -62_135_596_801,
    253_402_300_800,
    10**18,
    0.5,
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "x" * 10_000,
    "0",
    "-1",
    "1e300",
    "NaN",
    "٣",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "2026-02-30",
    "253402300800",
    "http://[",
    "https://x.example.com/%zz?=&",
    "a@b",
    "[]",
    [],
    [None],
    [[]],
    {},
    {"": None},
    {"a": {"b": []}},
    json.loads("[" * 200 + "]" * 200),
]

FORMS = ["", "%00", "%ff", "%ED%A0%80", "1e300", "-1", "x" * 10_000, "%7B", "%5B%5D", "null", "2026-02-30", "%"]

HEADERS = [
    "",
    " ",
    "\0",
    "é",
    "\udcff",
    "x" * 10_000,
    "0",
    "-1",
    "1e300",
    "٣" * 10,
    "9" * 11,
    "9" * 400,
    "t=,v1=",
    "t=1,t=2,v1=0",
    "t=9" + "9" * 30 + ",v1=00",
    "sha1=",
    "sha256=",
    "v0=",
    "v1,",
    "v1,==",
    "v1a,AAAA",
    "Basic",
    "Basic %",
    "Basic /w==",
    "Bearer",
    "Bearer ",
    "Bearer \udcff",
    "Basic \udcff",
    "====",
    "AAAA",
    "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:59-23:59",
    "Mon, 02 Mar 99999 09:00:00 GMT",
    "gzip",
    "application/cloudevents-batch+json",
    "multipart/form-data",
]

CLOCKS = [*(header for header in HEADERS if "\udcff" not in header), "-62135596801", "253402300800", "1772442000.5"]
"""Times as a sender could write them, who cannot write half a character."""

anything = st.recursive(
    st.sampled_from(VALUES) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
texts = st.sampled_from(HEADERS) | st.text(max_size=30)


def places(document: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a document, as the way to it."""
    yield at
    if isinstance(document, dict | list):
        for key, inner in document.items() if isinstance(document, dict) else enumerate(document):
            yield from places(inner, (*at, key))


@st.composite
def spoilt(draw: st.DrawFn, bodies: Sequence[str]) -> list[bytes]:
    """Genuine bodies cut short or of another encoding, or with one thing missing or replaced by everything else."""
    body = draw(st.sampled_from(bodies))
    at = draw(st.integers(0, len(body)))
    broken = [body[:at].encode(), body[:at].encode() + draw(st.binary(min_size=1, max_size=4)) + body[at:].encode()]
    try:
        document = json.loads(body)
    except ValueError:
        before, field, after = body[:at].rpartition("&")[0], body[:at].rpartition("&")[2], body[at:].partition("&")[2]
        name = field.partition("=")[0]
        return [*broken, *(f"{before}&{name}={value}&{after}".encode() for value in FORMS)]
    *way, last = draw(st.sampled_from([place for place in places(document) if place]))
    inside = document
    for key in way:
        inside = inside[key]
    for value in [*VALUES, draw(anything)]:
        inside[last] = value
        broken.append(json.dumps(document).encode())
    del inside[last]
    return [*broken, json.dumps(document).encode()]


async def came(name: str, request: Request) -> Sequence[Event]:
    """What becomes of a request at the front door: nothing where it is refused or not understood, in one line."""
    believes = source(name)
    try:
        if isinstance(believes, Prepares):
            await believes.prepare(request)
        believes.verify(request, NOW)
    except Refused as refused:
        assert refused.status in (400, 401, 413, 415)
        clean(refused.reason)
        return []
    except ConnectorError as problem:
        clean(problem.reason)
        return []
    try:
        events = believes.parse(request, NOW)
    except PartlyUnderstood as partly:
        clean(str(partly))
        events = partly.events
    except ValueError as error:
        clean(str(error))
        events = []
    for event in events:
        storable(event)
    if isinstance(believes, SingleUse):
        assert isinstance(believes.token(request), str)
    if isinstance(believes, Replies):
        believes.reply(request)
    if isinstance(believes, Confirms):
        try:
            await believes.confirm(request)
        except ConnectorError as problem:
            clean(problem.reason)
    return events


def clean(reason: str) -> None:
    assert reason
    assert "\n" not in reason
    assert len(reason) < 1_000
    assert not any(secret in reason for secret in WORTHLESS)


def storable(event: Event) -> None:
    """What PostgreSQL can keep: text without NUL or half a character, numbers that are some, a time of a calendar."""
    written = json.dumps(event.model_dump(mode="json"), allow_nan=False, ensure_ascii=False)
    written.encode()
    assert "\\u0000" not in written
    assert levels(event.data) <= DEEPEST
    assert datetime(1969, 12, 31, tzinfo=UTC) <= event.occurred_at < datetime(9999, 1, 1, tzinfo=UTC)


def levels(value: Any) -> int:
    """How deep a document is nested."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(levels, inner), default=0)


def test_no_source_is_left_out() -> None:
    """A new connector is tried as soon as it is one: here is missing how its system signs, and what it sends."""
    assert set(SIGNED) == set(CONNECTORS)
    assert set(GENUINE) == set(CONNECTORS)


@every_source
async def test_what_a_system_really_sends_is_believed_and_understood(name: str) -> None:
    for body in GENUINE[name]:
        assert await came(name, SIGNED[name](body.encode()))


@every_source
@pytest.mark.parametrize("body", RAW, ids=range(len(RAW)))
async def test_signed_junk_is_refused_or_not_understood(name: str, body: bytes) -> None:
    assert not await came(name, SIGNED[name](body))


@every_source
@often
@given(data=st.data())
async def test_a_genuine_body_with_one_thing_wrong_ends_in_one_line(name: str, data: st.DataObject) -> None:
    for body in data.draw(spoilt(GENUINE[name])):
        await came(name, SIGNED[name](body))


@every_source
@pytest.mark.parametrize("sent", CLOCKS)
async def test_a_time_that_is_none_is_refused_though_it_is_signed(
    name: str, sent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signature over it says only that the sender's clock is broken."""
    for clock in ("SENT", "SENT_BY_HTTP", "SENT_BY_ISO"):
        monkeypatch.setattr(senders, clock, sent)
    await came(name, SIGNED[name](GENUINE[name][0].encode()))


@every_source
@often
@given(data=st.data())
async def test_a_genuine_request_with_other_headers_ends_in_one_line(name: str, data: st.DataObject) -> None:
    genuine = SIGNED[name](data.draw(st.sampled_from(GENUINE[name])).encode())
    names = st.sampled_from(sorted({*genuine.headers, "authorization", "content-type", "content-encoding"}))
    changed = data.draw(st.dictionaries(names, texts | st.none(), max_size=3))
    headers = {name: value for name, value in {**genuine.headers, **changed}.items() if value is not None}
    url = data.draw(st.just(genuine.url) | st.sampled_from(["", "http://[", "https://x/?key=%ff&key=", "?" * 5_000]))
    await came(name, Request(genuine.method, url, headers, genuine.body))


@every_source
@often
@given(headers=st.dictionaries(st.text(max_size=12), texts, max_size=3), url=texts, body=st.binary(max_size=60))
async def test_whatever_a_stranger_sends_is_refused(name: str, headers: dict[str, str], url: str, body: bytes) -> None:
    with pytest.raises((Refused, ConnectorError)) as caught:
        believes = source(name)
        if isinstance(believes, Prepares):
            await believes.prepare(Request("POST", url, headers, body))
        believes.verify(Request("POST", url, headers, body), NOW)
    clean(caught.value.reason)


@every_source
async def test_what_another_has_signed_is_refused_in_constant_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that ends at the first wrong byte tells, byte by byte, what the right one is."""
    compared: list[tuple[Any, Any]] = []

    def compare(left: Any, right: Any) -> bool:
        compared.append((left, right))
        return bool(left == right)

    believes: Source = source(name)
    genuine = SIGNED[name](GENUINE[name][0].encode())
    monkeypatch.setattr(hmac, "compare_digest", compare)
    for module in pkgutil.iter_modules(connectors.__path__, "connectors."):
        if hasattr(found := importlib.import_module(module.name), "compare_digest"):
            monkeypatch.setattr(found, "compare_digest", compare)
    if isinstance(believes, Prepares):
        await believes.prepare(genuine)
    believes.verify(genuine, NOW)
    assert bool(compared) is (name not in ASYMMETRIC)
    assert all(isinstance(side, bytes) for pair in compared for side in pair)
