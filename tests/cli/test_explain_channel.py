"""Why a touch went out on the channel it did, and what came of the values fetched for it."""

from datetime import timedelta

import pytest

from contacts.claims import Claim, Gate
from contacts.gate import Ask
from ops.explain_words import CHOSEN
from tests.cli.world import World, ago, perennial, said


@pytest.fixture
def welcomed(world: World) -> World:
    """Somebody in a welcome, who may be reached by mail and by text."""
    world.happens("consent.granted", at=ago(days=9), channel="all", evidence="signup form")
    world.happens("contact.identified", at=ago(days=8), email="ada@example.com", phone="+4930901820", timezone="UTC")
    return world


def asks(world: World, *channels: str) -> Claim:
    run, noon = world.run("welcome"), ago(days=7).replace(hour=12)
    ask = Ask(
        key=f"{run.run_id}/greet/1",
        template="meeting_reminder",
        channel=channels[0],
        purpose="lifecycle",
        journey="welcome",
        now=noon,
        valid_until=noon + timedelta(days=7),
        channels=channels,
        role="urgent",
    )
    gate = Gate(world.policy, "0.1.0")
    claimed: Claim = world.within(
        lambda conn: gate.claim(conn, ask, run_id=run.run_id, contact_id=run.contact_id, stage="greet")
    )
    return claimed


def told(world: World) -> str:
    (touch,) = said("explain", "ada@example.com", "meeting_reminder")
    (decision,) = touch["decisions"]
    assert decision["channel"] in " ".join(perennial("explain", "ada@example.com", columns=200).stdout.split())
    return str(decision["channel"])


def test_the_order_of_the_role_is_told(welcomed: World) -> None:
    asks(welcomed, "email", "sms")
    assert told(welcomed) == "By sms: the first possible for what the message is for."


def test_a_wish_is_told_as_one(welcomed: World) -> None:
    welcomed.happens("contact.updated", at=ago(days=8), preferred_channel="email")
    asks(welcomed, "email", "sms")
    assert told(welcomed) == "By email: the contact prefers it."


def test_what_spoke_against_the_others_is_told(welcomed: World) -> None:
    welcomed.happens("consent.withdrawn", at=ago(days=8), channel="sms")
    asks(welcomed, "email", "sms")
    text = "By email: the first possible for what the message is for. Not possible: sms (consent_withdrawn)."
    assert told(welcomed) == text


def test_a_drop_tells_that_nothing_was_possible(welcomed: World) -> None:
    welcomed.happens("consent.withdrawn", at=ago(days=8), channel="all")
    asks(welcomed, "email", "sms")
    assert told(welcomed).startswith(f"By sms: {CHOSEN['none_possible']}. Not possible: sms (consent_withdrawn), email")


def test_where_there_was_no_choice_nothing_is_said_of_it(welcomed: World) -> None:
    welcomed.asks("welcome", "welcome", at=ago(days=7))
    (touch,) = said("explain", "ada@example.com")
    assert [d["channel"] for d in touch["decisions"]] == [None]
    assert touch["live"] is None
    assert "fetched" not in perennial("explain", "ada@example.com").stdout


def test_what_was_live_and_what_fell_back_is_told(welcomed: World) -> None:
    claim = asks(welcomed, "email", "sms")
    welcomed.sent(claim, at=ago(days=6), live={"usage": "late", "milestone": "live"})
    (touch,) = said("explain", "ada@example.com", "meeting_reminder")
    assert touch["live"] == {"usage": "late", "milestone": "live"}
    shown = " ".join(perennial("explain", "ada@example.com").stdout.split())
    assert "usage fell back (late)" in shown
    assert "milestone live" in shown
