"""Why a message was or was not sent: the reason table, the consent that counted, and how it is told."""

import ast
import inspect
from datetime import timedelta
from typing import get_args

import pytest
import sqlalchemy as sa

from contacts import gate, tables
from contacts.policy import HoldKind
from ops.explain import REASONS
from tests.cli.world import NOW, World, ago, failed, perennial, said


def codes_of_the_gate() -> set[str]:
    """Every reason code written in the gate, as its code is."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(inspect.getsource(gate))):
        match node:
            case ast.Call(func=ast.Name(id="Drop" | "Wait"), args=[ast.Constant(value=str(code)), *_]):
                found.add(code)
            case ast.Call(func=ast.Name(id="Wait"), args=[ast.JoinedStr(values=[ast.Constant(value="hold_"), _]), *_]):
                found |= {f"hold_{kind}" for kind in get_args(HoldKind)}
            case ast.Call(func=ast.Name(id="Wait"), args=[ast.Attribute(value=ast.Name(id="verdict")), *_]):
                pass  # the same wait, made shorter
            case ast.Call(func=ast.Name(id="Drop" | "Wait")):
                raise AssertionError(f"line {node.lineno} of the gate gives a reason this test cannot read")
    return found


def test_every_reason_of_the_gate_has_its_sentence_and_no_other() -> None:
    assert set(REASONS) == codes_of_the_gate()
    for sentence in REASONS.values():
        assert sentence[0].isupper()
        assert sentence.endswith(".")


@pytest.fixture
def welcomed(world: World) -> World:
    """A welcome that waited out the night, went out, and then was held by a ticket."""
    world.happens("consent.granted", at=ago(days=9), channel="email", purpose="promotional", evidence="signup form")
    world.happens("contact.identified", at=ago(days=8), email="ada@example.com", timezone="UTC")
    night = ago(days=7).replace(hour=2)
    world.asks("welcome", "welcome", at=night)
    morning = night + timedelta(hours=8)
    world.sent(world.asks("welcome", "welcome", at=morning), at=morning, request_id="req-1")
    world.happens("ticket.opened", at=ago(days=5), ticket_id="4711")
    world.asks("welcome", "welcome_second", at=ago(days=4))
    return world


def test_every_decision_is_told_in_order_with_its_versions(welcomed: World) -> None:
    touch, second = said("explain", "ada@example.com")
    assert [d["verdict"] for d in touch["decisions"]] == ["wait", "send"]
    waited, went = touch["decisions"]
    assert waited["reason"] == "quiet_hours"
    assert waited["because"] == REASONS["quiet_hours"]
    assert "in UTC" in waited["details"]
    assert (went["because"], went["details"], went["reason"]) == (None, None, None)
    assert {d["policy_version"] for d in touch["decisions"]} == {welcomed.policy.version}
    assert {d["code_version"] for d in touch["decisions"]} == {"0.1.0"}
    assert waited["at"] < went["at"]
    assert {k: touch[k] for k in ("template_hash", "provider", "provider_id", "request_id", "status")} == {
        "template_hash": "abc123abc123",
        "provider": "smtp",
        "provider_id": "<1@example.com>",
        "request_id": "req-1",
        "status": "sent",
    }
    (held,) = second["decisions"]
    assert (held["reason"], held["details"]) == ("hold_ticket", "In force: ticket 4711.")


def test_the_consent_that_counted_is_the_one_known_at_the_time(welcomed: World) -> None:
    welcomed.happens("consent.withdrawn", at=ago(days=1), channel="email", purpose="all", evidence="said on the phone")
    welcomed.asks("welcome", "welcome_third", at=ago(hours=1))
    first, _, third = said("explain", "ada@example.com")
    assert (first["consent"]["granted"], first["consent"]["evidence"]) == (True, "signup form")
    assert (first["consent"]["event"], first["consent"]["source"]) == ("consent.granted", "test")
    assert (third["consent"]["granted"], third["consent"]["evidence"]) == (False, "said on the phone")
    (refused,) = third["decisions"]
    assert (refused["verdict"], refused["reason"]) == ("drop", "consent_withdrawn")
    assert refused["details"].startswith("They said so on ")


def test_a_word_that_came_late_does_not_count_for_what_was_decided_before(welcomed: World) -> None:
    earlier = ago(days=8, hours=1)
    before = said("explain", "ada@example.com", "welcome")
    # withdrawn before the welcome went out, but only heard of today
    happened = {"channel": "email", "purpose": "promotional", "evidence": "letter"}
    welcomed.happens("consent.withdrawn", at=NOW, id="letter", **happened)
    events = tables.events
    moved = sa.update(events).where(events.c.source_id == "letter").values(occurred_at=earlier)
    welcomed.within(lambda conn: conn.execute(moved))
    assert said("explain", "ada@example.com", "welcome") == before


def test_no_consent_and_an_implied_one_are_told_apart(world: World) -> None:
    world.happens("contact.identified", at=ago(days=8), email="ada@example.com")
    world.asks("welcome", "welcome", at=ago(days=7))
    (touch,) = said("explain", "ada@example.com")
    assert touch["consent"] is None
    assert touch["consent_required"] is True
    assert touch["decisions"][0]["because"] == REASONS["no_consent"]
    assert "none on record" in perennial("explain", "ada@example.com").stdout


def test_a_run_that_ended_while_a_touch_waited_is_told(welcomed: World) -> None:
    welcomed.happens("page.viewed", at=ago(days=3), page="pricing")
    (touch,) = said("explain", "ada@example.com", "welcome_second")
    assert (touch["status"], touch["run_outcome"], touch["run_ended_by"]) == ("dropped", "exited", "page.viewed")
    text = " ".join(perennial("explain", "ada@example.com", "welcome_second").stdout.split())
    assert "the run exited by page.viewed" in text


def test_journeys_not_entered_are_told_where_no_touch_is_named(welcomed: World) -> None:
    welcomed.happens("resource.downloaded", at=ago(days=2), resource="seo-guide")
    told = said("explain", "ada@example.com")
    (skip,) = [part for part in told if part["kind"] == "skip"]
    assert {k: skip[k] for k in ("journey", "event", "reason")} == {
        "journey": "welcome",
        "event": "resource.downloaded",
        "reason": "already in it",
    }
    assert told == sorted(told, key=lambda part: part.get("at") or part["asked_at"])
    assert all(part["kind"] == "touch" for part in said("explain", "ada@example.com", "welcome"))


def test_a_touch_is_named_by_template_id_or_key(welcomed: World) -> None:
    (by_template,) = said("explain", "ada@example.com", "welcome")
    assert by_template["template"] == "welcome"
    assert said("explain", "ada@example.com", by_template["touch_id"]) == [by_template]
    assert said("explain", "ada@example.com", by_template["key"]) == [by_template]
    line = failed("explain", "ada@example.com", "welcome_fourth", status=1)
    assert line == "ada@example.com has no touch 'welcome_fourth'; touches so far: welcome, welcome_second"


@pytest.mark.parametrize(
    ("reason", "inputs", "details"),
    [
        ("exited", {"by": "converted"}, "The run's outcome: converted."),
        ("suppressed", {"because": "bounced"}, "It bounced for good."),
        ("valid_for", {"valid_until": "2026-03-02T09:00:00+00:00"}, "It was worth sending until 2 Mar 2026 09:00 UTC."),
        (
            "valid_for",
            {"because": "quiet_hours", "could_go_at": "2026-03-02T09:00:00+00:00"},
            f"{REASONS['quiet_hours']} It could have gone out at 2 Mar 2026 09:00 UTC at the earliest.",
        ),
        ("frequency_cap", {"max": 2, "days": 0.5, "in_window": 2}, "At most 2 in 12 hours; there were 2."),
        ("frequency_cap", {"max": 3, "days": 7, "in_window": 3}, "At most 3 in 7 days; there were 3."),
        ("stated_frequency", {"max": 1, "days": 30, "in_window": 1}, "At most 1 in 30 days; there were 1."),
        ("hold_pause", {"holds": ["pause:-"]}, "In force: pause."),
        ("erased", {}, None),
        ("a_code_of_tomorrow", {}, None),
    ],
)
def test_inputs_are_told_in_words(welcomed: World, reason: str, inputs: dict[str, object], details: str | None) -> None:
    changed = sa.update(tables.decisions).values(verdict="drop", reason=reason, inputs=inputs)
    welcomed.within(lambda conn: conn.execute(changed))
    (touch,) = said("explain", "ada@example.com", "welcome_second")
    assert touch["decisions"][0]["details"] == details


@pytest.mark.parametrize("columns", [80, 120])
def test_the_text_fits_the_terminal(welcomed: World, columns: int) -> None:
    result = perennial("explain", "ada@example.com", columns=columns)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= columns
    flat = " ".join(result.stdout.split())
    for part in (REASONS["quiet_hours"], "signup form", "abc123abc123", "<1@example.com>", "A guide [for you]"):
        assert part in flat


def test_a_contact_without_a_story_is_told_so(world: World) -> None:
    world.happens("page.viewed", at=ago(days=1), page="home")
    assert said("explain", "ada@example.com") == []
    assert "Nothing was ever to be sent" in perennial("explain", "ada@example.com").stdout
    assert failed("explain", "nobody@example.com", status=1) == "no contact 'nobody@example.com'"
