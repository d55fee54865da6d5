"""Tracking calls become events; what is malformed, oversized or not a visitor's business does not."""

import base64
import gzip
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from connectors.base import Refused, Request
from connectors.batch import Problem, Reading
from connectors.track import BATCH_CALLS, BATCH_LIMIT, CALL_LIMIT, PATHS, Track
from contacts.events import Event, Identity, PartlyUnderstood

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
KEY = "public-key"
TRACK = Track([SecretStr("another"), SecretStr(KEY)])


def request(path: str, body: object, **headers: str) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("POST", f"https://hub.example.com/v1/{path}", names, raw)


def read(path: str, **fields: Any) -> Reading:
    sent = request(path, {"writeKey": KEY, **fields})
    TRACK.verify(sent, NOW)
    return TRACK.read(sent, NOW)


def only(path: str, **fields: Any) -> Event:
    [event] = read(path, **fields).events
    return event


def refusal(sent: Request) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        TRACK.verify(sent, NOW)
    return refused.value.status, refused.value.reason


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


CALL = {"userId": "42", "event": "Signed Up"}


class TestWriteKey:
    @pytest.mark.parametrize("user", [f"{KEY}:", KEY, f"{KEY}:anything"])
    def test_as_basic_user(self, user: str) -> None:
        TRACK.verify(request("track", CALL, authorization=basic(user)), NOW)

    def test_in_the_body(self) -> None:
        TRACK.verify(request("track", {**CALL, "writeKey": KEY}), NOW)

    @pytest.mark.parametrize("header", ["", basic("wrong:"), "Basic !!!", "Basic /w==", f"Bearer {KEY}", "Basic"])
    def test_unknown(self, header: str) -> None:
        assert refusal(request("track", CALL, authorization=header)) == (401, "the write key is not known")

    @pytest.mark.parametrize("key", [None, 7, "", "public-ke", [KEY], "ключ"])
    def test_unknown_in_the_body(self, key: object) -> None:
        assert refusal(request("track", {**CALL, "writeKey": key}))[0] == 401

    def test_is_never_part_of_an_event(self) -> None:
        assert KEY not in only("track", **CALL).model_dump_json()


class TestForm:
    @pytest.mark.parametrize(
        ("path", "fields", "reason"),
        [
            ("track", {"event": "x"}, "needs a userId or an anonymousId"),
            ("track", {"userId": "undefined", "anonymousId": "", "event": "x"}, "needs a userId or an anonymousId"),
            ("track", {"userId": "1"}, "track needs an event"),
            ("track", {"userId": "1", "event": "  "}, "track needs an event"),
            ("group", {"userId": "1"}, "group needs a groupId"),
            ("alias", {"userId": "1"}, "alias needs a userId and a previousId"),
            ("identify", {"userId": True}, "userId: Input should be a valid string"),
            ("identify", {"userId": "1", "traits": [1]}, "traits: Input should be a valid dictionary"),
            ("page", {"userId": "1", "messageId": "m" * 101}, "messageId: String should have at most 100 characters"),
            ("batch", {}, "batch: must be a list of calls"),
            ("batch", {"batch": [{}] * (BATCH_CALLS + 1)}, f"batch: more than {BATCH_CALLS} calls"),
        ],
    )
    def test_malformed_calls_are_400(self, path: str, fields: dict[str, Any], reason: str) -> None:
        assert refusal(request(path, {"writeKey": KEY, **fields})) == (400, reason)

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b"null", b"\xff", b'{"a": NaN}', b'{"a": 1e999}', b"[" * 100_000]
    )
    def test_what_is_no_json_object_is_400(self, body: bytes) -> None:
        assert refusal(request("track", body, authorization=basic(KEY)))[0] == 400

    def test_sizes(self) -> None:
        big = {**CALL, "writeKey": KEY, "properties": {"x": "x" * CALL_LIMIT}}
        assert refusal(request("track", big)) == (400, "the body is larger than 32 KB")
        assert refusal(request("batch", b" " * BATCH_LIMIT + b"{}")) == (400, "the body is larger than 500 KB")
        reading = read("batch", batch=[{"type": "track", **big}, {"type": "track", **CALL}])
        assert len(reading.events) == 1
        assert reading.problems == (Problem(0, "the call is larger than 32 KB"),)

    def test_gzip(self) -> None:
        packed = gzip.compress(json.dumps({**CALL, "writeKey": KEY}).encode())
        sent = request("track", packed, content_encoding="gzip")
        TRACK.verify(sent, NOW)
        assert len(TRACK.parse(sent, NOW)) == 1
        assert refusal(request("track", packed[:-9], content_encoding="gzip")) == (400, "the body is not gzip")
        assert refusal(request("track", b"junk", content_encoding="gzip")) == (400, "the body is not gzip")
        assert refusal(request("track", packed, content_encoding="br"))[0] == 415

    def test_a_gzip_bomb_is_not_unpacked(self) -> None:
        bomb = gzip.compress(b" " * 50_000_000)
        tracemalloc.start()
        assert refusal(request("batch", bomb, content_encoding="gzip")) == (400, "the body is larger than 500 KB")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 5_000_000


class TestIdentify:
    def test_traits_under_our_names(self) -> None:
        traits = {"email": "Alice@Example.com", "firstName": "Alice", "company": {"name": "Acme"}, "plan": "pro"}
        context = {"timezone": "Europe/Berlin", "locale": "de-DE"}
        event = only("identify", userId=42, anonymousId="dev", traits=traits, context=context)
        assert event.type == "contact.identified"
        assert event.data == {
            "email": "alice@example.com", "first_name": "Alice", "company": "Acme", "plan": "pro",
            "timezone": "Europe/Berlin", "locale": "de-DE",
        }  # fmt: skip
        assert event.identities == (
            Identity("user", "42"), Identity("email", "alice@example.com"), Identity("anonymous", "dev"),
        )  # fmt: skip

    def test_null_traits(self) -> None:
        assert only("identify", userId="1", traits=None).data == {}

    def test_consent_comes_first_with_its_evidence(self) -> None:
        consent = {"email": ["promotional", "lifecycle"]}
        context = {"page": {"url": "https://www.example.com/join"}}
        events = read("identify", userId="1", messageId="m", traits={"consent": consent}, context=context).events
        assert [(e.type, e.source_id) for e in events] == [
            ("consent.granted", "m:email:promotional"),
            ("consent.granted", "m:email:lifecycle"),
            ("contact.identified", "m"),
        ]
        assert events[0].data["evidence"] == "tracking API, https://www.example.com/join"
        assert "consent" not in events[2].data

    @pytest.mark.parametrize(
        "consent", ["yes", True, {"email": "everything"}, {"email": [{}]}, {"E MAIL": "promotional"}, [1]]
    )
    def test_an_unclear_consent_grants_nothing_and_is_reported(self, consent: object) -> None:
        reading = read("identify", userId="1", traits={"consent": consent})
        assert [e.type for e in reading.events] == ["contact.identified"]
        assert reading.remarks[0].reason.startswith("traits.consent: ")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("frequency", "daily"),
            ("frequency", 3),
            ("topics", "seo"),
            ("topics", [{}]),
            ("preferred_channel", "pigeon"),
        ],
    )
    def test_a_trait_that_only_sounds_like_a_wish_is_left_out_and_reported(self, name: str, value: object) -> None:
        reading = read("identify", userId="1", traits={name: value, "firstName": "Alice"})
        [event] = reading.events
        assert event.data == {"first_name": "Alice"}
        assert reading.remarks[0].reason.startswith(f"traits.{name}")

    def test_where_somebody_lives_is_a_postal_address(self) -> None:
        place = {"street": " Hauptstr. 1 ", "city": "Berlin", "state": "", "postalCode": 10115, "country": "de", "x": 1}
        data = only("identify", userId="1", traits={"address": place}).data
        where = {"line1": "Hauptstr. 1", "city": "Berlin", "postal_code": "10115", "country": "DE"}
        assert data == {"postal_address": where}

    @pytest.mark.parametrize(
        ("address", "where"),
        [
            ({"city": "Berlin", "country": "DE"}, "line1"),
            ({"street": "Hauptstr. 1", "city": "Berlin", "country": "Germany"}, "country"),
            ({"street": "Hauptstr. 1", "city": "Berlin", "country": "UK"}, "country"),
            ("Hauptstr. 1, Berlin", "line1"),
            ([], "line1"),
        ],
    )
    def test_an_address_no_letter_finds_is_left_out_and_reported(self, address: object, where: str) -> None:
        reading = read("identify", userId="1", traits={"address": address, "firstName": "Alice"})
        [event] = reading.events
        assert event.data == {"first_name": "Alice"}
        assert [r.reason.partition(": ")[0] for r in reading.remarks] == [f"traits.postal_address.{where}"]

    def test_a_wish_that_is_one_is_kept(self) -> None:
        wish = {"frequency": "weekly", "topics": ["seo"], "preferred_channel": "sms"}
        assert only("identify", userId="1", traits=wish).data == wish

    def test_cookie_choices_are_not_consent_to_mail(self) -> None:
        context = {"consent": {"categoryPreferences": {"advertising": True}}}
        assert [e.type for e in read("identify", userId="1", context=context).events] == ["contact.identified"]

    def test_what_cannot_be_reached_is_no_address_and_reported(self) -> None:
        reading = read("identify", userId="1", traits={"email": "alice@", "phone": "030 901820", "name": "Alice"})
        [event] = reading.events
        assert event.data == {"name": "Alice", "email_as_given": "alice@", "phone_as_given": "030 901820"}
        assert event.identities == (Identity("user", "1"),)
        assert [p.reason.partition(":")[0] for p in reading.remarks] == ["traits.email", "traits.phone"]


class TestTrack:
    def test_our_own_types_pass_with_their_properties(self) -> None:
        event = only("track", userId="1", event="resource.downloaded", properties={"resource": "guide", "topic": "seo"})
        assert (event.type, event.data) == ("resource.downloaded", {"resource": "guide", "topic": "seo"})

    def test_our_own_types_keep_their_rules(self) -> None:
        problem = read("track", userId="1", event="checkout.started", properties={"value": 19.99}).problems[0]
        assert problem.reason.startswith("data.")

    @pytest.mark.parametrize(
        ("name", "type"),
        [
            ("Signed Up", "custom.signed_up"),
            ("custom.signed_up", "custom.signed_up"),
            ("Überraschung!", "custom.uberraschung"),
            ("custom.Not Ours", "custom.custom_not_ours"),
            ("x" * 200, "custom." + "x" * 90),
        ],
    )
    def test_other_names_are_custom(self, name: str, type: str) -> None:
        event = only("track", userId="1", event=name, properties={"a": 1})
        assert (event.type, event.data) == (type, {"a": 1} if name == type else {"a": 1, "event": name})

    def test_names_in_another_script_stay_apart(self) -> None:
        first, second = (only("track", userId="1", event=name) for name in ("Заказ", "Возврат"))
        assert first.type != second.type
        assert first.data["event"] == "Заказ"

    @pytest.mark.parametrize(
        "name",
        [
            "contact.erased",
            "contact.merged",
            "handoff.acknowledged",
            "approval.answered",
            "hold.opened",
            "address.reactivated",
            "segment.joined",
            "broadcast.due",
            "message.unsubscribed",
            " hold.released ",
        ],
    )
    def test_what_only_operators_and_providers_may_say_is_refused(self, name: str) -> None:
        assert refusal(request("track", {"writeKey": KEY, "userId": "1", "event": name}))[0] == 400
        assert read("batch", batch=[{"type": "track", "userId": "1", "event": name}]).events == ()

    def test_an_address_among_properties_names_a_visitor_but_not_a_users_friend(self) -> None:
        properties = {"email": "bob@example.com"}
        visitor = only("track", anonymousId="a", event="Form Filled", properties=properties)
        assert Identity("email", "bob@example.com") in visitor.identities
        invite = only("track", userId="1", event="Friend Invited", properties=properties)
        assert invite.identities == (Identity("user", "1"),)

    def test_context_traits_name_the_user(self) -> None:
        event = only("track", userId="1", event="x", context={"traits": {"email": "a@example.com"}})
        assert Identity("email", "a@example.com") in event.identities


class TestCommerce:
    @pytest.mark.parametrize(
        ("amount", "currency", "minor"),
        [
            (49.90, "EUR", 4990),
            (59.97000000000001, "eur", 5997),
            (0.1 + 0.2, "USD", 30),
            ("19.99", "GBP", 1999),
            (1.005, "EUR", 101),
            (5000, "JPY", 5000),
            (1.25, "KWD", 1250),
            (-5, "EUR", -500),
        ],
    )
    def test_amounts_become_minor_units(self, amount: object, currency: str, minor: int) -> None:
        event = only("track", userId="1", event="Order Completed", properties={"total": amount, "currency": currency})
        assert (event.data["value"], event.data["currency"]) == (minor, currency.upper())

    @given(st.integers(-(10**12), 10**12), st.sampled_from([("EUR", 2), ("JPY", 0), ("BHD", 3)]))
    def test_every_amount_survives_the_browsers_float(self, minor: int, currency: tuple[str, int]) -> None:
        code, digits = currency
        properties = json.loads(json.dumps({"revenue": minor / 10**digits, "currency": code}))
        assert only("track", userId="1", event="order completed", properties=properties).data["value"] == minor

    @pytest.mark.parametrize(
        "properties",
        [
            {"total": "abc", "currency": "EUR"},
            {"total": True, "currency": "EUR"},
            {"total": "NaN", "currency": "EUR"},
            {"total": "1e999999", "currency": "EUR"},
            {"total": 10**20, "currency": "EUR"},
            {"total": {}, "currency": "EUR"},
            {"total": 5},
            {"total": 5, "currency": "EURO"},
            {"total": 5, "currency": 978},
        ],
    )
    def test_an_order_counts_whatever_is_wrong_with_its_amount(self, properties: dict[str, Any]) -> None:
        reading = read("track", userId="1", event="Order Completed", properties={"order_id": 7, **properties})
        [event] = reading.events
        assert (event.type, event.data["order_id"]) == ("purchase.completed", "7")
        assert "value" not in event.data
        assert (reading.problems, len(reading.remarks)) == ((), 1)

    def test_an_order_ends_the_checkout_that_has_its_id(self) -> None:
        started = only(
            "track", userId="1", event="Checkout Started", properties={"order_id": 9, "products": [{"sku": "a"}]}
        )
        done = only("track", userId="1", event="Order Completed", properties={"order_id": "9"})
        assert started.data["checkout_id"] == done.data["checkout_id"] == "9"
        assert started.data["items"] == [{"sku": "a"}]

    def test_a_checkout_without_an_id_gets_one(self) -> None:
        assert only("track", userId="1", messageId="m", event="Checkout Started").data["checkout_id"] == "m"

    def test_refunds(self) -> None:
        assert (
            only("track", userId="1", event="Order Refunded", properties={"order_id": "9"}).type == "purchase.refunded"
        )


class TestPage:
    @pytest.mark.parametrize(
        ("fields", "page"),
        [
            ({"properties": {"page": "pricing", "path": "/x"}, "name": "Y"}, "pricing"),
            ({"name": "Plans & Pricing"}, "plans-pricing"),
            ({"properties": {"path": "/en/Pricing/"}}, "pricing"),
            ({"properties": {"url": "https://www.example.com/?utm=1"}}, "home"),
            ({"context": {"page": {"path": "/docs/start"}}}, "start"),
        ],
    )
    def test_which_page(self, fields: dict[str, Any], page: str) -> None:
        for path in ("page", "screen"):
            event = only(path, anonymousId="a", **fields)
            assert (event.type, event.data["page"]) == ("page.viewed", page)

    def test_a_page_that_says_nothing_is_reported(self) -> None:
        assert read("page", anonymousId="a").problems[0].reason.startswith("properties: nothing says which page")


def test_group_is_the_contacts_company() -> None:
    event = only("group", userId="1", groupId=5, traits={"name": "Acme"})
    assert (event.type, event.data) == ("contact.updated", {"company": "Acme", "group_id": "5"})


def test_alias_joins_both_ids() -> None:
    event = only("alias", userId="42", previousId="old")
    assert event.type == "contact.merged"
    assert set(event.identities) == {Identity("user", "42"), Identity("user", "old"), Identity("anonymous", "old")}


class TestTime:
    @pytest.mark.parametrize(
        ("fields", "seconds"),
        [
            ({}, 0),
            ({"sentAt": "2020-01-01T00:00:00Z"}, 0),
            ({"timestamp": "2026-03-01T09:00:00Z"}, -86400),
            ({"timestamp": "2026-03-01T09:00:00"}, -86400),
            ({"timestamp": "2020-01-01T00:00:00Z", "sentAt": "2020-01-01T00:01:30Z"}, -90),
            ({"timestamp": "2026-03-05T09:00:00Z"}, 300),
            ({"timestamp": "2026-03-05T09:00:00Z", "sentAt": "2026-03-02T09:00:00Z"}, 300),
        ],
    )
    def test_the_clients_clock_only_gives_the_age(self, fields: dict[str, Any], seconds: int) -> None:
        assert only("track", **CALL, **fields).occurred_at == NOW + timedelta(seconds=seconds)

    @given(st.datetimes(), st.datetimes())
    def test_no_clock_is_too_wrong(self, timestamp: datetime, sent: datetime) -> None:
        fields = {"timestamp": timestamp.isoformat(), "sentAt": sent.isoformat()}
        try:
            event = only("track", **CALL, **fields)
        except Refused as refused:
            assert refused.status == 400
        else:
            assert datetime(1970, 1, 1, tzinfo=UTC) <= event.occurred_at <= NOW + timedelta(minutes=5)


class TestBatch:
    def test_good_calls_are_kept_and_bad_ones_named(self) -> None:
        calls = [{"type": "page", "name": "Home"}, {"type": "fly", "userId": "1"}, 7, None]
        reading = read("batch", batch=[{"type": "track", **CALL}, *calls], sentAt="2026-03-02T09:00:00Z")
        assert [e.type for e in reading.events] == ["custom.signed_up"]
        assert [p.index for p in reading.problems] == [1, 2, 3, 4]

    def test_outer_context_and_time_hold_for_every_call(self) -> None:
        event = only(
            "import",
            batch=[{"type": "identify", "userId": "1", "timestamp": "2020-01-01T00:00:00Z"}],
            context={"timezone": "Asia/Tokyo"},
            sentAt="2020-01-01T00:00:10Z",
        )
        assert event.data["timezone"] == "Asia/Tokyo"
        assert event.occurred_at == NOW - timedelta(seconds=10)

    def test_made_ids_differ_within_a_batch_and_are_the_same_on_every_reading(self) -> None:
        sent = request("batch", {"writeKey": KEY, "batch": [{"type": "track", **CALL}] * 3})
        ids = [e.source_id for e in TRACK.parse(sent, NOW)]
        assert len(set(ids)) == 3
        assert ids == [e.source_id for e in TRACK.parse(sent, NOW)]
        assert not set(ids) & {e.source_id for e in TRACK.parse(sent, NOW + timedelta(microseconds=1))}

    def test_a_bad_call_marks_the_batch_without_costing_the_others(self) -> None:
        with pytest.raises(PartlyUnderstood, match="an object") as partly:
            TRACK.parse(request("batch", {"writeKey": KEY, "batch": [1, {"type": "track", **CALL}]}), NOW)
        assert len(partly.value.events) == 1

    def test_what_is_left_out_of_a_call_does_not_mark_it(self) -> None:
        sent = request("identify", {"writeKey": KEY, "userId": "1", "traits": {"phone": "030 901820"}})
        assert len(TRACK.parse(sent, NOW)) == 1

    def test_an_empty_batch_is_nothing(self) -> None:
        assert read("batch", batch=[]) == Reading((), ())


def test_what_postgresql_cannot_store_is_made_storable() -> None:
    event = only("track", userId="1", event="x", properties={"cut\ud83d": "a\0b \U0001f600"})
    assert event.data == {"cut\ufffd": "a\ufffdb \U0001f600", "event": "x"}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = st.sampled_from(
    ["userId", "anonymousId", "previousId", "groupId", "messageId", "event", "name", "timestamp", "sentAt", "traits",
     "properties", "context", "type", "batch"]
)  # fmt: skip
_NEAR = st.dictionaries(_FIELDS, _JSON, max_size=8)
_NAMED = st.fixed_dictionaries(
    {"userId": st.integers(), "event": st.sampled_from(["Order Completed", "x", "page.viewed", "contact.updated"])},
    optional={
        "traits": st.dictionaries(st.sampled_from(["email", "phone", "consent", "company", "name"]), _JSON),
        "properties": st.dictionaries(
            st.sampled_from(["total", "currency", "url", "path", "page", "products", "order_id", "items", "email"]),
            _JSON,
        ),
        "context": st.dictionaries(st.sampled_from(["traits", "page", "timezone"]), _JSON),
    },
)


@given(st.sampled_from(sorted(PATHS)), _NEAR | _NAMED | st.lists(_NEAR | _NAMED).map(lambda calls: {"batch": calls}))
def test_any_json_is_read_or_refused(path: str, fields: dict[str, Any]) -> None:
    try:
        reading = read(path, **fields)
    except Refused as refused:
        assert refused.status == 400
        assert "\n" not in refused.reason
    else:
        assert all("\n" not in problem.reason for problem in reading.problems)


@given(st.binary(max_size=300), st.sampled_from(["", "gzip", "identity"]))
def test_any_bytes_are_refused(body: bytes, encoding: str) -> None:
    with pytest.raises(Refused):
        TRACK.verify(request("batch", body, content_encoding=encoding, authorization=basic(KEY)), NOW)
