"""Every request is judged on its way to the mock, whatever becomes of the case that made it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest

from connectors.errors import NeverAgain
from contract.cases import VENDORS, resend
from contract.peer import Answer, Case, File, MockFailed, Run, Vendor, judge
from contract.verdict import ABSENT, Verdict, table

URL = "http://127.0.0.1:1"
JSON = "application/json"
PROBLEM = "application/problem+json"
PERSON = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
FLOW = {"type": "object", "properties": {"flow": {"type": "object", "properties": {"type": {"enum": ["card"]}}}}}
DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.1",
    "paths": {
        "/people": {"post": {"requestBody": {"content": {JSON: {"schema": PERSON}}}}, "get": {}},
        "/pages": {"post": {"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": FLOW}}}}},
    },
}


class Mock(httpx.AsyncBaseTransport):
    """Answers the same to all, and keeps what it was asked."""

    def __init__(self, status: int = 200, body: object = None, headers: Mapping[str, str] | None = None) -> None:
        self.seen: list[httpx.Request] = []
        self._answer = (status, {"id": "from the mock"} if body is None else body, headers or {})

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        status, body, headers = self._answer
        return httpx.Response(status, content=json.dumps(body), headers={"content-type": JSON, **headers})


def asks(method: str, path: str, **how: Any) -> Run:
    async def run(client: httpx.AsyncClient, base_url: str) -> object:
        return (await client.request(method, base_url + path, **how)).json()

    return run


def vendor(*runs: Run, operations: Sequence[str] = (), **more: Any) -> Vendor:
    cases = [Case(f"case {number}", run) for number, run in enumerate(runs)]
    return Vendor("acme", [File("acme-*.json")], cases, operations, **more)


async def judged(acme: Vendor, mock: httpx.AsyncBaseTransport | None = None) -> Verdict:
    return await judge(acme, DOCUMENT, URL, mock or Mock())


GOOD = asks("POST", "/people", json={"name": "Ann"})


async def test_a_good_request_is_judged_by_both_in_both_modes() -> None:
    mock = Mock()
    verdict = await judged(vendor(GOOD, operations=["POST /people"]), mock)
    assert verdict.violations == verdict.unjudged == []
    assert [(a.mode, a.operation, a.judges) for a in verdict.asked] == [
        ("static", "POST /people", ["schema", "mock"]),
        ("dynamic", "POST /people", ["schema", "mock"]),
    ]
    assert [request.headers.get("prefer") for request in mock.seen] == [None, "dynamic=true"]


async def test_a_fault_that_the_mock_names_is_a_violation() -> None:
    said = [
        {"location": ["request", "body", "age"], "severity": "Error", "message": "must be integer"},
        {"location": ["response", "body"], "severity": "Error", "message": "is the mock's own"},
    ]
    verdict = await judged(vendor(GOOD), Mock(400, headers={"sl-violations": json.dumps(said)}))
    assert verdict.violations == ["acme: POST /people: body.age: must be integer (case 0; 2 times)"]


@pytest.mark.parametrize(
    ("kind", "status", "faulty"),
    [
        ("UNPROCESSABLE_ENTITY", 422, True),
        ("UNAUTHORIZED", 401, True),
        ("INVALID_CONTENT_TYPE", 415, True),
        ("SCHEMA_TOO_COMPLEX", 500, False),
        ("NO_RESPONSE_DEFINED", 500, False),
    ],
)
async def test_a_problem_is_a_fault_if_it_is_about_the_request(kind: str, status: int, faulty: bool) -> None:
    problem = {"type": f"https://stoplight.io/prism/errors#{kind}", "title": "t", "detail": "what is wrong"}
    verdict = await judged(vendor(GOOD), Mock(status, problem, {"content-type": PROBLEM}))
    assert bool(verdict.violations) == faulty
    assert verdict.unjudged == []


async def test_the_parts_of_a_problem_are_named() -> None:
    parts = [{"location": location, "message": "is required"} for location in (["header", "version"], [])]
    problem = {"type": "https://stoplight.io/prism/errors#UNPROCESSABLE_ENTITY", "validation": parts}
    verdict = await judged(vendor(GOOD), Mock(422, problem, {"content-type": PROBLEM}))
    assert verdict.violations == [
        "acme: POST /people: header.version: is required (case 0; 2 times)",
        "acme: POST /people: is required (case 0; 2 times)",
    ]


async def test_a_mock_that_fails_in_a_way_of_its_own_has_not_judged() -> None:
    problem = {"type": "https://stoplight.io/prism/errors#SOMETHING_NEW"}
    verdict = await judged(vendor(asks("GET", "/people")), Mock(500, problem, {"content-type": PROBLEM}))
    assert verdict.unjudged == ["acme: GET /people: the mock answered 500 SOMETHING_NEW (2 times)"]
    assert table([verdict])[1].split() == ["acme", "2", "0", "2", "0", "0"]


@pytest.mark.parametrize(
    "faulty",
    [
        asks("POST", "/people", json={"name": 5}),
        asks("POST", "/people", json={}),
        asks("POST", "/people", json={"name": "Ann", "nmae": "x"}),
        asks("GET", "/people", params={"page": "1"}),
        asks("POST", "/peple", json={"name": "Ann"}),
        asks("PUT", "/people", json={"name": "Ann"}),
        asks("POST", "/pages", data={"flow[type]": "cash"}),
    ],
)
async def test_a_fault_that_the_mock_lets_pass_is_a_violation(faulty: Run) -> None:
    assert len((await judged(vendor(faulty))).violations) == 1


async def test_an_operation_the_files_are_known_to_lack_is_no_violation() -> None:
    acme = vendor(asks("POST", "/people/7/notes"), absent={"POST /people/{id}/notes": "no file describes notes"})
    verdict = await judged(acme)
    assert verdict.violations == []
    assert verdict.unjudged == [f"acme: POST /people/{{id}}/notes: {ABSENT}: no file describes notes (2 times)"]
    assert table([verdict])[1].split() == ["acme", "2", "0", "0", "2", "0"]


async def test_an_operation_next_to_one_that_is_known_to_lack_is_a_violation() -> None:
    acme = vendor(asks("GET", "/people/7/notes"), absent={"POST /people/{id}/notes": "no file describes notes"})
    assert (await judged(acme)).violations == [
        "acme: GET /people/7/notes: no such operation in the spec (case 0; 2 times)"
    ]


async def test_a_scripted_answer_goes_to_the_connector_and_its_request_to_the_mock() -> None:
    got: list[object] = []

    async def run(client: httpx.AsyncClient, base_url: str) -> None:
        answer = await client.post(f"{base_url}/people", json={"name": 5})
        got.append((answer.status_code, answer.json()))

    mock = Mock()
    acme = replace(vendor(), cases=[Case("taken", run, {"POST /people": Answer({"code": "taken"}, 409)})])
    verdict = await judged(acme, mock)
    assert got == [(409, {"code": "taken"})] * 2
    assert len(mock.seen) == 2
    assert len(verdict.violations) == 1


async def test_a_nested_form_is_judged_by_the_schema_alone() -> None:
    mock = Mock(415, {"type": "https://stoplight.io/prism/errors#INVALID_CONTENT_TYPE"}, {"content-type": PROBLEM})
    verdict = await judged(vendor(asks("POST", "/pages", data={"flow[type]": "card"})), mock)
    assert verdict.violations == []
    assert [asked.judges for asked in verdict.asked] == [["schema"]] * 2
    assert "nested form" in verdict.unjudged[0]


async def test_bodies_that_the_mock_does_not_read_are_listed() -> None:
    verdict = await judged(vendor(GOOD, asks("GET", "/people"), mock_blind="the mock does not read it"))
    assert verdict.unjudged == ["acme: POST /people: the mock does not read it (2 times)"]


async def test_what_is_excused_is_listed_with_its_reason() -> None:
    faulty = asks("POST", "/people", json={"name": "Ann", "age": 3})
    excused = {("POST /people", "'age' was unexpected"): "the vendor takes it and its file forgot it"}
    verdict = await judged(vendor(faulty, excused=excused))
    assert verdict.violations == []
    assert verdict.unjudged == ["acme: POST /people: the vendor takes it and its file forgot it (2 times)"]
    assert (await judged(vendor(faulty, excused={("GET /people", "age"): "another"}))).violations


async def test_a_connector_may_refuse_an_odd_answer_and_must_not_break_on_it() -> None:
    async def refuses(client: httpx.AsyncClient, base_url: str) -> None:
        await GOOD(client, base_url)
        raise NeverAgain("acme", "no sense in it")

    async def breaks(client: httpx.AsyncClient, base_url: str) -> None:
        await GOOD(client, base_url)
        raise KeyError("data")

    verdict = await judged(vendor(refuses, breaks))
    assert verdict.violations == [
        "acme: case 1 (static): the connector broke: KeyError: 'data'",
        "acme: case 1 (dynamic): the connector broke: KeyError: 'data'",
    ]


async def test_a_case_that_asks_for_nothing_and_an_operation_nobody_asks_for_are_violations() -> None:
    async def nothing(client: httpx.AsyncClient, base_url: str) -> None: ...

    verdict = await judged(vendor(nothing, operations=["GET /people"]))
    assert verdict.violations == [
        "acme: case 0 (static): asked for nothing",
        "acme: case 0 (dynamic): asked for nothing",
        "acme: GET /people: none of the cases asked for it",
    ]


async def test_without_the_mock_nothing_is_judged() -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("gone")

    with pytest.raises(MockFailed, match=r"the mock gave no answer \(ConnectError\)"):
        await judged(vendor(GOOD), httpx.MockTransport(gone))


async def test_a_real_connector_is_held_against_a_document() -> None:
    texts = {name: {"type": "string"} for name in ("from", "subject", "text", "html")}
    lists = {
        "to": {"type": "array", "items": {"type": "string"}},
        "tags": {"type": "array"},
        "headers": {"type": "object"},
    }
    body = {"type": "object", "required": ["from", "to"], "properties": {**texts, **lists}}
    for properties, violations in ((body["properties"], 0), (lists, 5)):
        content = {JSON: {"schema": {**body, "properties": properties}}}
        document = {"paths": {"/emails": {"post": {"requestBody": {"content": content}}}}}
        verdict = await judge(resend.VENDOR, document, URL, Mock(body={"id": "1"}))
        assert bool(verdict.violations) == bool(violations)
        assert len(verdict.asked) == 2 * len(resend.VENDOR.cases)


@pytest.mark.parametrize("acme", VENDORS, ids=[each.name for each in VENDORS])
async def test_every_case_asks_for_something_the_vendor_is_said_to_have(acme: Vendor) -> None:
    paths: dict[str, dict[str, Any]] = {}
    for operation in acme.operations:
        method, path = operation.split()
        anything = [{"name": name, "in": "query"} for name in _QUERY]
        paths.setdefault(path, {})[method.lower()] = {"parameters": anything}
    verdict = await judge(acme, {"paths": paths}, URL, Mock())
    assert verdict.broken == []
    assert [asked for asked in verdict.asked if asked.faults] == []
    assert len({case.name for case in acme.cases}) == len(acme.cases)
    assert not set(acme.operations) & set(acme.absent)


_QUERY = (
    "idProperty", "associations", "properties", "propertiesWithHistory", "channel", "limit", "ending_before", "email",
    "customer", "status", "filter", "additional-fields", "page", "number", "locationId", "per_page",
)  # fmt: skip
