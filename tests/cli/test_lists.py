"""Runs, journeys, hand-offs, the inbox, the review queue: listed, and what can be done about them."""

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from contacts import tables
from tests.cli.world import NOW, ROOT, World, ago, failed, perennial, said
from workflows.registry import CARDS


@pytest.fixture
def busy(world: World) -> World:
    """Three contacts: one in two journeys, one who bought, one who was handed over."""
    world.happens("checkout.started", at=ago(days=3), checkout_id="cart-1")
    world.happens("contact.identified", at=ago(days=2), email="ada@example.com")
    world.happens("checkout.started", at=ago(days=1), whose="bob@example.com", checkout_id="cart-2")
    world.happens("purchase.completed", at=ago(hours=5), whose="bob@example.com", order_id="o-1", checkout_id="cart-2")
    world.happens("page.viewed", at=ago(hours=4), whose="eve@example.com", page="pricing")
    world.enters("nurture", "clarify", at=ago(hours=3), waits_for="page.viewed", until=NOW)
    return world


def test_runs_are_listed_newest_first(busy: World) -> None:
    listed = said("runs", "list")
    assert [(r["journey"], r["contact"], r["stage"], r["outcome"]) for r in listed] == [
        ("nurture", "eve@example.com", "clarify", None),
        ("post-purchase-education", "bob@example.com", None, None),
        ("abandoned-checkout", "bob@example.com", None, "converted"),
        ("welcome", "ada@example.com", None, None),
        ("abandoned-checkout", "ada@example.com", None, None),
    ]
    assert listed[0]["workflow_id"] == f"journey/nurture/{listed[0]['contact_id']}"
    assert listed[0]["next_wake"] is not None
    assert listed[2]["key"] == "cart-2"
    assert listed[2]["ended_at"] is not None


@pytest.mark.parametrize(
    ("filters", "journeys"),
    [
        (["--journey", "welcome"], ["welcome"]),
        (["--stage", "clarify"], ["nurture"]),
        (["--contact", "bob@example.com"], ["post-purchase-education", "abandoned-checkout"]),
        (["--contact", "bob@example.com", "--open"], ["post-purchase-education"]),
        (["--ended"], ["abandoned-checkout"]),
        (["--outcome", "converted"], ["abandoned-checkout"]),
        (["--outcome", "exhausted"], []),
        (["--limit", "2"], ["nurture", "post-purchase-education"]),
    ],
)
def test_runs_are_listed_by_what_they_are(busy: World, filters: list[str], journeys: list[str]) -> None:
    assert [r["journey"] for r in said("runs", "list", *filters)] == journeys


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", [["runs", "list"], ["handoffs", "list"], ["inbox", "list"], ["reviews"]])
def test_lists_fit_the_terminal(busy: World, command: list[str], columns: int) -> None:
    long = "a.very.long.name" * 4 + "@example.com"
    busy.happens("checkout.started", at=ago(hours=1), whose=long, checkout_id="checkout-" + "7" * 50)
    busy.hands_over("nurture", at=ago(hours=2))
    busy.needs_review("abandoned-checkout", "exhausted: max_run", at=ago(hours=1))
    busy.stores("stripe", b"{", error="InvalidEvent: body: " + "x" * 200)
    result = perennial(*command, columns=columns)
    assert (result.exit_code, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines())) <= columns
    assert len(result.stdout.splitlines()) > 1


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["runs", "list"], "No run fits."),
        (["handoffs", "list"], "No hand-off waits for anybody."),
        (["inbox", "list"], "No request fits."),
        (["reviews"], "Nothing to review."),
    ],
)
def test_an_empty_list_is_said_to_be_empty(world: World, command: list[str], words: str) -> None:
    assert said(*command) == []
    assert perennial(*command).stdout == f"{words}\n"


def test_journeys_are_listed_and_shown_without_a_database(here: Path) -> None:
    assert [j["name"] for j in said("journeys", "list")] == [card.name for card in CARDS]
    (card,) = said("journeys", "card", "abandoned-checkout")
    assert card["trigger"] == ["checkout started or checkout expired"]
    assert card["success"] == ["purchase completed"]
    assert card["messages"] == ["checkout_reminder", "checkout_help", "checkout_last"]
    assert card["stages"] == ["remind", "help", "close"]
    assert (card["key"], card["owner"], card["reentry"]) == ("checkout_id", "sales", "once")
    text = perennial("journeys", "card", "abandoned-checkout").stdout
    for part in (
        "audience",
        "goal",
        "exits",
        "review by",
        "re-entry",
        "max run",
        "checkout_last",
        f"{card['max_run_days']:g} days",
    ):
        assert part in text
    line = failed("journeys", "card", "welcom", status=1)
    assert line.startswith("no journey 'welcom'; there is welcome, nurture, abandoned-checkout, ")


def test_a_journey_is_a_line_however_narrow(here: Path) -> None:
    for columns in (80, 200):
        head, *lines = perennial("journeys", "list", columns=columns).stdout.splitlines()
        assert head.split() == ["journey", "starts", "goal", "owner"]
        assert [line.split()[0] for line in lines] == [card.name for card in CARDS]
        assert max(map(len, lines)) <= columns


def test_lint_and_docs_of_what_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    findings = said("journeys", "lint")
    assert {finding["level"] for finding in findings} <= {"warning"}
    assert said("journeys", "docs", "--check") == []
    assert perennial("journeys", "docs", "--check").exit_code == 0


def test_journeys_know_the_scenarios_that_tell_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (card,) = said("journeys", "card", "abandoned-checkout")
    assert {"checkout-bought", "checkout-quiet"} <= set(card["scenarios"])
    assert "welcome-quiet" not in card["scenarios"]
    assert "checkout-bought" in perennial("journeys", "card", "abandoned-checkout").stdout
    line = next(j for j in said("journeys", "list") if j["name"] == "abandoned-checkout")
    assert line == card


def test_hand_offs_that_wait_are_listed_most_urgent_first(busy: World) -> None:
    late = busy.hands_over("nurture", at=ago(hours=3))
    soon = busy.hands_over("nurture", at=ago(minutes=10))
    listed = said("handoffs", "list")
    assert [(h["handoff_id"], h["overdue"]) for h in listed] == [(late, True), (soon, False)]
    assert listed[0]["contact"] == "eve@example.com"
    assert listed[0]["owner"] == "sales"
    assert "overdue" in perennial("handoffs", "list").stdout


def test_taking_a_hand_off_is_an_event_that_the_run_hears(busy: World) -> None:
    handoff_id = busy.hands_over("nurture", at=ago(minutes=10))
    (taken,) = said("handoffs", "ack", handoff_id[:8], "--by", "Kim")
    assert (taken["handoff_id"], taken["acknowledged_by"]) == (handoff_id, "Kim")
    assert said("handoffs", "list") == []
    assert [h["handoff_id"] for h in said("handoffs", "list", "--all")] == [handoff_id]
    (event,) = busy.rows(sa.select(tables.events).where(tables.events.c.type == "handoff.acknowledged"))
    assert (event.source, event.data) == ("cli", {"handoff_id": handoff_id, "by": "Kim"})
    told = sa.select(tables.dispatches).where(tables.dispatches.c.kind == "event")
    assert [row.payload["type"] for row in busy.rows(told)] == ["handoff.acknowledged"]


def test_a_hand_off_is_taken_once(busy: World) -> None:
    handoff_id = busy.hands_over("nurture", at=ago(minutes=10))
    said("handoffs", "ack", handoff_id, "--by", "Kim")
    said("handoffs", "ack", handoff_id, "--by", "Kim")
    line = failed("handoffs", "ack", handoff_id, "--by", "Lee", status=1)
    assert line == "eve@example.com is not waiting any more: Kim has taken it"


def test_a_hand_off_is_taken_even_by_a_machine_whose_clock_is_behind(busy: World) -> None:
    handoff_id = busy.hands_over("nurture", at=NOW.replace(year=NOW.year + 1))
    (taken,) = said("handoffs", "ack", handoff_id, "--by", "Kim")
    assert taken["acknowledged_by"] == "Kim"


def test_a_hand_off_must_be_named_without_doubt(busy: World) -> None:
    for end in "12":
        busy.hands_over("nurture", at=ago(minutes=10), id=f"aaaaaaaa-0000-4000-8000-00000000000{end}")
    assert failed("handoffs", "ack", "aaaa", "--by", "Kim", status=1).startswith("2 hand-offs begin with 'aaaa'")
    assert failed("handoffs", "ack", "bbbb", "--by", "Kim", status=1).startswith("no hand-off 'bbbb'")
    assert failed("handoffs", "ack", "%", "--by", "Kim", status=1).startswith("no hand-off '%'")
    assert failed("handoffs", "ack", "", "--by", "Kim", status=1).startswith("no hand-off ''")
    assert failed("handoffs", "ack", "aaaa", "--by", " ", status=2) == "--by: say who takes it"


def stripe_body(**changes: Any) -> bytes:
    checkout = {"id": "cs_9", "object": "checkout.session", "customer_details": {"email": "ada@example.com"}}
    return json.dumps(
        {
            "id": "evt_9",
            "type": "checkout.session.expired",
            "created": int(ago(hours=1).timestamp()),
            "data": {"object": checkout},
            **changes,
        }
    ).encode()


def test_the_inbox_is_listed(world: World) -> None:
    world.stores("stripe", b"{}", status="parsed", error=None)
    world.stores("zendesk", b"{", error="InvalidEvent: body: not JSON")
    assert [(r["connector"], r["status"]) for r in said("inbox", "list")] == [
        ("zendesk", "failed"),
        ("stripe", "parsed"),
    ]
    (only,) = said("inbox", "list", "--failed")
    assert only["error"] == "InvalidEvent: body: not JSON"


def test_a_stored_request_is_understood_once_the_fault_is_mended(world: World) -> None:
    mended = world.stores("stripe", stripe_body())
    crashed = world.stores("stripe", stripe_body(id="evt_10"), status="received", error=None)
    world.stores("stripe", b"{}", status="parsed", error=None)
    answer = said("inbox", "retry")
    assert [(r["inbox_id"], r["events"], r["error"]) for r in answer] == [(mended, 1, None), (crashed, 1, None)]
    assert said("inbox", "retry") == []
    assert [r["journey"] for r in said("runs", "list")] == ["abandoned-checkout"]
    assert said("inbox", "retry", str(mended))[0]["events"] == 1
    assert len(world.rows(sa.select(tables.events))) == 2


def test_a_request_still_not_understood_says_why_and_exits_1(world: World) -> None:
    world.stores("stripe", b"{")
    world.stores("telepathy", b"{}")
    result = perennial("inbox", "retry", "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    stripe, telepathy = (json.loads(line) for line in result.stdout.splitlines())
    assert stripe["error"]
    assert "there is no connector 'telepathy' any more" in telepathy["error"]
    assert [r["status"] for r in said("inbox", "list")] == ["failed", "failed"]
    assert failed("inbox", "retry", "77", status=1).startswith("no request 77 in the inbox")


def test_every_source_of_the_inbox_can_be_read_again(world: World) -> None:
    page = {"type": "page", "userId": "u-1", "messageId": "m-1", "properties": {"page": "pricing"}}
    cloud = {
        "specversion": "1.0",
        "id": "1",
        "source": "urn:example:crm",
        "type": "meeting.booked",
        "data": {"identities": {"email": "ada@example.com"}},
    }
    world.stores("track", json.dumps({"batch": [page]}).encode())
    world.stores("cloudevents", json.dumps(cloud).encode())
    changed = sa.update(tables.inbox)
    for connector, values in {
        "track": {"url": "https://hub.example.com/v1/batch"},
        "cloudevents": {"headers": {"Content-Type": "application/cloudevents+json"}},
    }.items():
        update = changed.where(tables.inbox.c.connector == connector).values(values)
        world.within(lambda conn, update=update: conn.execute(update))
    assert [(r["connector"], r["events"], r["error"]) for r in said("inbox", "retry")] == [
        ("track", 1, None),
        ("cloudevents", 1, None),
    ]


def test_the_review_queue_is_listed_until_it_is_resolved(busy: World) -> None:
    busy.needs_review("nurture", "nobody took the hand-off", at=ago(hours=1))
    (review,) = said("reviews")
    assert (review["journey"], review["contact"], review["reason"]) == (
        "nurture",
        "eve@example.com",
        "nobody took the hand-off",
    )
    assert review["story"] == [{"text": "entered greet"}]
    assert review["segments"] == []
    assert said("reviews", "--segment", "high_value") == []
    joined = tables.contacts.c.facts.concat({"segments": {"high_value": NOW.isoformat()}})
    busy.within(lambda conn: conn.execute(sa.update(tables.contacts).values(facts=joined)))
    assert [one["segments"] for one in said("reviews", "--segment", "high_value")] == [["high_value"]]
    assert "no segment 'no_such'" in failed("reviews", "--segment", "no_such", status=1)
    busy.within(lambda conn: conn.execute(sa.update(tables.reviews).values(resolved_at=NOW)))
    assert said("reviews") == []
