"""Why a message was or was not sent: the reason table, the consent that counted, and how it is told."""

import ast
import inspect
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
import sqlalchemy as sa

from contacts import gate, tables
from contacts.claims import Gate
from contacts.gate import Ask
from contacts.policy import HoldKind
from ops.explain_words import REASONS, passed
from ops.output import stamp
from templates.render import versions
from tests.cli.world import NOW, ROOT, World, ago, failed, perennial, said

NOON = ago(days=2).replace(hour=12)


def codes_of_the_gate() -> set[str]:
    """Every reason code written in the gate, as its code is."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(inspect.getsource(gate))):
        match node:
            case ast.Call(func=ast.Name(id="Drop" | "Wait"), args=[ast.Constant(value=str(code)), *_]):
                found.add(code)
            case ast.Call(func=ast.Name(id="Wait"), args=[ast.JoinedStr(values=[ast.Constant(value="hold_"), _]), *_]):
                found |= {f"hold_{kind}" for kind in get_args(HoldKind)}
            case ast.Call(func=ast.Name(id="Drop" | "Wait")):
                raise AssertionError(f"line {node.lineno} of the gate gives a reason this test cannot read")
    return found


def test_every_reason_of_the_gate_has_its_sentence_and_no_other() -> None:
    # A run that goes on without a touch is no answer of the gate.
    assert set(REASONS) == codes_of_the_gate() | {"stage_left"}
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
    assert (went["because"], went["reason"]) == (None, None)
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


def test_why_a_message_went_is_told_in_numbers_and_words(welcomed: World) -> None:
    (touch,) = said("explain", "ada@example.com", "welcome")
    went, morning = touch["decisions"][1], ago(days=7).replace(hour=2) + timedelta(hours=8)
    consent = went["inputs"].pop("consent")
    assert consent == {"at": ago(days=9).isoformat(), "event": touch["consent"]["event_id"], "implied": False}
    assert went["inputs"].pop("address")["kind"] == "email"
    assert went["inputs"] == {
        "no_echo_in_days": 2,
        "valid_until": (morning + timedelta(days=7)).isoformat(),
        "holds": [],
        "engagement": {"tier": None, "silent_since": None},
        "clock": {"local": morning.isoformat(), "timezone": "UTC"},
        "quiet": ["21:00-08:00"],
        "caps": [
            {"max": 1, "days": 0.8, "in_window": 0},
            {"max": 3, "days": 7, "in_window": 0},
            {"max": 2, "days": 1, "in_window": 0},
        ],
        "rush": {"in_window": 1, "allowed": 300},
    }
    told = " ".join(perennial("explain", "ada@example.com", "welcome", columns=200).stdout.split())
    for part in (
        f"Nothing spoke against it. Consent: a yes of {stamp(ago(days=9))}.",
        "The same had not gone out in 2 days before.",
        "No hold was in force. They had had no e-mail yet that could meet with silence.",
        f"It was {morning:%a %-d %b %H:%M} in UTC: outside the quiet hours (21:00-08:00).",
        "Had before: 0 of at most 1 in 19.2 hours, 0 of at most 3 in 7 days, 0 of at most 2 in 1 day.",
        "Number 1 of the journey of late, 300 are never too many.",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, None),
        ({"consent": None}, "No word on consent, and none needed."),
        ({"consent": {"at": "2026-03-02T09:00:00+00:00", "implied": True}}, "Consent: an implied yes of 2 Mar 2026"),
        ({"experiments": {"does_it_help": 0.1}}, "Measured by does_it_help, which leaves out 10% of the contacts"),
        ({"holds": ["ticket:7", "pause:-"]}, "In force, but not for this purpose: ticket 7, pause."),
        ({"halts": ["journey/nurture", "channel/sms"]}, "Halted were only others: journey/nurture, channel/sms."),
        (
            {"engagement": {"tier": "cold", "silent_since": "2026-03-02T09:00:00+00:00", "max": 1, "days": 14,
                            "in_window": 0}},
            "Silent since 2 Mar 2026 09:00 UTC: in tier cold, 0 of at most 1 in 14 days.",
        ),
        (
            {"engagement": {"tier": None, "silent_since": "2026-03-02T09:00:00+00:00"}},
            "Silent since 2 Mar 2026 09:00 UTC: in no tier.",
        ),
        (
            {"clock": {"local": "2026-03-02T10:00:00+01:00", "timezone": "Europe/Berlin", "assumed": True},
             "quiet": ["21:00-08:00"], "windows": ["09:00-18:00"]},
            "It was Mon 2 Mar 10:00 in Europe/Berlin (assumed, theirs is not known): outside the quiet hours "
            "(21:00-08:00) and inside the hours for it (09:00-18:00).",
        ),
        (
            {"stated_frequency": {"said": "weekly", "max": 1, "days": 7, "in_window": 0}},
            "They want it weekly: 0 of at most 1 in 7 days.",
        ),
        ({"rush": None}, "Begun by a rollout, or let go with the end of a halt: the breaker does not count it."),
        ({"rivals": ["nurture"]}, "Waiting for the same slot, and less important or past their turn: nurture."),
    ],
)  # fmt: skip
def test_what_a_message_passed_is_told_in_words(inputs: dict[str, object], words: str | None) -> None:
    told = passed(inputs)
    assert told == words if words is None else (told or "").startswith(words)


def test_the_consent_that_was_written_down_counts_whatever_the_policy_says_of_it_today(
    welcomed: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The address came with an order, and an order implied a consent then; today it implies none."""
    welcomed.happens("purchase.completed", at=ago(days=3), order_id="1")
    text = (ROOT / "policy.toml").read_text()
    then = welcomed.policy.consent.model_copy(update={"implied": {"purchase.completed": ("lifecycle",)}})
    assert welcomed.policy.consent == then, "as it ships"
    run = welcomed.run("welcome")
    late = Ask(f"{run.run_id}/x", "onboarding_start", "email", "lifecycle", "welcome", NOON, NOON + timedelta(days=1))
    gate = Gate(welcomed.policy, "0.1.0")
    reopened = sa.update(tables.runs).values(exited_at=None, outcome=None)
    welcomed.within(lambda conn: conn.execute(reopened))
    welcomed.within(lambda c: gate.claim(c, late, run_id=run.run_id, contact_id=run.contact_id, stage="greet"))
    (tmp_path / "policy.toml").write_text(text.replace('{ "purchase.completed" = ["lifecycle"] }', "{}"))
    monkeypatch.setenv("PERENNIAL_POLICY_FILE", str(tmp_path / "policy.toml"))
    (touch,) = said("explain", "ada@example.com", "onboarding_start")
    assert touch["decisions"][-1]["verdict"] == "send"
    assert (touch["consent"]["granted"], touch["consent"]["implied"]) == (True, True)
    assert (touch["consent"]["evidence"], touch["consent"]["event"]) == ("purchase.completed",) * 2


def test_whether_the_template_is_still_the_one_that_was_sent_is_told(welcomed: World) -> None:
    (changed,) = said("explain", "ada@example.com", "welcome")
    assert (changed["template_today"], changed["template_code"]) == ("changed", "0.1.0")
    told = " ".join(perennial("explain", "ada@example.com", "welcome").stdout.split())
    assert "abc123abc123, which has changed since: as it was in code 0.1.0" in told
    [now] = [version.fingerprint for version in versions("welcome") if version.channel == "email"]
    for values, today, words in (
        ({"template_hash": now}, "same", f"{now}, which is the same today"),
        ({"template": "welcome_of_old"}, "gone", "which is gone: as it was in code 0.1.0"),
        ({"template": "welcome", "channel": "sms"}, "gone", "which is gone"),
        ({"template_hash": None}, None, ""),
    ):
        change = sa.update(tables.touches).where(tables.touches.c.id == changed["touch_id"]).values(values)
        welcomed.within(lambda conn, change=change: conn.execute(change))
        (touch,) = said("explain", "ada@example.com", changed["touch_id"])
        assert touch["template_today"] == today
        assert words in " ".join(perennial("explain", "ada@example.com", changed["touch_id"]).stdout.split())


def test_a_run_that_came_to_its_own_end_is_told_as_fully(welcomed: World) -> None:
    before = said("explain", "ada@example.com", "welcome")[0]
    over = sa.update(tables.runs).values(ended_at=ago(days=1), outcome="completed")
    welcomed.within(lambda conn: conn.execute(over))
    after = said("explain", "ada@example.com", "welcome")[0]
    assert after == {**before, "run_outcome": "completed", "run_ended_at": f"{ago(days=1):%Y-%m-%dT%H:%M:%SZ}"}
    assert "the run completed" in " ".join(perennial("explain", "ada@example.com", "welcome").stdout.split())


def test_explaining_needs_no_temporal() -> None:
    all_of_it = "ops.explain, ops.explain_view, ops.installation, templates.render"
    code = f"import sys, {all_of_it}; print('temporalio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


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
    line = failed("explain", "ada@example.com", "no_such", status=1)
    assert line == "ada@example.com has no touch 'no_such'; touches so far: welcome, welcome_second"


def test_a_message_no_run_has_asked_for_is_explained_by_its_journeys(welcomed: World) -> None:
    def why(template: str) -> tuple[dict[str, Any], str]:
        (one,) = said("explain", "ada@example.com", template)
        return one, " ".join(perennial("explain", "ada@example.com", template).stdout.split())

    one, text = why("welcome_third")
    assert (one["kind"], one["journey"], one["state"]) == ("unasked", "welcome", "open")
    assert "welcome_third not asked for by welcome: the run is in" in text
    one, text = why("checkout_help")
    assert (one["journey"], one["state"], one["run_id"]) == ("abandoned-checkout", "never", None)
    assert text.endswith("nothing has called for it")
    welcomed.happens("page.viewed", at=ago(days=3), page="pricing")
    one, text = why("welcome_third")
    assert (one["state"], one["outcome"], one["by"]) == ("ended", "exited", "page.viewed")
    assert "the run exited by page.viewed" in text


def test_a_journey_that_was_not_entered_explains_its_messages(world: World) -> None:
    world.happens("consent.granted", at=ago(days=9), channel="email", purpose="promotional")
    world.happens("contact.identified", at=ago(days=8), email="ada@example.com")
    world.happens("purchase.completed", at=ago(days=7), order_id="1")
    world.happens("resource.downloaded", at=ago(days=2), resource="seo-guide")
    (one,) = said("explain", "ada@example.com", "welcome_third")
    assert (one["state"], one["by"]) == ("skipped", "resource.downloaded")
    assert one["reason"]
    text = " ".join(perennial("explain", "ada@example.com", "welcome_third").stdout.split())
    assert f"not entered on resource.downloaded {stamp(ago(days=2))}" in text


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
