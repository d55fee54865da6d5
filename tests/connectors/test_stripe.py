"""Stripe: real signatures over real bytes, every mapping, both shapes of what moved, and the look-ups."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
import stripe as vendor
from hypothesis import given
from hypothesis import strategies as st

from connectors import http
from connectors.base import Directory, LiveFacts, Polled, Poller, Refused, Request, Source
from connectors.errors import NeverAgain, TryAgain
from connectors.stripe import Stripe, StripeSettings
from contacts.events import Event, identities

SECRET = "whsec_test_1f7c"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def made(secret: str | None = SECRET, client: httpx.AsyncClient | None = None, key: str | None = "sk_test_1") -> Stripe:
    return Stripe(StripeSettings(_env_file=None, signing_secret=secret, api_key=key), client)


STRIPE = made()


def request(body: bytes, signature: str | None) -> Request:
    headers = {} if signature is None else {"stripe-signature": signature}
    return Request("POST", "https://hub.example.com/webhooks/stripe", headers, body)


def signed(body: bytes, secret: str = SECRET, at: datetime = NOW) -> str:
    """Signed by Stripe's own library."""
    header = vendor.WebhookSignature.generate_signature_header(body.decode(), secret, int(at.timestamp()))
    assert isinstance(header, str)
    return header


def notice(type: str, object: dict[str, Any], **envelope: Any) -> bytes:
    before = envelope.pop("before", None)
    data = {"object": object, **({"previous_attributes": before} if before is not None else {})}
    body = {"id": "evt_1", "object": "event", "type": type, "created": 1772442000, "livemode": True, "data": data}
    return json.dumps({**body, **envelope}).encode()


def parsed(type: str, object: dict[str, Any], **envelope: Any) -> list[Event]:
    return list(STRIPE.parse(request(notice(type, object, **envelope), None), NOW))


def only(type: str, object: dict[str, Any], **envelope: Any) -> Event:
    (event,) = parsed(type, object, **envelope)
    return event


def who(event: Event) -> set[tuple[str, str]]:
    return {(i.kind, i.value) for i in event.identities}


def test_what_it_is() -> None:
    assert isinstance(STRIPE, Source)
    assert isinstance(STRIPE, Poller)
    assert isinstance(STRIPE, Directory)
    assert isinstance(STRIPE, LiveFacts)


@pytest.mark.parametrize(
    ("wanted", "livemode", "taken"),
    [(None, True, True), (None, False, True), (True, True, True), (True, False, False), (False, True, False)],
)
def test_events_of_the_other_mode_are_refused(wanted: bool | None, livemode: bool, taken: bool) -> None:
    settings = StripeSettings(_env_file=None, signing_secret=SECRET, livemode=wanted)
    body = notice("invoice.paid", {"id": "in_1"}, livemode=livemode)
    arriving = request(body, signed(body))
    if taken:
        Stripe(settings).verify(arriving, NOW)
        return
    with pytest.raises(Refused, match="STRIPE_LIVEMODE") as caught:
        Stripe(settings).verify(arriving, NOW)
    assert caught.value.status == 400
    with pytest.raises(Refused, match="does not match"):
        Stripe(settings).verify(request(body, signed(body, "whsec_other")), NOW)


def test_what_stripes_library_signs_is_taken() -> None:
    body = '{"name": "Zoë"}'.encode()
    STRIPE.verify(request(body, signed(body)), NOW)


@pytest.mark.parametrize(("seconds", "taken"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_age_counts_both_ways(seconds: int, taken: bool) -> None:
    arriving = request(b"{}", signed(b"{}", at=NOW + timedelta(seconds=seconds)))
    if taken:
        STRIPE.verify(arriving, NOW)
    else:
        with pytest.raises(Refused, match="older than") as caught:
            STRIPE.verify(arriving, NOW)
        assert caught.value.status == 401


def test_another_secret_an_altered_body_and_another_time_are_refused() -> None:
    for forged in (
        request(b"{}", signed(b"{}", "whsec_other")),
        request(b"{} ", signed(b"{}")),
        request(b"{}", signed(b"{}").replace(f"t={int(NOW.timestamp())}", f"t={int(NOW.timestamp()) + 1}")),
    ):
        with pytest.raises(Refused) as caught:
            STRIPE.verify(forged, NOW)
        assert caught.value.status == 401


def test_while_a_secret_is_rolled_either_side_may_know_both() -> None:
    new = signed(b"{}", "whsec_new")
    with pytest.raises(Refused):
        STRIPE.verify(request(b"{}", new), NOW)
    made(f" {SECRET} , whsec_new").verify(request(b"{}", new), NOW)
    both = f"{new},{signed(b'{}').split(',')[1]}"
    STRIPE.verify(request(b"{}", both), NOW)


def test_only_the_v1_scheme_counts() -> None:
    with pytest.raises(Refused):
        STRIPE.verify(request(b"{}", signed(b"{}").replace("v1=", "v0=")), NOW)


@pytest.mark.parametrize("secret", [None, "", " , "])
def test_without_a_secret_everything_is_refused(secret: str | None) -> None:
    for header in (None, "junk", signed(b"{}")):
        with pytest.raises(Refused, match="no signing secret") as caught:
            made(secret).verify(request(b"{}", header), NOW)
        assert caught.value.status == 401


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("", 401),
        ("v1=00", 400),
        ("t=,v1=00", 400),
        ("t=-5,v1=00", 400),
        ("t=١٢,v1=00", 400),
        ("t=1,t=2,v1=00", 400),
        (f"t={'9' * 50},v1=00", 400),
        ("t=99999999999,v1=00", 401),
        ("t=1772442000", 401),
        ("t=1772442000,v1=é\udcff", 401),
    ],
)
def test_malformed_headers(header: str | None, status: int) -> None:
    with pytest.raises(Refused) as caught:
        STRIPE.verify(request(b"{}", header), NOW)
    assert caught.value.status == status


@given(st.text() | st.builds("t={},v1={}".format, st.integers(), st.text()), st.binary())
def test_junk_is_refused(header: str, body: bytes) -> None:
    with pytest.raises(Refused):
        STRIPE.verify(request(body, header), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "id",
    "customer",
    "currency",
    "metadata",
    "mode",
    "payment_status",
    "customer_details",
    "customer_email",
    "amount_total",
    "line_items",
    "status",
    "items",
    "current_period_end",
    "cancellation_details",
    "parent",
    "subscription",
    "attempt_count",
    "next_payment_attempt",
    "amount_refunded",
    "billing_details",
    "receipt_email",
    "evidence",
    "email",
    "phone",
    "preferred_locales",
    "after_expiration",
]
TYPES = [
    "refund.created",
    "refund.failed",
    "customer.subscription.paused",
    "invoice.payment_action_required",
    "checkout.session.async_payment_failed",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.trial_will_end",
    "invoice.paid",
    "invoice.payment_failed",
    "charge.succeeded",
    "charge.refunded",
    "charge.dispute.created",
    "customer.updated",
]


@given(
    st.sampled_from(TYPES),
    st.dictionaries(st.sampled_from(FIELDS), JSON),
    st.dictionaries(st.sampled_from(["id", "created", "livemode", "data"]), JSON)
    | st.fixed_dictionaries({"before": st.dictionaries(st.sampled_from([*FIELDS, "pause_collection"]), JSON)}),
)
def test_junk_bodies_parse_or_raise_a_value_error(type: str, object: dict[str, Any], envelope: dict[str, Any]) -> None:
    try:
        parsed(type, {"id": "x", "payment_status": "paid", **object}, **envelope)
    except ValueError as error:
        assert "\n" not in str(error)


@given(st.binary())
def test_junk_bytes_raise_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        STRIPE.parse(request(body, None), NOW)


@pytest.mark.parametrize("body", [b"", b"[]", b"[" * 100_000, b"\xff", b'{"id": "evt_1"}', b'{"a": NaN}'])
def test_malformed_bodies_give_one_line(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        STRIPE.parse(request(body, None), NOW)
    assert "\n" not in str(caught.value)


def test_an_error_names_the_field_and_keeps_the_value() -> None:
    with pytest.raises(ValueError, match=r"amount_total: .+ integer") as caught:
        parsed("checkout.session.completed", {**SESSION, "amount_total": "alice@example.com"})
    assert "alice" not in str(caught.value)
    assert caught.value.__suppress_context__


SESSION = {
    "id": "cs_1",
    "object": "checkout.session",
    "mode": "payment",
    "payment_status": "paid",
    "customer": "cus_1",
    "customer_details": {"email": "Alice@Example.com", "phone": "+49 30 901820"},
    "customer_email": "alice@work.example.com",
    "amount_total": 4900,
    "currency": "eur",
    "payment_intent": "pi_1",
    "metadata": {"contact_id": "c-1", "user_id": "u-1", "anonymous_id": "a-1", "checkout_id": "cart-9"},
}


def test_a_paid_checkout_is_a_purchase() -> None:
    event = only("checkout.session.completed", SESSION)
    assert (event.type, event.source, event.source_id) == ("purchase.completed", "stripe", "evt_1")
    assert event.occurred_at == datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    assert event.data == {
        "order_id": "cs_1",
        "checkout_id": "cart-9",
        "payment_intent": "pi_1",
        "value": 4900,
        "currency": "EUR",
        "items": [],
        "livemode": True,
    }
    assert who(event) == {
        ("contact", "c-1"),
        ("user", "u-1"),
        ("anonymous", "a-1"),
        ("stripe", "cus_1"),
        ("email", "alice@example.com"),
        ("email", "alice@work.example.com"),
        ("phone", "+4930901820"),
    }


def test_a_repeat_is_the_same_event() -> None:
    body = notice("checkout.session.completed", SESSION)
    first = STRIPE.parse(request(body, None), NOW)
    assert STRIPE.parse(request(body, None), NOW + timedelta(days=3)) == first


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"metadata": {"checkout_id": "cart-9"}, "client_reference_id": "ref-1", "recovered_from": "cs_0"}, "cart-9"),
        ({"metadata": {}, "client_reference_id": "ref-1", "recovered_from": "cs_0"}, "ref-1"),
        ({"metadata": None, "recovered_from": "cs_0"}, "cs_0"),
        ({"metadata": {}}, "cs_1"),
    ],
)
def test_the_checkout_key(fields: dict[str, Any], key: str) -> None:
    assert only("checkout.session.completed", {**SESSION, **fields}).data["checkout_id"] == key
    assert only("checkout.session.expired", {**SESSION, **fields}).data["checkout_id"] == key


def test_the_reference_is_nobodys_identity() -> None:
    event = only("checkout.session.completed", {**SESSION, "client_reference_id": "ref-1", "metadata": {}})
    assert "ref-1" not in {value for _, value in who(event)}


def test_a_delayed_payment_is_a_purchase_when_it_succeeds() -> None:
    pending = only("checkout.session.completed", {**SESSION, "payment_status": "unpaid"})
    assert (pending.type, pending.data["change"], pending.data["checkout_id"]) == (
        "custom.stripe_checkout",
        "pending",
        "cart-9",
    )
    later = only("checkout.session.async_payment_succeeded", SESSION, id="evt_2")
    assert (later.type, later.data["order_id"], later.source_id) == ("purchase.completed", "cs_1", "evt_2")
    failed = only("checkout.session.async_payment_failed", {**SESSION, "payment_status": "unpaid"}, id="evt_3")
    assert (failed.type, failed.data["change"]) == ("custom.stripe_checkout", "payment_failed")
    assert who(failed) == who(later)


def test_free_orders_count_and_card_setups_do_not() -> None:
    assert only("checkout.session.completed", {**SESSION, "payment_status": "no_payment_required"})
    free = {**SESSION, "payment_status": "no_payment_required", "mode": "setup"}
    assert parsed("checkout.session.completed", free) == []
    assert parsed("checkout.session.expired", free) == []


def test_items_come_along_where_the_session_has_them() -> None:
    lines = {"data": [{"id": "li_1", "description": "SEO audit", "quantity": 2, "amount_total": 4900}]}
    event = only("checkout.session.completed", {**SESSION, "line_items": lines})
    assert event.data["items"] == [{"name": "SEO audit", "quantity": 2, "value": 4900}]


def test_an_expired_checkout_brings_its_recovery_link() -> None:
    url = "https://buy.example.com/r/1"
    event = only("checkout.session.expired", {**SESSION, "after_expiration": {"recovery": {"url": url}}})
    assert event.type == "checkout.expired"
    assert event.data["recovery_url"] == url
    assert event.data["value"] == 4900
    assert "recovery_url" not in only("checkout.session.expired", {**SESSION, "after_expiration": None}).data


ITEM = {"price": {"unit_amount": 2000}, "quantity": 3, "current_period_end": 1775120400}
SUBSCRIPTION = {"id": "sub_1", "customer": "cus_1", "status": "active", "currency": "usd", "items": {"data": [ITEM]}}
PERIOD_END = "2026-04-02T09:00:00+00:00"


def test_a_subscription_starts() -> None:
    event = only("customer.subscription.created", SUBSCRIPTION)
    assert event.type == "subscription.started"
    assert event.data["subscription_id"] == "sub_1"
    assert (event.data["value"], event.data["currency"]) == (6000, "USD")
    assert event.data["period_end"] == PERIOD_END


def test_the_period_is_read_where_older_versions_have_it() -> None:
    old = {**SUBSCRIPTION, "items": {"data": [{"price": {"unit_amount": None}}]}, "current_period_end": 1775120400}
    event = only("customer.subscription.created", old)
    assert event.data["period_end"] == PERIOD_END
    assert "value" not in event.data


def test_a_subscription_with_a_pending_first_payment_starts_when_it_is_paid() -> None:
    assert parsed("customer.subscription.created", {**SUBSCRIPTION, "status": "incomplete"}) == []
    event = only("customer.subscription.updated", SUBSCRIPTION, before={"status": "incomplete"})
    assert event.type == "subscription.started"
    expired = {**SUBSCRIPTION, "status": "incomplete_expired"}
    given_up = parsed("customer.subscription.updated", expired, before={"status": "incomplete"})
    assert [e.type for e in given_up] == ["custom.stripe_subscription"]


@pytest.mark.parametrize(
    ("change", "before"),
    [
        ({"cancel_at_period_end": True, "cancel_at": 1775120400}, {"cancel_at_period_end": False, "cancel_at": None}),
        ({"cancel_at_period_end": True}, {"cancel_at_period_end": False}),
        ({"cancel_at": 1775120400}, {"cancel_at": None}),
    ],
)
def test_an_announced_end_is_heard_at_once(change: dict[str, Any], before: dict[str, Any]) -> None:
    details = {"reason": "cancellation_requested", "feedback": "too_expensive", "comment": None}
    event = only(
        "customer.subscription.updated", {**SUBSCRIPTION, **change, "cancellation_details": details}, before=before
    )
    assert event.type == "subscription.cancel_scheduled"
    assert (event.data["voluntary"], event.data["feedback"], event.data["currency"]) == (True, "too_expensive", "USD")
    assert event.data["ends_at"] == PERIOD_END


@pytest.mark.parametrize("before", [{"cancel_at_period_end": True, "cancel_at": 1775120400}, {"cancel_at": 1775120400}])
def test_an_end_that_is_taken_back(before: dict[str, Any]) -> None:
    event = only("customer.subscription.updated", SUBSCRIPTION, before=before)
    assert (event.type, event.data["subscription_id"]) == ("subscription.reactivated", "sub_1")


def test_an_end_that_is_moved_is_still_the_same_end() -> None:
    ending = {**SUBSCRIPTION, "cancel_at": 1775120400}
    assert parsed("customer.subscription.updated", ending, before={"cancel_at": 1774000000}) == []


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("too_expensive", "too_expensive"),
        ("missing_features", "missing_feature"),
        ("unused", "no_time"),
        ("customer_service", "bad_experience"),
        ("low_quality", "bad_experience"),
        ("switched_service", "other"),
        ("a_reason_to_come", "other"),
    ],
)
def test_the_reason_given_on_the_page_after(theirs: str, ours: str) -> None:
    told = {"reason": "cancellation_requested", "feedback": theirs, "comment": "It was fine"}
    ending = {**SUBSCRIPTION, "cancel_at_period_end": True, "cancellation_details": told}
    before = {"cancellation_details": {"feedback": None, "comment": None}}
    event = only("customer.subscription.updated", ending, before=before)
    assert (event.type, event.data["form"], event.data["subscription_id"]) == (
        "form.submitted",
        "cancel_reason",
        "sub_1",
    )
    assert event.data["answers"] == {"reason": ours, "comment": "It was fine"}
    assert parsed("customer.subscription.updated", {**ending, "cancellation_details": None}, before=before) == []


@pytest.mark.parametrize("before", [{}, {"metadata": {}}])
def test_other_updates_mean_nothing(before: dict[str, Any]) -> None:
    assert parsed("customer.subscription.updated", SUBSCRIPTION, before=before) == []
    ending = {**SUBSCRIPTION, "cancel_at_period_end": True, "cancel_at": 1775120400}
    assert parsed("customer.subscription.updated", ending, before={"metadata": {}}) == []


@pytest.mark.parametrize(
    ("reason", "voluntary"),
    [("cancellation_requested", True), ("payment_failed", False), ("payment_disputed", False), (None, None)],
)
def test_why_a_subscription_ended(reason: str | None, voluntary: bool | None) -> None:
    ended = {**SUBSCRIPTION, "status": "canceled", "cancellation_details": {"reason": reason}}
    event = only("customer.subscription.deleted", ended)
    assert event.type == "subscription.canceled"
    assert event.data.get("voluntary") is voluntary
    assert event.data.get("reason") == reason
    assert event.data["scheduled"] is False


def test_an_end_that_was_announced_says_so() -> None:
    ended = {**SUBSCRIPTION, "status": "canceled", "cancel_at_period_end": True}
    assert only("customer.subscription.deleted", ended).data["scheduled"] is True


def test_the_plan_has_a_name_where_its_price_has_one() -> None:
    named = {**ITEM, "price": {"unit_amount": 2000, "nickname": "Search Growth"}}
    plan = {**SUBSCRIPTION, "items": {"data": [named]}}
    assert only("customer.subscription.created", plan).data["plan"] == "Search Growth"
    assert "plan" not in only("customer.subscription.created", SUBSCRIPTION).data
    lines = {"data": [{"price": None}, {"price": {"nickname": "Search Growth"}}]}
    assert only("invoice.payment_failed", {**INVOICE, "lines": lines}).data["plan"] == "Search Growth"


@pytest.mark.parametrize(("days", "announced"), [(30, False), (31, False), (79, False), (90, True), (365, True)])
def test_only_a_long_period_has_a_renewal_to_speak_of(days: int, announced: bool) -> None:
    start, end = int(NOW.timestamp()), int((NOW + timedelta(days=days)).timestamp())
    item = {**ITEM, "current_period_start": start, "current_period_end": end}
    started = only("customer.subscription.created", {**SUBSCRIPTION, "items": {"data": [item]}})
    lines = {"data": [{"period": {"start": start, "end": end}}]}
    _, renewed = parsed("invoice.paid", {**INVOICE, **NEW_SHAPE, "lines": lines})
    day = (NOW + timedelta(days=days)).date().isoformat() if announced else None
    assert (started.data.get("renews_on"), renewed.data.get("renews_on")) == (day, day)


def test_a_trial_ends_soon() -> None:
    event = only("customer.subscription.trial_will_end", {**SUBSCRIPTION, "trial_end": 1775120400})
    assert event.type == "subscription.trial_ending"
    assert event.data["trial_end"] == PERIOD_END
    assert event.data["date"] == "2026-04-02"


@pytest.mark.parametrize("change", ["paused", "resumed"])
def test_a_subscription_that_is_paused(change: str) -> None:
    event = only(f"customer.subscription.{change}", {**SUBSCRIPTION, "status": "paused"})
    assert (event.type, event.data["change"], event.source_id) == ("custom.stripe_subscription", change, "evt_1")
    assert event.data["subscription_id"] == "sub_1"


@pytest.mark.parametrize(
    ("now", "before", "change"),
    [
        ({"status": "past_due"}, {"status": "active"}, "past_due"),
        ({"status": "unpaid"}, {"status": "past_due"}, "unpaid"),
        ({"status": "incomplete_expired"}, {"status": "incomplete"}, "incomplete_expired"),
        ({"status": "active"}, {"status": "past_due"}, "recovered"),
        ({"status": "active"}, {"status": "trialing"}, "trial_ended"),
        ({"pause_collection": {"behavior": "void"}}, {"pause_collection": None}, "collection_paused"),
        ({"pause_collection": None}, {"pause_collection": {"behavior": "void"}}, "collection_resumed"),
        (
            {"items": {"data": [{"price": {"id": "price_2"}, "quantity": 1}]}},
            {"items": {"data": [{"price": {"id": "price_1"}, "quantity": 1}]}},
            "plan_changed",
        ),
        (
            {"items": {"data": [{"price": {"id": "price_1"}, "quantity": 3}]}},
            {"items": {"data": [{"price": "price_1", "quantity": 1}]}},
            "plan_changed",
        ),
    ],
)
def test_what_else_becomes_of_a_subscription(now: dict[str, Any], before: dict[str, Any], change: str) -> None:
    event = only("customer.subscription.updated", {**SUBSCRIPTION, **now}, before=before)
    assert (event.type, event.data["change"]) == ("custom.stripe_subscription", change)
    assert event.source_id == f"evt_1:{change}"


def test_one_update_may_say_several_things() -> None:
    now = {**SUBSCRIPTION, "status": "past_due", "cancel_at_period_end": True}
    events = parsed("customer.subscription.updated", now, before={"status": "active", "cancel_at_period_end": False})
    assert [e.type for e in events] == ["subscription.cancel_scheduled", "custom.stripe_subscription"]
    assert len({e.source_id for e in events}) == 2


def test_a_new_period_is_no_other_plan() -> None:
    item = {"price": {"id": "price_1"}, "quantity": 1, "current_period_end": 1777712400}
    before = {"items": {"data": [{**item, "current_period_end": 1775120400}]}}
    assert parsed("customer.subscription.updated", {**SUBSCRIPTION, "items": {"data": [item]}}, before=before) == []


INVOICE = {
    "id": "in_1",
    "customer": {"id": "cus_1", "object": "customer"},
    "customer_email": "alice@example.com",
    "amount_paid": 2000,
    "amount_due": 2000,
    "currency": "usd",
    "number": "FERN-0042",
    "attempt_count": 2,
    "billing_reason": "subscription_cycle",
}
NEW_SHAPE = {"parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}}}


@pytest.mark.parametrize("shape", [NEW_SHAPE, {"subscription": "sub_1"}, {"subscription": {"id": "sub_1"}}])
def test_a_paid_cycle_is_a_renewal_too(shape: dict[str, Any]) -> None:
    paid, renewed = parsed("invoice.paid", {**INVOICE, **shape})
    assert (paid.type, paid.source_id) == ("invoice.paid", "evt_1")
    assert (renewed.type, renewed.source_id) == ("subscription.renewed", "evt_1:renewed")
    assert paid.data["invoice_id"] == "in_1"
    assert renewed.data["subscription_id"] == "sub_1"
    assert (renewed.data["value"], renewed.data["currency"]) == (2000, "USD")
    assert who(paid) == {("stripe", "cus_1"), ("email", "alice@example.com")}


def test_an_invoice_of_a_quote_belongs_to_no_subscription() -> None:
    quote = {"parent": {**NEW_SHAPE["parent"], "type": "quote_details"}}
    (paid,) = parsed("invoice.paid", {**INVOICE, **quote})
    assert "subscription_id" not in paid.data


def test_a_first_or_single_invoice_renews_nothing() -> None:
    assert len(parsed("invoice.paid", {**INVOICE, **NEW_SHAPE, "billing_reason": "subscription_create"})) == 1
    assert len(parsed("invoice.paid", {**INVOICE, "billing_reason": "manual"})) == 1


@pytest.mark.parametrize(("next_attempt", "final"), [(1775120400, False), (None, True)])
def test_a_failed_payment(next_attempt: int | None, final: bool) -> None:
    url = "https://invoice.example.com/1"
    failed = {**INVOICE, **NEW_SHAPE, "next_payment_attempt": next_attempt, "hosted_invoice_url": url}
    event = only("invoice.payment_failed", failed)
    assert event.type == "invoice.payment_failed"
    assert (event.data["attempt"], event.data["final"], event.data["value"]) == (2, final, 2000)
    assert event.data["hosted_invoice_url"] == url
    assert event.data["number"] == "FERN-0042"
    assert event.data.get("retry_at") == (None if final else "2026-04-02T09:00:00Z")


@pytest.mark.parametrize("type", ["invoice.voided", "invoice.marked_uncollectible"])
def test_an_invoice_that_nobody_has_to_pay_any_more(type: str) -> None:
    event = only(type, {**INVOICE, **NEW_SHAPE})
    assert (event.type, event.data["invoice_id"], event.data["value"]) == ("invoice.voided", "in_1", 2000)


@pytest.mark.parametrize("change", ["payment_action_required", "finalization_failed"])
def test_an_invoice_that_is_stuck(change: str) -> None:
    url = "https://invoice.example.com/1"
    event = only(f"invoice.{change}", {**INVOICE, **NEW_SHAPE, "hosted_invoice_url": url})
    assert (event.type, event.data["change"], event.data["invoice_id"]) == ("custom.stripe_invoice", change, "in_1")
    assert (event.data["value"], event.data["hosted_invoice_url"]) == (2000, url)


CARD = {"id": "card_1", "object": "card", "customer": "cus_1", "exp_month": 2, "exp_year": 2028, "name": "A Person"}
METHOD = {
    "id": "pm_1",
    "type": "card",
    "customer": "cus_1",
    "card": {"exp_month": 2, "exp_year": 2028},
    "billing_details": {"email": "alice@example.com"},
}


@pytest.mark.parametrize(
    "type", ["payment_method.attached", "payment_method.updated", "payment_method.automatically_updated"]
)
def test_a_card_on_file(type: str) -> None:
    event = only(type, METHOD)
    assert (event.type, event.data["date"]) == ("card.updated", "2028-02-29")
    assert (who(event), event.data["email"]) == ({("stripe", "cus_1")}, "alice@example.com")
    assert parsed(type, {**METHOD, "customer": None}) == []
    assert parsed(type, {**METHOD, "type": "sepa_debit", "card": None}) == []


def test_cards_of_older_integrations() -> None:
    event = only("customer.source.expiring", CARD)
    assert (event.type, event.data) == ("card.expiring", {"date": "2028-02-29", "livemode": True})
    assert only("customer.source.updated", CARD).type == "card.updated"
    assert parsed("customer.source.updated", {**CARD, "object": "bank_account"}) == []
    with pytest.raises(ValueError, match="exp_month"):
        parsed("customer.source.updated", {**CARD, "exp_month": 13})


@pytest.mark.parametrize(
    ("change", "before", "new"),
    [
        (
            {"invoice_settings": {"default_payment_method": "pm_2"}},
            {"invoice_settings": {"default_payment_method": "pm_1"}},
            True,
        ),
        (
            {"invoice_settings": {"default_payment_method": "pm_2"}},
            {"invoice_settings": {"default_payment_method": None}},
            True,
        ),
        (
            {"invoice_settings": {"default_payment_method": None}},
            {"invoice_settings": {"default_payment_method": "pm_1"}},
            False,
        ),
        ({"invoice_settings": {"default_payment_method": "pm_2"}}, {"invoice_settings": {"footer": "x"}}, False),
        ({"default_source": "card_2"}, {"default_source": "card_1"}, True),
        ({"default_source": "card_2"}, {"email": "old@example.com"}, False),
    ],
)
def test_another_card_pays_from_now_on(change: dict[str, Any], before: dict[str, Any], new: bool) -> None:
    customer = {"id": "cus_1", "email": "a@example.com", **change}
    events = parsed("customer.updated", customer, before=before)
    assert [e.type for e in events] == ["contact.updated", *(["card.updated"] if new else [])]
    assert len({e.source_id for e in events}) == len(events)


CHARGE = {
    "id": "ch_1",
    "customer": "cus_1",
    "amount_refunded": 1500,
    "refunded": False,
    "currency": "usd",
    "payment_intent": "pi_1",
    "receipt_email": "billing@example.com",
    "billing_details": {"email": "alice@example.com", "phone": None},
}


def test_a_refund_is_worth_what_was_refunded_this_time() -> None:
    first = only("charge.refunded", CHARGE)
    assert (first.type, first.data["value"], first.data["order_id"]) == ("purchase.refunded", 1500, "pi_1")
    assert first.data["full"] is False
    second = only("charge.refunded", CHARGE, before={"amount_refunded": 1000})
    assert second.data["value"] == 500
    assert (who(second), second.data["email"]) == ({("stripe", "cus_1")}, "alice@example.com")


@pytest.mark.parametrize("type", ["charge.refunded", "charge.succeeded"])
@pytest.mark.parametrize(
    ("named", "whose"),
    [
        ({}, {("email", "alice@example.com"), ("email", "billing@example.com"), ("phone", "+4930901820")}),
        (
            {"metadata": {"anonymous_id": "a-1"}},
            {
                ("anonymous", "a-1"),
                ("email", "alice@example.com"),
                ("email", "billing@example.com"),
                ("phone", "+4930901820"),
            },
        ),
        ({"metadata": {"user_id": "u-1"}}, {("user", "u-1")}),
        ({"customer": "cus_1"}, {("stripe", "cus_1")}),
        ({"billing_details": None, "receipt_email": None}, set()),
    ],
)
def test_who_pays_is_known_by_the_bill_where_nothing_else_names_them(
    type: str, named: dict[str, Any], whose: set[tuple[str, str]]
) -> None:
    billing = {"email": "alice@example.com", "phone": "+49 30 901820"}
    guest = {**CHARGE, "customer": None, "billing_details": billing, **named}
    assert who(only(type, guest)) == whose


def test_where_a_bill_and_a_receipt_went_apart_the_bill_comes_first() -> None:
    guest = {**CHARGE, "customer": None}
    assert [i.value for i in only("charge.succeeded", guest).identities] == ["alice@example.com", "billing@example.com"]
    unnamed = only("charge.succeeded", {**CHARGE, "billing_details": None})
    assert (who(unnamed), unnamed.data["email"]) == ({("stripe", "cus_1")}, "billing@example.com")


def test_a_charge_says_whose_it_is() -> None:
    event = only("charge.succeeded", {**CHARGE, "amount": 50000, "currency": "isk"})
    assert (event.type, event.source_id) == ("payment.succeeded", "evt_1")
    assert (event.data["charge"], event.data["payment_intent"]) == ("ch_1", "pi_1")
    assert (event.data["value"], event.data["currency"]) == (500, "ISK")


REFUND = {
    "id": "re_1",
    "charge": "ch_1",
    "payment_intent": "pi_1",
    "amount": 500,
    "currency": "eur",
    "status": "pending",
}


@pytest.mark.parametrize("charge", ["ch_1", {"id": "ch_1"}])
@pytest.mark.parametrize("type", ["refund.created", "refund.updated", "charge.refund.updated"])
def test_a_charges_refund_counts_once(type: str, charge: Any) -> None:
    # charge.refunded tells of the same refund, and knows whose it is.
    assert parsed(type, {**REFUND, "charge": charge}) == []
    assert parsed(type, {**REFUND, "charge": charge, "status": "succeeded"}) == []


def test_a_refund_without_a_charge_has_no_other_notice() -> None:
    event = only("refund.created", {**REFUND, "charge": None, "metadata": {"user_id": "u-1"}})
    assert (event.type, event.data["value"], event.data["order_id"]) == ("purchase.refunded", 500, "pi_1")
    assert (event.data["currency"], who(event)) == ("EUR", {("user", "u-1")})


def test_a_refund_that_came_to_nothing_is_one_event_however_often_it_is_told() -> None:
    failed = {**REFUND, "status": "failed", "failure_reason": "lost_or_stolen_card"}
    told = [
        only(type, failed, id=f"evt_{n}")
        for n, type in enumerate(("refund.failed", "refund.updated", "charge.refund.updated"))
    ]
    assert {e.source_id for e in told} == {"re_1:failed"}
    assert {(e.type, e.data["status"], e.data["reason"]) for e in told} == {
        ("custom.stripe_refund", "failed", "lost_or_stolen_card")
    }


def test_old_endpoints_expand_the_refunds() -> None:
    old = {**CHARGE, "refunds": {"object": "list", "data": [{**REFUND, "amount": 1500}]}, "invoice": "in_1"}
    assert only("charge.refunded", old).data == only("charge.refunded", CHARGE).data


def priced(currency: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """One notice of each that names an amount, always of 50000, in that currency."""
    line = {"description": "Guide", "quantity": 1, "amount_total": 50000}
    session = {**SESSION, "amount_total": 50000, "currency": currency, "line_items": {"data": [line]}}
    items = {"data": [{"price": {"unit_amount": 25000}, "quantity": 2}]}
    subscription = {"id": "sub_1", "customer": "cus_1", "status": "active", "currency": currency, "items": items}
    invoice = {"id": "in_1", "customer": "cus_1", "currency": currency, "amount_paid": 50000, "amount_due": 50000}
    refund = {**REFUND, "amount": 50000, "currency": currency}
    dispute = {"id": "dp_1", "charge": "ch_1", "amount": 50000, "currency": currency}
    return [
        ("checkout.session.completed", session, {}),
        ("checkout.session.expired", session, {}),
        ("checkout.session.async_payment_failed", session, {}),
        ("customer.subscription.created", subscription, {}),
        ("customer.subscription.deleted", subscription, {}),
        ("customer.subscription.paused", subscription, {}),
        ("invoice.paid", invoice, {}),
        ("invoice.payment_failed", invoice, {}),
        ("invoice.voided", invoice, {}),
        ("invoice.payment_action_required", invoice, {}),
        ("charge.refunded", {**CHARGE, "currency": currency, "amount_refunded": 50000}, {}),
        ("charge.refunded", {**CHARGE, "currency": currency, "amount_refunded": 70000}, {"amount_refunded": 20000}),
        ("refund.created", {**refund, "charge": None}, {}),
        ("refund.failed", {**refund, "status": "failed"}, {}),
        ("charge.dispute.created", dispute, {}),
    ]


@pytest.mark.parametrize(
    ("currency", "value"),
    [("eur", 50000), ("isk", 500), ("ugx", 500), ("mga", 5000000), ("jpy", 50000), ("kwd", 50000), ("clp", 50000)],
)
def test_amounts_are_in_the_currencys_own_minor_unit(currency: str, value: int) -> None:
    for type, object, before in priced(currency):
        event = only(type, object, before=before)
        assert (type, event.data["value"], event.data["currency"]) == (type, value, currency.upper())
        assert [item["value"] for item in event.data.get("items", [])] in ([], [value])


@pytest.mark.parametrize("currency", ["eur", "isk", "ugx", "mga"])
def test_what_names_no_amount_is_worth_none(currency: str) -> None:
    for type in ("checkout.session.completed", "invoice.paid", "charge.succeeded", "charge.dispute.created"):
        assert "value" not in only(type, {"id": "x_1", "payment_status": "paid", "currency": currency}).data


def test_a_customer_record_updates_and_never_enrols() -> None:
    customer = {"id": "cus_1", "email": "a@example.com", "name": "Alice", "phone": None, "metadata": {"user_id": "u-1"}}
    for type in ("customer.created", "customer.updated"):
        event = only(type, {**customer, "preferred_locales": ["de"]})
        assert event.type == "contact.updated"
        assert event.data == {"email": "a@example.com", "name": "Alice", "locale": "de", "livemode": True}
        assert who(event) == {("user", "u-1"), ("stripe", "cus_1"), ("email", "a@example.com")}


def test_a_dispute() -> None:
    dispute = {
        "id": "dp_1",
        "charge": "ch_1",
        "amount": 1000,
        "currency": "usd",
        "status": "lost",
        "reason": "fraudulent",
    }
    event = only("charge.dispute.closed", {**dispute, "evidence": {"customer_email_address": "a@example.com"}})
    assert (event.type, event.data["change"]) == ("custom.stripe_dispute", "closed")
    for change in ("created", "updated", "funds_withdrawn", "funds_reinstated"):
        assert only(f"charge.dispute.{change}", dispute).data["change"] == change
    assert (event.data["value"], event.data["currency"], event.data["status"]) == (1000, "USD", "lost")
    assert who(event) == {("email", "a@example.com")}


@pytest.mark.parametrize("type", ["invoice.upcoming", "product.created", "v1.billing.meter.error_report_triggered"])
def test_other_events_mean_nothing(type: str) -> None:
    assert parsed(type, {"id": "x"}) == []
    thin = {"id": "evt_1", "object": "v2.core.event", "type": type, "created": "2026-03-02T09:00:00Z"}
    assert STRIPE.parse(request(json.dumps({**thin, "type": "invoice.paid"}).encode(), None), NOW) == []
    assert STRIPE.parse(request(json.dumps(thin).encode(), None), NOW) == []


def test_settings_come_from_the_environment_and_hide_what_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_SIGNING_SECRET", SECRET)
    settings = StripeSettings(_env_file=None)
    assert settings.signing_secret is not None
    assert settings.signing_secret.get_secret_value() == SECRET
    assert SECRET not in repr(settings)
    monkeypatch.setenv("STRIPE_SIGNING_SECRET", "")
    assert StripeSettings(_env_file=None).signing_secret is None


@respx.mock
async def test_a_customer_by_id() -> None:
    route = respx.get("https://api.stripe.com/v1/customers/cus_1").respond(
        json={"id": "cus_1", "email": "a@example.com", "metadata": {"plan": "pro"}, "name": None}
    )
    async with http.new_client() as client:
        found = await made(client=client).customer("cus_1")
    assert found is not None
    assert (found.id, found.email, found.metadata) == ("cus_1", "a@example.com", {"plan": "pro"})
    sent = route.calls.last.request
    assert sent.headers["authorization"] == "Bearer sk_test_1"
    assert sent.headers["stripe-version"] == "2026-10-28.endive"


@respx.mock
async def test_a_customer_who_is_not_there_any_more() -> None:
    respx.get("https://api.stripe.com/v1/customers/cus_1").respond(json={"id": "cus_1", "deleted": True})
    respx.get("https://api.stripe.com/v1/customers/..%2Faccount").respond(
        404, json={"error": {"code": "resource_missing"}}
    )
    async with http.new_client() as client:
        assert await made(client=client).customer("cus_1") is None
        assert await made(client=client).customer("../account") is None


@respx.mock
async def test_a_customer_by_email() -> None:
    route = respx.get("https://api.stripe.com/v1/customers").respond(json={"object": "list", "data": [{"id": "cus_2"}]})
    async with http.new_client() as client:
        found = await made(client=client).customer_by_email("a+b@example.com")
        assert found is not None
        assert found.id == "cus_2"
        assert dict(route.calls.last.request.url.params) == {"email": "a+b@example.com", "limit": "1"}
        route.respond(json={"object": "list", "data": []})
        assert await made(client=client).customer_by_email("a@example.com") is None
        with pytest.raises(NeverAgain, match="email: is longer than 512 characters"):
            await made(client=client).customer_by_email("a" * 501 + "@example.com")
        assert route.call_count == 2


@respx.mock
async def test_errors_keep_the_request_id_and_the_codes() -> None:
    error = {"error": {"type": "invalid_request_error", "code": "api_key_expired", "message": "Expired sk_test_1"}}
    route = respx.get("https://api.stripe.com/v1/customers/cus_1")
    async with http.new_client() as client:
        route.respond(401, json=error, headers={"request-id": "req_9"})
        with pytest.raises(NeverAgain) as caught:
            await made(client=client).customer("cus_1")
        assert str(caught.value) == "stripe: 401 invalid_request_error api_key_expired (request req_9)"
        for status in (409, 429, 500):
            route.respond(status)
            with pytest.raises(TryAgain):
                await made(client=client).customer("cus_1")


async def test_without_a_key_nothing_is_asked() -> None:
    with pytest.raises(NeverAgain, match="STRIPE_API_KEY"):
        await made(key=None).customer("cus_1")


def listed(*ids: str, more: bool = False, **fields: Any) -> dict[str, Any]:
    """A page of Stripe's list of events: the newest first."""
    data = [json.loads(notice("invoice.paid", {"id": f"in_{id}"}, id=id, **fields)) for id in ids]
    return {"object": "list", "data": data, "has_more": more}


EVENTS = "https://api.stripe.com/v1/events"


@respx.mock
async def test_polling_begins_now_and_goes_on_where_it_was() -> None:
    route = respx.get(EVENTS).respond(json=listed("evt_9"))
    async with http.new_client() as client:
        stripe = made(client=client)
        first = await stripe.poll(None, NOW)
        assert (list(first.events), first.cursor, first.more) == ([], "evt_9", False)
        assert dict(route.calls.last.request.url.params) == {"limit": "1"}
        route.respond(json=listed("evt_11", "evt_10", more=True))
        page = await stripe.poll(first.cursor, NOW)
    assert dict(route.calls.last.request.url.params) == {"limit": "100", "ending_before": "evt_9"}
    assert [e.source_id for e in page.events] == ["evt_10", "evt_11"]
    assert (page.cursor, page.more) == ("evt_11", True)


@respx.mock
async def test_what_is_polled_is_what_the_webhook_brings() -> None:
    respx.get(EVENTS).respond(json=listed("evt_1"))
    async with http.new_client() as client:
        page = await made(client=client).poll("evt_0", NOW)
    assert list(page.events) == parsed("invoice.paid", {"id": "in_evt_1"}, id="evt_1")


@respx.mock
async def test_a_poll_that_brings_nothing_keeps_its_place() -> None:
    route = respx.get(EVENTS).respond(json=listed())
    async with http.new_client() as client:
        stripe = made(client=client)
        assert await stripe.poll("evt_9", NOW) == Polled([], "evt_9")
        empty = await stripe.poll(None, NOW)
        assert empty == Polled([], "")
        route.respond(json=listed("evt_1", more=True))
        assert [e.source_id for e in (await stripe.poll(empty.cursor, NOW)).events] == ["evt_1"]


@respx.mock
async def test_one_unreadable_event_does_not_stop_the_poll() -> None:
    page = listed("evt_3", "evt_2", "evt_1")
    page["data"][1]["data"]["object"] = {"id": ["no", "text"]}
    respx.get(EVENTS).respond(json=page)
    async with http.new_client() as client:
        polled = await made(client=client).poll("evt_0", NOW)
    assert ([e.source_id for e in polled.events], polled.cursor) == (["evt_1", "evt_3"], "evt_3")


@respx.mock
async def test_only_events_of_the_mode_we_want_are_polled() -> None:
    respx.get(EVENTS).respond(json=listed("evt_1", livemode=False))
    settings = StripeSettings(_env_file=None, api_key="sk_test_1", livemode=True)
    async with http.new_client() as client:
        assert await Stripe(settings, client).poll("evt_0", NOW) == Polled([], "evt_1")


@respx.mock
async def test_a_place_that_stripe_has_forgotten_begins_anew() -> None:
    error = {"error": {"type": "invalid_request_error", "code": "resource_missing", "param": "ending_before"}}
    respx.get(EVENTS, params={"ending_before": "evt_old"}).respond(400, json=error)
    respx.get(EVENTS, params={"limit": "1"}).respond(json=listed("evt_9"))
    async with http.new_client() as client:
        assert await made(client=client).poll("evt_old", NOW) == Polled([], "evt_9")
        for status, code in ((401, "api_key_expired"), (400, "parameter_invalid")):
            respx.get(EVENTS, params={"ending_before": "evt_1"}).respond(status, json={"error": {"code": code}})
            with pytest.raises(NeverAgain, match=code):
                await made(client=client).poll("evt_1", NOW)


OPEN = {
    "id": "in_1",
    "status": "open",
    "customer": "cus_1",
    "number": "FERN-0042",
    "amount_remaining": 4900,
    "currency": "eur",
    "next_payment_attempt": 1775120400,
    "hosted_invoice_url": "https://invoice.example.com/1",
}


@respx.mock
async def test_the_open_invoice_as_of_now() -> None:
    route = respx.get("https://api.stripe.com/v1/invoices").respond(json={"data": [OPEN]})
    person = identities(("stripe", "cus_old"), ("email", "a@example.com"), ("stripe", "cus_1"))
    async with http.new_client() as client:
        stripe = made(client=client)
        assert await stripe.fetch("invoice", person, {}) == {
            "value": 4900,
            "currency": "EUR",
            "number": "FERN-0042",
            "card_url": "https://invoice.example.com/1",
            "retry_at": PERIOD_END,
        }
        assert dict(route.calls.last.request.url.params) == {"customer": "cus_1", "status": "open", "limit": "2"}
        route.respond(json={"data": [{**OPEN, "amount_remaining": 50000, "currency": "isk"}]})
        krona = await stripe.fetch("invoice", person, {})
        assert krona is not None
        assert (krona["value"], krona["currency"]) == (500, "ISK")
        for nothing_certain in ([], [OPEN, OPEN], [{**OPEN, "hosted_invoice_url": None}]):
            route.respond(json={"data": nothing_certain})
            assert await stripe.fetch("invoice", person, {}) is None
        calls = route.call_count
        assert await stripe.fetch("usage", person, {}) is None
        assert await stripe.fetch("invoice", identities(("user", "u-1")), {}) is None
        assert route.call_count == calls


@respx.mock
async def test_the_open_invoice_of_somebody_known_by_address_only() -> None:
    customers = respx.get("https://api.stripe.com/v1/customers").respond(json={"data": [{"id": "cus_7"}]})
    invoices = respx.get("https://api.stripe.com/v1/invoices").respond(json={"data": [OPEN]})
    async with http.new_client() as client:
        stripe = made(client=client)
        assert await stripe.fetch("invoice", identities(("email", "a@example.com")), {}) is not None
        assert invoices.calls.last.request.url.params["customer"] == "cus_7"
        customers.respond(json={"data": []})
        assert await stripe.fetch("invoice", identities(("email", "a@example.com")), {}) is None


@respx.mock
async def test_the_invoice_a_message_is_about() -> None:
    """Of several that are open it is the one, and nobody is told of another's."""
    route = respx.get("https://api.stripe.com/v1/invoices/in_1").respond(json=OPEN)
    customers = respx.get("https://api.stripe.com/v1/customers").respond(json={"data": [{"id": "cus_1"}]})
    about = {"invoice_id": "in_1"}
    async with http.new_client() as client:
        stripe = made(client=client)
        assert (stripe.knows("invoice"), stripe.knows("usage")) == (True, False)
        for person in (
            identities(("stripe", "cus_1"), ("stripe", "cus_new")),
            identities(("email", "a@example.com")),
        ):
            found = await stripe.fetch("invoice", person, about)
            assert found is not None
            assert found["value"] == 4900
        assert customers.call_count == 1
        customers.respond(json={"data": []})
        for nobody in (identities(("stripe", "cus_2")), identities(("email", "b@example.com")), identities()):
            assert await stripe.fetch("invoice", nobody, about) is None
        theirs = identities(("stripe", "cus_1"))
        for other in ({"status": "paid"}, {"status": "void"}, {"status": None}, {"customer": None}):
            route.respond(json={**OPEN, **other})
            assert await stripe.fetch("invoice", theirs, about) is None
        route.respond(404, json={"error": {"code": "resource_missing"}})
        assert await stripe.fetch("invoice", theirs, about) is None
        route.respond(401, json={"error": {"code": "api_key_expired"}})
        with pytest.raises(NeverAgain, match="api_key_expired"):
            await stripe.fetch("invoice", theirs, about)
        odd = respx.get(url__regex=r".*/v1/invoices/\.\.%2Fcustomers$").respond(404)
        assert await stripe.fetch("invoice", theirs, {"invoice_id": "../customers"}) is None
        assert odd.called


@respx.mock
async def test_a_page_for_another_card() -> None:
    url = "https://billing.example.com/p/session/1"
    route = respx.post("https://api.stripe.com/v1/billing_portal/sessions").respond(json={"id": "bps_1", "url": url})
    async with http.new_client() as client:
        assert await made(client=client).card_page("cus_1", "click-1") == url
        sent = route.calls.last.request
        assert dict(httpx.QueryParams(sent.content.decode())) == {
            "customer": "cus_1",
            "flow_data[type]": "payment_method_update",
        }
        assert (sent.headers["idempotency-key"], sent.headers["stripe-version"]) == ("click-1", "2026-10-28.endive")
        back = StripeSettings(_env_file=None, api_key="rk_1", portal_return_url="https://app.example.com/thanks")
        await Stripe(back, client).card_page("cus_1", "click-2")
        form = httpx.QueryParams(route.calls.last.request.content.decode())
        assert form["return_url"] == form["flow_data[after_completion][redirect][return_url]"]
        assert form["return_url"] == "https://app.example.com/thanks"


@respx.mock
async def test_a_card_page_that_cannot_be_had() -> None:
    route = respx.post("https://api.stripe.com/v1/billing_portal/sessions")
    async with http.new_client() as client:
        stripe = made(client=client)
        for key in ("", "k" * 256):
            with pytest.raises(NeverAgain, match="key"):
                await stripe.card_page("cus_1", key)
        assert route.call_count == 0
        for status, kind in ((400, NeverAgain), (409, TryAgain), (429, TryAgain), (500, TryAgain)):
            route.respond(status, json={"error": {"type": "idempotency_error", "message": "cus_1 of a@example.com"}})
            with pytest.raises(kind) as caught:
                await stripe.card_page("cus_1", "click-1")
            assert "example.com" not in str(caught.value)


@respx.mock
async def test_stripe_may_be_asked_elsewhere() -> None:
    route = respx.get("https://stripe.example.com/v1/customers/cus_1").respond(json={"id": "cus_1"})
    settings = StripeSettings(_env_file=None, api_key="sk_test_1", base_url="https://stripe.example.com/")
    async with http.new_client() as client:
        await Stripe(settings, client).customer("cus_1")
    assert route.called
