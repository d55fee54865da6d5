"""HubSpot: version 3 signatures, every mapping, batches with a bad item, and the CRM calls."""

import base64
import hashlib
import hmac
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
from connectors.base import Crm, Person, Refused, Request, Source, Task
from connectors.errors import ConnectorError, NeverAgain, TryAgain, Unknown
from connectors.hubspot import HubSpot, HubSpotSettings
from contacts.events import Event, PartlyUnderstood

SECRET = "5a6c3f0e-client-secret"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/hubspot"


def made(client: httpx.AsyncClient | None = None, **settings: Any) -> HubSpot:
    given = {"client_secret": SECRET, "access_token": "pat-1", **settings}
    return HubSpot(HubSpotSettings(_env_file=None, **given), client)


HUBSPOT = made()


def signed(
    body: bytes, *, secret: str = SECRET, at: datetime = NOW, url: str = URL, signed_url: str | None = None
) -> Request:
    sent = str(int(at.timestamp() * 1000))
    message = b"POST" + (signed_url or url).encode() + body + sent.encode()
    mac = base64.b64encode(hmac.new(secret.encode(), message, hashlib.sha256).digest()).decode()
    return Request("POST", url, {"x-hubspot-signature-v3": mac, "x-hubspot-request-timestamp": sent}, body)


def refusal(request: Request, hubspot: HubSpot = HUBSPOT) -> Refused:
    with pytest.raises(Refused) as caught:
        hubspot.verify(request, NOW)
    return caught.value


def batch(*items: Any) -> Request:
    return Request("POST", URL, {}, json.dumps(items).encode())


def item(type: str, **fields: Any) -> dict[str, Any]:
    head = {"eventId": 100, "subscriptionId": 7, "portalId": 5, "appId": 9, "occurredAt": 1772442000123}
    return {**head, "subscriptionType": type, "attemptNumber": 0, "objectId": 501, "changeSource": "CRM_UI", **fields}


def only(type: str, **fields: Any) -> Event:
    (event,) = HUBSPOT.parse(batch(item(type, **fields)), NOW)
    return event


def who(event: Event) -> set[tuple[str, str]]:
    return {(i.kind, i.value) for i in event.identities}


def test_it_is_a_source_and_a_crm() -> None:
    assert isinstance(HUBSPOT, Source)
    assert isinstance(HUBSPOT, Crm)


def test_a_signature_over_method_url_body_and_time() -> None:
    HUBSPOT.verify(signed('[{"name": "Zoë"}]'.encode()), NOW)


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        (f"{URL}?to=a%40example.com&next=%2Fhome%3Fx", f"{URL}?to=a@example.com&next=/home?x"),
        (f"{URL}?q=%3A%2F%3F%40%21%24%27%28%29%2A%2C%3B", f"{URL}?q=:/?@!$'()*,;"),
        (f"{URL}?q=%3a%2f", f"{URL}?q=:/"),
        (f"{URL}?q=a%20b%26c%253A%23", f"{URL}?q=a%20b%26c%253A%23"),
    ],
)
def test_the_listed_escapes_are_decoded_once_and_no_others(escaped: str, plain: str) -> None:
    HUBSPOT.verify(signed(b"[]", url=escaped, signed_url=plain), NOW)


def test_a_vector_worked_out_apart_from_this_code() -> None:
    # printf %s 'POST<URL>[]1772442000000' | openssl dgst -sha256 -hmac <SECRET> -binary | base64
    headers = {
        "x-hubspot-signature-v3": "9DwSlQpETFek/46vurbfo1BnwqZOX/I5qaiGWEhFlHw=",
        "x-hubspot-request-timestamp": "1772442000000",
    }
    HUBSPOT.verify(Request("POST", URL, headers, b"[]"), NOW)


@pytest.mark.parametrize(("seconds", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_age_counts_both_ways(seconds: int, taken: bool) -> None:
    arriving = signed(b"[]", at=NOW + timedelta(seconds=seconds))
    if taken:
        HUBSPOT.verify(arriving, NOW)
    else:
        assert refusal(arriving).status == 401


def test_whatever_is_altered_is_refused() -> None:
    good = signed(b"[]")
    later = {**good.headers, "x-hubspot-request-timestamp": str(int(NOW.timestamp() * 1000) + 1)}
    for forged in (
        signed(b"[]", secret="other"),
        Request("POST", URL, good.headers, b"[ ]"),
        Request("PUT", URL, good.headers, b"[]"),
        Request("POST", URL + "?x=1", good.headers, b"[]"),
        Request("POST", URL, later, b"[]"),
    ):
        assert refusal(forged).status == 401


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_older_signatures_are_not_taken(version: str) -> None:
    base = SECRET if version == "v1" else f"{SECRET}POST{URL}"
    old = {
        "x-hubspot-signature": hashlib.sha256(base.encode() + b"[]").hexdigest(),
        "x-hubspot-signature-version": version,
    }
    assert refusal(Request("POST", URL, old, b"[]")).status == 401
    broken = {**signed(b"[]", secret="other").headers, **old}
    assert refusal(Request("POST", URL, broken, b"[]")).status == 401


def test_while_a_secret_is_rolled_both_are_taken() -> None:
    made(client_secret=f"{SECRET}, new").verify(signed(b"[]", secret="new"), NOW)


def test_the_common_name_of_the_secret_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBSPOT_CLIENT_SECRET", "of-the-environment")
    HubSpot(HubSpotSettings(_env_file=None, signing_secret=SECRET)).verify(signed(b"[]"), NOW)


def test_without_a_secret_everything_is_refused() -> None:
    for request in (signed(b"[]"), Request("POST", URL, {}, b"")):
        said = refusal(request, made(client_secret=None))
        assert (said.status, "no signing secret" in said.reason) == (401, True)


@pytest.mark.parametrize("sent", ["", "soon", "-1", "1.5", "١", "9" * 40])
def test_malformed_timestamps(sent: str) -> None:
    headers = {**signed(b"[]").headers, "x-hubspot-request-timestamp": sent}
    assert refusal(Request("POST", URL, headers, b"[]")).status == 400


@given(st.text(min_size=1), st.text() | st.integers().map(str), st.binary(), st.text())
def test_junk_is_refused(signature: str, sent: str, body: bytes, url: str) -> None:
    headers = {"x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": sent}
    with pytest.raises(Refused):
        HUBSPOT.verify(Request("POST", url, headers, body), NOW)


@given(st.binary())
def test_junk_bytes_give_nothing_or_a_value_error(body: bytes) -> None:
    try:
        assert HUBSPOT.parse(Request("POST", URL, {}, body), NOW) == []
    except ValueError as error:
        assert "\n" not in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
TYPES = [
    "contact.creation",
    "contact.propertyChange",
    "contact.merge",
    "contact.privacyDeletion",
    "deal.propertyChange",
]
FIELDS = [
    "eventId",
    "objectId",
    "occurredAt",
    "portalId",
    "subscriptionType",
    "objectTypeId",
    "changeSource",
    "propertyName",
    "propertyValue",
    "primaryObjectId",
    "mergedObjectIds",
    "newObjectId",
]


@given(st.lists(st.tuples(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(FIELDS), JSON)), max_size=3))
def test_junk_items_parse_or_raise_a_value_error(items: list[tuple[str, dict[str, Any]]]) -> None:
    try:
        HUBSPOT.parse(batch(*(item(type, **fields) for type, fields in items)), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


def test_a_new_contact() -> None:
    event = only("contact.creation")
    assert (event.type, event.source) == ("contact.identified", "hubspot")
    assert event.occurred_at == datetime(2026, 3, 2, 9, 0, 0, 123000, tzinfo=UTC)
    assert who(event) == {("hubspot", "501")}
    assert event.data == {"change_source": "CRM_UI"}


def test_every_attempt_is_the_same_event_and_every_change_another() -> None:
    assert only("contact.creation", attemptNumber=3).source_id == only("contact.creation").source_id
    fields = [{"eventId": 1}, {"subscriptionId": 1}, {"objectId": 1}, {"occurredAt": 1}, {"portalId": 1}, {}]
    assert len({only("contact.creation", **field).source_id for field in fields}) == len(fields)


@pytest.mark.parametrize(
    ("property", "value", "data"),
    [
        ("firstname", "Zoë", {"first_name": "Zoë"}),
        ("lastname", "Ash", {"last_name": "Ash"}),
        ("phone", "+49 30 901820", {"phone": "+4930901820"}),
        ("phone", "030 901820", {"phone_as_given": "030 901820"}),
        ("company", "Ash Ltd", {"company": "Ash Ltd"}),
        ("lifecyclestage", "lead", {"lifecyclestage": "lead"}),
        ("hs_lead_status", "OPEN", {"hs_lead_status": "OPEN"}),
        ("num_employees", 12, {"num_employees": "12"}),
    ],
)
def test_a_changed_field(property: str, value: Any, data: dict[str, str]) -> None:
    event = only("contact.propertyChange", propertyName=property, propertyValue=value)
    assert event.type == "contact.updated"
    assert event.data == {**data, "change_source": "CRM_UI"}
    assert who(event) == {("hubspot", "501")}


def test_a_changed_address_says_who_it_is() -> None:
    event = only("contact.propertyChange", propertyName="email", propertyValue="Zoe@Example.com")
    assert who(event) == {("hubspot", "501"), ("email", "zoe@example.com")}


@pytest.mark.parametrize("value", ["", None])
def test_an_emptied_field_means_nothing(value: str | None) -> None:
    assert HUBSPOT.parse(batch(item("contact.propertyChange", propertyName="email", propertyValue=value)), NOW) == []


@pytest.mark.parametrize(
    ("property", "purpose"),
    [
        ("hs_email_optout", "all"),
        ("hs_email_optout_11", "promotional"),
        ("hs_email_optout_12", "lifecycle"),
        ("hs_email_optout_13", "all"),
        ("hs_email_optout_99", "all"),
    ],
)
def test_an_opt_out_withdraws_what_it_names_and_more_where_we_do_not_know_it(property: str, purpose: str) -> None:
    hubspot = made(subscriptions={"promotional": [11, 13], "lifecycle": [12, 13]})
    change = item("contact.propertyChange", propertyName=property, propertyValue="true")
    (event,) = hubspot.parse(batch(change), NOW)
    assert event.type == "consent.withdrawn"
    assert (event.data["channel"], event.data["purpose"], event.data["evidence"]) == ("email", purpose, property)
    assert who(event) == {("hubspot", "501")}
    assert hubspot.parse(batch({**change, "attemptNumber": 4}), NOW) == [event]


def test_an_opt_out_taken_back_is_no_consent() -> None:
    change = item("contact.propertyChange", propertyName="hs_email_optout", propertyValue="false")
    assert HUBSPOT.parse(batch(change), NOW) == []


@pytest.mark.parametrize(
    ("fields", "into", "merged"),
    [
        ({"primaryObjectId": 1, "mergedObjectIds": [2, 3], "newObjectId": 9}, "9", ["1", "2", "3"]),
        ({"primaryObjectId": 1, "mergedObjectIds": [2], "newObjectId": 1}, "1", ["2"]),
        ({"primaryObjectId": 1, "mergedObjectIds": [2]}, "1", ["2"]),
    ],
)
def test_a_merge_names_who_became_whom(fields: dict[str, Any], into: str, merged: list[str]) -> None:
    event = only("contact.merge", **fields)
    assert event.type == "contact.merged"
    assert (event.data["into"], event.data["merged"]) == (into, merged)
    assert who(event) == {("hubspot", id) for id in (into, *merged)}


def test_privacy_deletion_is_erasure_and_archiving_is_not() -> None:
    assert only("contact.privacyDeletion").type == "contact.erased"
    assert HUBSPOT.parse(batch(item("contact.deletion")), NOW) == []


def test_a_deal_moves_and_its_number_is_nobodys() -> None:
    event = only("deal.propertyChange", propertyName="dealstage", propertyValue="closedwon")
    assert event.type == "deal.stage_changed"
    assert (event.data["deal_id"], event.data["stage"]) == ("501", "closedwon")
    assert event.identities == ()
    assert HUBSPOT.parse(batch(item("deal.propertyChange", propertyName="amount", propertyValue="9")), NOW) == []


def test_the_generic_form() -> None:
    assert only("object.creation", objectTypeId="0-1").type == "contact.identified"
    moved = only("object.propertyChange", objectTypeId="0-3", propertyName="dealstage", propertyValue="won")
    assert moved.type == "deal.stage_changed"
    assert HUBSPOT.parse(batch(item("object.creation", objectTypeId="0-2")), NOW) == []
    assert HUBSPOT.parse(batch(item("object.creation")), NOW) == []


@pytest.mark.parametrize("type", ["company.creation", "conversation.creation", "contact.restore", "ticket.creation"])
def test_other_items_mean_nothing(type: str) -> None:
    assert HUBSPOT.parse(batch(item(type), {"subscriptionType": type}), NOW) == []


def test_one_bare_item_is_a_batch_of_one() -> None:
    (event,) = HUBSPOT.parse(Request("POST", URL, {}, json.dumps(item("contact.creation")).encode()), NOW)
    assert event.type == "contact.identified"


def test_a_bad_item_does_not_cost_the_good_ones() -> None:
    bad = item("contact.creation", occurredAt="alice@example.com")
    with pytest.raises(PartlyUnderstood) as caught:
        HUBSPOT.parse(batch(item("contact.creation"), bad, "junk", item("contact.privacyDeletion", eventId=2)), NOW)
    assert [e.type for e in caught.value.events] == ["contact.identified", "contact.erased"]
    assert str(caught.value).startswith("item 1: occurredAt: ")
    assert str(caught.value).endswith("(2 of 4 items do not parse)")
    assert "alice" not in str(caught.value)


API = "https://api.hubapi.com"
CONTACTS = f"{API}/crm/v3/objects/contacts"
PERSON = Person("zoe+1@example.com", first_name="Zoë", company="Ash", properties={"lifecyclestage": "lead"})


@pytest.fixture
async def crm() -> AsyncIterator[HubSpot]:
    async with http.new_client() as client:
        yield made(client)


def sent(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


@respx.mock
async def test_a_person_is_created(crm: HubSpot) -> None:
    route = respx.post(CONTACTS).respond(201, json={"id": "501", "properties": {"email": None}})
    assert await crm.upsert(PERSON) == "501"
    properties = {"email": "zoe+1@example.com", "firstname": "Zoë", "company": "Ash", "lifecyclestage": "lead"}
    assert sent(route) == {"properties": properties, "associations": []}
    assert route.calls.last.request.headers["authorization"] == "Bearer pat-1"


@respx.mock
async def test_a_person_who_is_there_is_updated_but_for_the_address(crm: HubSpot) -> None:
    respx.post(CONTACTS).respond(409, json={"category": "CONFLICT"})
    route = respx.patch(f"{CONTACTS}/zoe%2B1%40example.com", params={"idProperty": "email"}).respond(json={"id": "501"})
    assert await crm.upsert(PERSON) == "501"
    assert sent(route) == {"properties": {"firstname": "Zoë", "company": "Ash", "lifecyclestage": "lead"}}
    assert route.calls.last.request.url.raw_path.endswith(b"/zoe%2B1%40example.com?idProperty=email")


@respx.mock
async def test_with_nothing_to_update_the_person_is_only_found(crm: HubSpot) -> None:
    respx.post(CONTACTS).respond(409)
    respx.get(f"{CONTACTS}/a%40example.com", params={"idProperty": "email"}).respond(json={"id": "7"})
    assert await crm.upsert(Person("a@example.com")) == "7"


@respx.mock
async def test_an_upsert_whose_answer_is_lost_may_be_asked_again(crm: HubSpot) -> None:
    respx.post(CONTACTS).mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(TryAgain):
        await crm.upsert(PERSON)


TASK = Task(
    "run-1/handoff", "Call Zoë", "She saw <pricing> & asked\nfor a call", datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
)


class Account:
    """Tasks and notes of one contact, as HubSpot would keep them."""

    def __init__(self) -> None:
        self.kept: dict[str, list[dict[str, Any]]] = {"tasks": [], "notes": []}
        for kind in self.kept:
            respx.get(f"{CONTACTS}/501", params={"associations": kind}).mock(side_effect=self.contact(kind))
            respx.post(f"{API}/crm/v3/objects/{kind}/batch/read").mock(side_effect=self.read(kind))
            respx.post(f"{API}/crm/v3/objects/{kind}").mock(side_effect=self.create(kind))

    def contact(self, kind: str) -> Any:
        def answer(request: httpx.Request) -> httpx.Response:
            links = [{"id": str(n), "type": "x"} for n in range(1, len(self.kept[kind]) + 1)]
            associations = {"associations": {kind: {"results": links}}} if links else {}
            return httpx.Response(200, json={"id": "501", "properties": {}, **associations})

        return answer

    def read(self, kind: str) -> Any:
        def answer(request: httpx.Request) -> httpx.Response:
            wanted = [int(i["id"]) for i in json.loads(request.content)["inputs"]]
            assert len(wanted) <= 100
            found = [{"id": str(n), "properties": self.kept[kind][n - 1]["properties"]} for n in wanted]
            return httpx.Response(200, json={"status": "COMPLETE", "results": found})

        return answer

    def create(self, kind: str) -> Any:
        def answer(request: httpx.Request) -> httpx.Response:
            self.kept[kind].append(json.loads(request.content))
            return httpx.Response(201, json={"id": str(len(self.kept[kind]))})

        return answer


@respx.mock
async def test_a_key_makes_one_task(crm: HubSpot) -> None:
    account = Account()
    assert await crm.task("501", TASK) == "1"
    assert await crm.task("501", TASK) == "1"
    assert await crm.task("501", Task("run-1/hand", "Other", "", TASK.due)) == "2"
    first = account.kept["tasks"][0]
    assert first["properties"] == {
        "hs_timestamp": "1772443800000",
        "hs_task_subject": "Call Zoë",
        "hs_task_body": "She saw &lt;pricing&gt; &amp; asked<br>for a call<br><br>[perennial run-1/handoff]",
        "hs_task_status": "NOT_STARTED",
        "hs_task_type": "TODO",
    }
    types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 204}]
    assert first["associations"] == [{"to": {"id": "501"}, "types": types}]


@respx.mock
async def test_among_many_tasks_the_newest_hundred_are_read(crm: HubSpot) -> None:
    account = Account()
    account.kept["tasks"] = [{"properties": {"hs_task_body": None}} for _ in range(999)]
    assert await crm.task("501", TASK) == "1000"
    assert await crm.task("501", TASK) == "1000"


@respx.mock
async def test_a_key_makes_one_note(crm: HubSpot) -> None:
    account = Account()
    for _ in range(2):
        assert await crm.note("501", "run-1/story", "Where it went", TASK.due) == "1"
    (note,) = account.kept["notes"]
    assert note["properties"] == {
        "hs_timestamp": "1772443800000",
        "hs_note_body": "Where it went<br><br>[perennial run-1/story]",
    }
    assert note["associations"][0]["types"][0]["associationTypeId"] == 202


@respx.mock
async def test_the_owner_of_a_task(crm: HubSpot) -> None:
    account = Account()
    await crm.task("501", Task("k1", "t", "b", TASK.due, owner="77"))
    await crm.task("501", Task("k2", "t", "b", TASK.due, owner="Sales"))
    numbered, named = account.kept["tasks"]
    assert numbered["properties"]["hubspot_owner_id"] == "77"
    assert "hubspot_owner_id" not in named["properties"]
    assert named["properties"]["hs_task_body"].startswith("b<br><br>For Sales<br><br>[")


@respx.mock
async def test_a_text_hubspot_would_not_take_is_not_sent(crm: HubSpot) -> None:
    account = Account()
    with pytest.raises(NeverAgain, match="hs_task_body: is longer"):
        await crm.task("501", Task("k1", "t", "b" * 65_530, TASK.due))
    with pytest.raises(NeverAgain, match="company: is longer"):
        await crm.upsert(Person("zoe@example.com", company="c" * 65_537))
    assert account.kept["tasks"] == []


@respx.mock
async def test_a_task_whose_answer_is_lost_is_unknown_and_found_on_the_next_try(crm: HubSpot) -> None:
    account = Account()
    keep = account.create("tasks")

    def kept_but_silent(request: httpx.Request) -> httpx.Response:
        keep(request)
        raise httpx.ReadTimeout("slow")

    respx.post(f"{API}/crm/v3/objects/tasks").mock(side_effect=kept_but_silent)
    with pytest.raises(Unknown):
        await crm.task("501", TASK)
    assert await crm.task("501", TASK) == "1"
    assert len(account.kept["tasks"]) == 1


@pytest.mark.parametrize(
    ("status", "body", "kind", "delay", "reason"),
    [
        (429, {"policyName": "DAILY", "category": "RATE_LIMITS"}, TryAgain, 3600, "429 RATE_LIMITS DAILY"),
        (429, {"policyName": "TEN_SECONDLY_ROLLING"}, TryAgain, 10, "429 TEN_SECONDLY_ROLLING"),
        (429, {"policyName": ["junk"]}, TryAgain, None, "429"),
        (423, {}, TryAgain, None, "423"),
        (477, {}, TryAgain, None, "477"),
        (502, {}, TryAgain, None, "502"),
        (401, {"category": "INVALID_AUTHENTICATION"}, NeverAgain, None, "401 INVALID_AUTHENTICATION"),
        (403, {"category": "MISSING_SCOPES"}, NeverAgain, None, "403 MISSING_SCOPES"),
        (400, {"category": "VALIDATION_ERROR", "errors": [{"code": "INVALID_EMAIL"}]}, NeverAgain, None, None),
        (404, [], NeverAgain, None, "404"),
    ],
)
@respx.mock
async def test_errors(
    crm: HubSpot, status: int, body: Any, kind: type[ConnectorError], delay: int | None, reason: str | None
) -> None:
    if isinstance(body, dict):
        body = {"message": "zoe@example.com is wrong", "correlationId": "c-1", **body}
    respx.post(CONTACTS).respond(status, json=body)
    with pytest.raises(kind) as caught:
        await crm.upsert(PERSON)
    assert caught.value.reason == (reason or "400 VALIDATION_ERROR INVALID_EMAIL")
    assert caught.value.request_id == ("c-1" if isinstance(body, dict) else None)
    assert getattr(caught.value, "delay", None) == (timedelta(seconds=delay) if delay else None)
    assert "zoe" not in str(caught.value)


@respx.mock
async def test_retry_after_comes_before_our_own_guess(crm: HubSpot) -> None:
    respx.post(CONTACTS).respond(477, headers={"retry-after": "7200"})
    with pytest.raises(TryAgain) as caught:
        await crm.upsert(PERSON)
    assert caught.value.delay == timedelta(hours=2)


@respx.mock
async def test_another_address_for_the_api() -> None:
    respx.post("http://127.0.0.1:4010/crm/v3/objects/contacts").respond(201, json={"id": "1"})
    async with http.new_client() as client:
        assert await made(client, base_url="http://127.0.0.1:4010").upsert(PERSON) == "1"


async def test_without_a_token_nothing_is_asked() -> None:
    with pytest.raises(NeverAgain, match="HUBSPOT_ACCESS_TOKEN"):
        await made(access_token=None).upsert(PERSON)
