"""Fillout: the secret that comes along, submissions and their edits, consent by a ticked box, and polling."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from connectors import http
from connectors.base import Poller, Refused, Request, Source
from connectors.errors import ConnectorError, NeverAgain, TryAgain
from connectors.fillout import PAGE, Fillout, FilloutSettings
from contacts.events import Event

SECRET = "a-long-and-random-secret"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/fillout"
API = "https://api.fillout.com/v1/api"
CONSENT = {"q-mail": {"email": ["promotional"]}, "q-tips": {"email": ["lifecycle"], "sms": ["lifecycle"]}}


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> Fillout:
    given = {
        "signing_secret": SECRET,
        "api_key": "sk_prod_1",
        "forms": {"f1": "quiz"},
        "questions": {"q-goal": "goal"},
        "consent": CONSENT,
        **settings,
    }
    return Fillout(FilloutSettings(_env_file=None, **given), client)


FILLOUT = made()


def arriving(body: bytes = b"{}", *, bearer: str | None = None, url: str = URL) -> Request:
    return Request("POST", url, {"authorization": bearer} if bearer is not None else {}, body)


def refusal(request: Request, fillout: Fillout = FILLOUT) -> Refused:
    with pytest.raises(Refused) as caught:
        fillout.verify(request, NOW)
    assert SECRET not in caught.value.reason
    return caught.value


def question(id: str, value: Any, type: str = "ShortAnswer", name: str | None = None) -> dict[str, Any]:
    return {"id": id, "name": name or f"Question {id}", "type": type, "value": value}


def submission(*questions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "submissionId": "s-1",
        "submissionTime": "2026-03-02T08:58:00.000Z",
        "lastUpdatedAt": "2026-03-02T08:58:00.000Z",
        "questions": [question("q-to", "Zoe@Example.com", "EmailInput"), *questions],
        "calculations": [],
        "urlParameters": [],
        "quiz": {},
        "documents": [],
        **fields,
    }


def notice(given: dict[str, Any], form: str = "f1") -> Request:
    return arriving(json.dumps({"formId": form, "formName": "What suits you?", "submission": given}).encode())


def only(given: dict[str, Any], fillout: Fillout = FILLOUT, form: str = "f1") -> Event:
    (event,) = fillout.parse(notice(given, form), NOW)
    return event


def who(event: Event) -> set[tuple[str, str]]:
    return {(i.kind, i.value) for i in event.identities}


def test_what_it_is() -> None:
    assert isinstance(FILLOUT, Source)
    assert isinstance(FILLOUT, Poller)
    assert FilloutSettings(_env_file=None).calls_per_second == 5


def test_the_secret_comes_in_a_header_or_in_the_address() -> None:
    FILLOUT.verify(arriving(bearer=f"Bearer {SECRET}"), NOW)
    FILLOUT.verify(arriving(bearer=f"bearer {SECRET}"), NOW)
    FILLOUT.verify(arriving(url=f"{URL}?key={SECRET}"), NOW)
    made(signing_secret=f"other,{SECRET}").verify(arriving(bearer="Bearer other"), NOW)


@pytest.mark.parametrize(
    "request_",
    [
        arriving(),
        arriving(bearer=""),
        arriving(bearer="Bearer "),
        arriving(bearer="Bearer other"),
        arriving(bearer=SECRET),
        arriving(bearer=f"Basic {SECRET}"),
        arriving(bearer="Bearer other", url=f"{URL}?key={SECRET}"),
        arriving(url=f"{URL}?key={SECRET}x"),
        arriving(url=f"{URL}?key="),
        arriving(url=f"{URL}?key=other&key={SECRET}"),
        arriving(url="https://[hub.example.com"),
    ],
)
def test_without_it_everything_is_refused(request_: Request) -> None:
    assert refusal(request_).status == 401


def test_no_secret_is_no_way_in() -> None:
    for settings in (None, "", " , "):
        fillout = made(signing_secret=settings)
        for request in (arriving(), arriving(bearer="Bearer "), arriving(url=f"{URL}?key=")):
            assert "no signing secret" in refusal(request, fillout).reason


@given(st.text(), st.text(), st.binary())
def test_junk_is_refused(header: str, url: str, body: bytes) -> None:
    with pytest.raises(Refused):
        FILLOUT.verify(arriving(body, bearer=header, url=url), NOW)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        FILLOUT.parse(arriving(body), NOW)
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(list(submission())), JSON),
    st.lists(st.tuples(st.sampled_from(["EmailInput", "PhoneNumber", "Checkbox", ""]), JSON), max_size=3),
)
def test_junk_submissions_parse_or_raise_a_value_error(fields: dict[str, Any], answers: list[tuple[str, Any]]) -> None:
    asked = [question(f"q{n}", value, type) for n, (type, value) in enumerate(answers)]
    try:
        FILLOUT.parse(notice({**submission(*asked), **fields}), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


def test_a_submission() -> None:
    event = only(
        submission(
            question("q-goal", "more repeat buyers", name="What do you want?"),
            question("q-many", ["a", "b"], "Checkboxes", name="Which?"),
            question("q-none", None),
            question("q-tel", "+49 30 901820", "PhoneNumber"),
            urlParameters=[
                {"id": "u1", "name": "utm_source", "value": "news"},
                {"id": "u2", "name": "topic", "value": "seo"},
                {"id": "u3", "name": "anonymous_id", "value": "anon-7"},
                {"id": "u4", "name": "contact", "value": "0b5a"},
                {"id": "u5", "name": "utm_term", "value": None},
            ],
        )
    )
    assert (event.type, event.source) == ("form.submitted", "fillout")
    assert event.occurred_at == datetime(2026, 3, 2, 8, 58, tzinfo=UTC)
    assert who(event) == {("email", "zoe@example.com"), ("phone", "+4930901820"), ("anonymous", "anon-7")}
    assert event.data == {
        "form": "quiz",
        "title": "What suits you?",
        "topic": "seo",
        "utm": {"source": "news"},
        "answers": {
            "goal": "more repeat buyers",
            "Which?": ["a", "b"],
            "Question q-to": "Zoe@Example.com",
            "Question q-tel": "+49 30 901820",
        },
    }


def test_a_form_without_a_name_of_ours_keeps_its_id() -> None:
    assert only(submission(), form="f9").data["form"] == "f9"


@pytest.mark.parametrize("value", [["zoe@example.com"], "zoe@example.com"])
def test_an_address_may_come_in_a_list(value: Any) -> None:
    given = submission(questions=[question("q", value, "EmailInput")])
    assert who(only(given)) == {("email", "zoe@example.com")}


@pytest.mark.parametrize("value", [None, "", "zoe at example.com", [], 7, {}])
def test_who_leaves_no_address_is_nobody(value: Any) -> None:
    assert FILLOUT.parse(notice(submission(questions=[question("q", value, "EmailInput")])), NOW) == []


def test_an_address_in_a_question_of_another_type_is_not_the_senders() -> None:
    event = only(submission(question("q-friend", "friend@example.com", "ShortAnswer")))
    assert who(event) == {("email", "zoe@example.com")}


@pytest.mark.parametrize(
    ("boxes", "consent"),
    [
        ({}, None),
        ({"q-mail": True}, {"email": ["promotional"]}),
        ({"q-mail": True, "q-tips": True}, {"email": ["lifecycle", "promotional"], "sms": ["lifecycle"]}),
        ({"q-mail": False, "q-tips": None}, None),
        ({"q-mail": "true"}, None),
        ({"q-mail": 1}, None),
        ({"q-other": True}, None),
    ],
)
def test_consent_is_a_box_that_was_ticked(boxes: dict[str, Any], consent: Any) -> None:
    asked = [question(id, value, "Checkbox") for id, value in boxes.items()]
    assert only(submission(*asked)).data.get("consent") == consent


def test_an_edit_is_another_event_and_a_repeat_is_not() -> None:
    first, again = only(submission()), only(submission())
    edit = only(submission(lastUpdatedAt="2026-03-04T10:00:00Z"))
    assert first.source_id == again.source_id != edit.source_id
    assert edit.occurred_at == datetime(2026, 3, 4, 10, 0, tzinfo=UTC)
    assert (first.data.get("edited"), edit.data["edited"]) == (None, True)
    assert only(submission(lastUpdatedAt=None)).source_id == first.source_id


def test_what_does_not_parse_is_named_without_its_value() -> None:
    with pytest.raises(ValueError, match=r"^submission\.submissionTime: ") as caught:
        FILLOUT.parse(notice(submission(submissionTime="zoe@example.com")), NOW)
    assert "zoe" not in str(caught.value)


@pytest.fixture
async def fillout() -> AsyncIterator[Fillout]:
    async with http.new_client() as client:
        yield made(client, forms={"f2": "demo", "f1": "quiz"})


def page(*items: dict[str, Any]) -> dict[str, Any]:
    return {"responses": list(items), "totalResponses": len(items), "pageCount": 1}


@respx.mock
async def test_polling_goes_through_every_form(fillout: Fillout) -> None:
    begun = (await fillout.poll(None, NOW)).cursor
    many = [submission(submissionId=f"s-{n}") for n in range(PAGE)]
    first = respx.get(f"{API}/forms/f1/submissions").mock(
        side_effect=[httpx.Response(200, json=page(*many)), httpx.Response(200, json=page(submission()))]
    )
    second = respx.get(f"{API}/forms/f2/submissions").respond(json=page(submission(submissionId="t-1")))
    pages, cursor = [], begun
    for minute in range(3):
        pages.append(await fillout.poll(cursor, NOW + timedelta(minutes=10 + minute)))
        cursor = pages[-1].cursor
    assert [p.more for p in pages] == [True, True, False]
    assert [len(p.events) for p in pages] == [PAGE, 1, 1]
    assert [c.request.url.params["offset"] for c in first.calls] == ["0", str(PAGE)]
    asked = second.calls.last.request
    assert dict(asked.url.params) == {
        "limit": "150",
        "offset": "0",
        "status": "finished",
        "sort": "asc",
        "afterDate": "2026-03-02T08:00:00.000Z",
    }
    assert asked.headers["authorization"] == "Bearer sk_prod_1"
    assert pages[2].events[0].data["form"] == "demo"
    # What came in while we read is for the next time.
    assert json.loads(cursor)["since"] == "2026-03-02T09:10:00Z"
    assert (json.loads(cursor)["form"], json.loads(cursor)["offset"]) == (0, 0)


@respx.mock
async def test_a_polled_submission_is_the_event_that_the_webhook_told(fillout: Fillout) -> None:
    begun = (await fillout.poll(None, NOW)).cursor
    respx.get(f"{API}/forms/f1/submissions").respond(json=page(submission()))
    (event,) = (await fillout.poll(begun, NOW)).events
    assert event.source_id == only(submission()).source_id


@respx.mock
async def test_a_submission_that_cannot_be_read_does_not_cost_the_others(fillout: Fillout) -> None:
    begun = (await fillout.poll(None, NOW)).cursor
    respx.get(f"{API}/forms/f1/submissions").respond(json=page({"submissionId": ""}, submission()))
    assert len((await fillout.poll(begun, NOW)).events) == 1


async def test_without_forms_nothing_is_polled() -> None:
    begun = (await made(forms={}).poll(None, NOW)).cursor
    assert (await made(forms={}).poll(begun, NOW)).events == []


@pytest.mark.parametrize(("status", "kind"), [(429, TryAgain), (502, TryAgain), (401, NeverAgain), (404, NeverAgain)])
@respx.mock
async def test_refusals(fillout: Fillout, status: int, kind: type[ConnectorError]) -> None:
    begun = (await fillout.poll(None, NOW)).cursor
    said = {"statusCode": status, "error": "Some Code", "message": "no form of zoe@example.com"}
    respx.get(f"{API}/forms/f1/submissions").respond(status, json=said)
    with pytest.raises(kind) as caught:
        await fillout.poll(begun, NOW)
    assert caught.value.reason == f"{status} Some Code"
    assert "sk_prod_1" not in str(caught.value)


async def test_without_a_key_nothing_is_asked() -> None:
    begun = (await made().poll(None, NOW)).cursor
    with pytest.raises(NeverAgain, match="FILLOUT_API_KEY"):
        await made(api_key=None).poll(begun, NOW)
