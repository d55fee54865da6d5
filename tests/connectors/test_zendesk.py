"""Zendesk: signatures, event subscriptions, and the body of a trigger."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Refused, Request, Source
from connectors.zendesk import PUBLIC_TEST_SECRET, Zendesk, ZendeskSettings
from contacts.events import Event

SECRET = "c2VjcmV0LW9mLXRoaXMtd2ViaG9vaw=="
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
URL = "https://hub.example.com/webhooks/zendesk"


def made(secret: str | None = SECRET) -> Zendesk:
    return Zendesk(ZendeskSettings(_env_file=None, signing_secret=secret))


ZENDESK = made()


def signed(body: bytes, *, secret: str = SECRET, sent: str = "2026-03-02T09:00:00Z") -> Request:
    mac = hmac.new(secret.encode(), sent.encode() + body, hashlib.sha256).digest()
    headers = {
        "x-zendesk-webhook-signature": base64.b64encode(mac).decode(),
        "x-zendesk-webhook-signature-timestamp": sent,
    }
    return Request("POST", URL, headers, body)


def refusal(request: Request, zendesk: Zendesk = ZENDESK) -> Refused:
    with pytest.raises(Refused) as caught:
        zendesk.verify(request, NOW)
    return caught.value


def body(**fields: Any) -> Request:
    return Request("POST", URL, {}, json.dumps(fields).encode())


DETAIL = {"id": "35", "requester_id": "900", "status": "OPEN", "priority": "URGENT", "subject": "No login"}


def notice(type: str, detail: dict[str, Any] | None = None, event: dict[str, Any] | None = None) -> Request:
    return body(
        type=f"zen:event-type:{type}",
        id="01JEVENT",
        time="2026-03-02T08:59:58.123456789Z",
        account_id=7,
        subject="zen:ticket:35",
        detail={**DETAIL, **(detail or {})},
        event=event or {},
        zendesk_event_version="2022-11-06",
    )


def only(request: Request) -> Event:
    (event,) = ZENDESK.parse(request, NOW)
    return event


def who(event: Event) -> set[tuple[str, str]]:
    return {(i.kind, i.value) for i in event.identities}


def test_it_is_a_source() -> None:
    assert isinstance(ZENDESK, Source)


def test_a_signature_over_time_and_body() -> None:
    ZENDESK.verify(signed('{"name": "Zoë"}'.encode()), NOW)
    ZENDESK.verify(signed(b""), NOW)


def test_a_vector_worked_out_apart_from_this_code() -> None:
    # printf %s '2026-03-02T09:00:00Z{}' | openssl dgst -sha256 -hmac <SECRET> -binary | base64
    headers = {
        "x-zendesk-webhook-signature": "RJ2dTvslFY2ngQAMRuGvmr8qCbxGJy4MXacFDk3O8m0=",
        "x-zendesk-webhook-signature-timestamp": "2026-03-02T09:00:00Z",
    }
    ZENDESK.verify(Request("POST", URL, headers, b"{}"), NOW)


@pytest.mark.parametrize(("seconds", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_age_counts_both_ways(seconds: int, taken: bool) -> None:
    arriving = signed(b"{}", sent=(NOW + timedelta(seconds=seconds)).isoformat())
    if taken:
        ZENDESK.verify(arriving, NOW)
    else:
        assert refusal(arriving).status == 401


def test_whatever_is_altered_is_refused() -> None:
    good = signed(b"{}")
    later = {**good.headers, "x-zendesk-webhook-signature-timestamp": "2026-03-02T09:00:01Z"}
    for forged in (
        signed(b"{}", secret="other"),
        Request("POST", URL, good.headers, b"{} "),
        Request("POST", URL, later, b"{}"),
        Request("POST", URL, {}, b"{}"),
    ):
        assert refusal(forged).status == 401


def test_the_public_test_secret_proves_nothing() -> None:
    public = PUBLIC_TEST_SECRET.decode()
    assert base64.b64decode(public) == b"this_secret_is_for_testing_only"
    assert "public test secret" in refusal(signed(b"{}", secret=public), made(public)).reason
    assert refusal(signed(b"{}", secret=public), made(f"{SECRET},{public}")).status == 401
    assert refusal(signed(b"{}", secret=public)).status == 401


def test_several_webhooks_have_several_secrets() -> None:
    made(f"other, {SECRET}").verify(signed(b"{}"), NOW)


def test_without_a_secret_everything_is_refused() -> None:
    for request in (signed(b"{}"), Request("POST", URL, {}, b"")):
        said = refusal(request, made(None))
        assert (said.status, "no signing secret" in said.reason) == (401, True)


@pytest.mark.parametrize("sent", ["", "yesterday", "1772442000", "2026-03-02T09:00:00", "2026-03-02", "٢"])
def test_malformed_timestamps(sent: str) -> None:
    assert refusal(signed(b"{}", sent=sent)).status == 400


@given(st.text(min_size=1), st.text() | st.datetimes().map(lambda at: f"{at.isoformat()}Z"), st.binary())
def test_junk_is_refused(signature: str, sent: str, raw: bytes) -> None:
    headers = {"x-zendesk-webhook-signature": signature, "x-zendesk-webhook-signature-timestamp": sent}
    with pytest.raises(Refused):
        ZENDESK.verify(Request("POST", URL, headers, raw), NOW)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ZENDESK.parse(Request("POST", URL, {}, raw), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KINDS = [
    "ticket.created",
    "ticket.undeleted",
    "ticket.status_changed",
    "ticket.soft_deleted",
    "ticket.csat_received",
    "user.created",
    "user.merged",
]
TIMES = st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-03-02T09:00:00Z"])


@given(
    st.sampled_from([f"zen:event-type:{kind}" for kind in KINDS] + ["ticket.opened", "ticket.solved"]),
    TIMES,
    st.dictionaries(st.sampled_from(["id", "requester_id", "status", "priority", "email", "role"]), JSON),
    st.dictionaries(st.sampled_from(["current", "previous", "satisfaction_score", "user"]), JSON),
    st.dictionaries(
        st.sampled_from(["id", "time", "detail", "event", "ticket_id", "updated_at", "requester_email", "score"]), JSON
    ),
)
def test_junk_bodies_parse_or_raise_a_value_error(
    type: str, time: str, detail: dict[str, Any], event: dict[str, Any], fields: dict[str, Any]
) -> None:
    base = {
        "type": type,
        "id": "1",
        "time": time,
        "updated_at": time,
        "ticket_id": "35",
        "detail": {"id": "35", **detail},
        "event": event,
    }
    try:
        ZENDESK.parse(body(**{**base, **fields}), NOW)
    except ValueError as error:
        assert "\n" not in str(error)


def test_a_new_ticket() -> None:
    event = only(notice("ticket.created"))
    assert (event.type, event.source, event.source_id) == ("ticket.opened", "zendesk", "01JEVENT")
    assert event.occurred_at == datetime(2026, 3, 2, 8, 59, 58, 123456, tzinfo=UTC)
    assert event.data == {"ticket_id": "35", "priority": "urgent"}
    assert who(event) == {("zendesk", "900")}


def test_a_ticket_filed_as_solved_waits_for_nobody() -> None:
    assert ZENDESK.parse(notice("ticket.created", {"status": "SOLVED"}), NOW) == []


@pytest.mark.parametrize(
    ("previous", "current", "type"),
    [
        ("OPEN", "SOLVED", "ticket.solved"),
        ("PENDING", "CLOSED", "ticket.solved"),
        ("SOLVED", "OPEN", "ticket.opened"),
        ("CLOSED", "PENDING", "ticket.opened"),
        ("SOLVED", "CLOSED", None),
        ("NEW", "OPEN", None),
        ("OPEN", "PENDING", None),
    ],
)
def test_a_ticket_changes_status(previous: str, current: str, type: str | None) -> None:
    request = notice("ticket.status_changed", {"status": current}, {"previous": previous, "current": current})
    events = ZENDESK.parse(request, NOW)
    assert [e.type for e in events] == ([type] if type else [])
    if type == "ticket.solved":
        assert events[0].data["status"] == current.lower()
    if type == "ticket.opened":
        assert events[0].data["reopened"] is True


def test_a_deleted_ticket_holds_nobody_back() -> None:
    for type in ("ticket.soft_deleted", "ticket.marked_as_spam"):
        event = only(notice(type))
        assert (event.type, event.data["ticket_id"], event.data["status"]) == ("ticket.solved", "35", "deleted")
    assert only(notice("ticket.undeleted")).type == "ticket.opened"


def test_a_rating() -> None:
    event = only(notice("ticket.csat_received", event={"satisfaction_score": {"score": "GOOD", "comment": "Quick"}}))
    assert event.type == "csat.answered"
    assert (event.data["ticket_id"], event.data["score"], event.data["comment"]) == ("35", "good", "Quick")
    assert event.data["mood"] == "good"
    assert who(event) == {("zendesk", "900")}


def test_a_new_user_tells_which_address_an_id_has_and_enrols_nobody() -> None:
    user = {"id": "900", "email": "Zoe@Example.com", "external_id": "u-1", "role": "end-user"}
    event = only(notice("user.created", user))
    assert event.type == "contact.updated"
    assert who(event) == {("zendesk", "900"), ("email", "zoe@example.com"), ("user", "u-1")}
    assert ZENDESK.parse(notice("user.created", {**user, "role": "agent"}), NOW) == []


def test_users_become_one() -> None:
    event = only(notice("user.merged", {"id": "900"}, {"user": {"id": "901"}}))
    assert event.type == "contact.merged"
    assert who(event) == {("zendesk", "900"), ("zendesk", "901")}
    assert (event.data["into"], event.data["merged"]) == ("900", ["901"])
    with pytest.raises(ValueError, match="user"):
        ZENDESK.parse(notice("user.merged", {"id": "900"}), NOW)


@pytest.mark.parametrize("type", ["user.deleted", "ticket.comment_added", "organization.created", "article.published"])
def test_other_events_mean_nothing(type: str) -> None:
    assert ZENDESK.parse(notice(type, {"id": 4}), NOW) == []


def test_the_slash_that_some_of_zendesks_pages_print() -> None:
    raw = json.loads(notice("ticket.created").body)
    assert only(body(**{**raw, "type": "zen:event-type/ticket.created"})).type == "ticket.opened"


TRIGGER = {
    "type": "ticket.opened",
    "ticket_id": 35,
    "requester_email": "Zoe@Example.com",
    "requester_id": "900",
    "requester_external_id": "",
    "priority": "Urgent",
    "status": "-",
    "updated_at": "2026-03-02T10:00:00+01:00",
}


def test_the_body_of_a_trigger() -> None:
    event = only(body(**TRIGGER))
    assert event.type == "ticket.opened"
    assert event.occurred_at == NOW
    assert event.data == {"ticket_id": "35", "priority": "urgent"}
    assert who(event) == {("email", "zoe@example.com"), ("zendesk", "900")}


def test_a_repeat_of_a_trigger_is_the_same_event() -> None:
    first = only(body(**TRIGGER))
    again = only(Request("POST", URL, {"x-zendesk-webhook-invocation-id": "other"}, body(**TRIGGER).body))
    assert again.source_id == first.source_id
    others = [{"type": "ticket.solved"}, {"ticket_id": 36}, {"updated_at": "2026-03-02T10:00:01+01:00"}]
    assert len({first.source_id, *(only(body(**{**TRIGGER, **o})).source_id for o in others)}) == 4


def test_a_rating_by_trigger() -> None:
    event = only(body(**{**TRIGGER, "type": "csat.answered", "score": "Good", "comment": "Quick"}))
    assert (event.type, event.data["score"], event.data["comment"]) == ("csat.answered", "good", "Quick")
    numbered = only(body(**{**TRIGGER, "type": "csat.answered", "score": 2}))
    assert (event.data["mood"], numbered.data["mood"]) == ("good", "bad")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"type": "ticket.updated"}, "type"),
        ({"ticket_id": ""}, "ticket_id"),
        ({"updated_at": "March 2, 2026"}, "updated_at"),
        ({"updated_at": "2026-03-02T10:00:00"}, "updated_at"),
    ],
)
def test_a_mistyped_trigger_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        ZENDESK.parse(body(**{**TRIGGER, **fields}), NOW)
