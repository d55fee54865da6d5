"""What journeys wait to be allowed: listed, and answered at the command line."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from contacts import tables
from ops.approvals import list_approvals, waiting
from ops.looks import short
from ops.output import stamp
from ops.scenario import Line
from ops.timeline_view import _what
from tests.cli.world import NOW, World, ago, failed, perennial, said

SOON = NOW + timedelta(hours=1)
LATER = NOW + timedelta(days=2)


@pytest.fixture
def asking(world: World) -> World:
    """A contact in a journey."""
    world.happens("contact.identified", at=ago(days=2), email="ada@example.com")
    return world


def test_nothing_to_answer_is_said(world: World) -> None:
    assert said("approvals", "list") == []
    assert perennial("approvals", "list").stdout == "Nothing waits for a yes.\n"


def test_what_waits_is_listed_by_when_it_ends(asking: World) -> None:
    later = asking.asks_approval("welcome", at=ago(hours=2), until=LATER)
    soon = asking.asks_approval("welcome", at=ago(hours=1), until=SOON)
    listed = said("approvals", "list")
    assert [a["approval_id"] for a in listed] == [soon, later]
    assert {k: listed[0][k] for k in ("contact", "journey", "what", "approved", "waits")} == {
        "contact": "ada@example.com", "journey": "welcome", "what": "a small present", "approved": None, "waits": True,
    }  # fmt: skip
    text = perennial("approvals", "list", columns=80).stdout
    assert max(map(len, text.splitlines())) <= 80
    text = perennial("approvals", "list").stdout
    assert all(shown in text for shown in (soon[:8], "ada@example.com", "welcome", short(SOON), "a small present"))
    # At its very end an answer still counts.
    waits = asking.within(lambda conn: list_approvals(conn, SOON, waiting(SOON)))
    assert [a.approval_id for a in waits] == [soon, later]


@pytest.mark.parametrize(("command", "approved"), [("approve", True), ("refuse", False)])
def test_an_answer_is_an_event_and_counts(asking: World, command: str, approved: bool) -> None:
    approval_id = asking.asks_approval("welcome", at=ago(hours=1), until=SOON)
    (answered,) = said("approvals", command, f" {approval_id.upper()}", "--by", " Kim ")
    assert (answered["approval_id"], answered["approved"], answered["answered_by"]) == (approval_id, approved, "Kim")
    assert said("approvals", "list") == []
    assert [a["approval_id"] for a in said("approvals", "list", "--all")] == [approval_id]
    assert f"{'approved' if approved else 'refused'} by Kim" in perennial("approvals", "list", "--all").stdout
    (event,) = asking.rows(sa.select(tables.events).where(tables.events.c.type == "approval.answered"))
    assert event.source == "cli"
    assert event.data == {"approval_id": approval_id, "approved": approved, "by": "Kim"}
    words = perennial("approvals", command, approval_id[:8], "--by", "Kim").stdout
    assert words == f"{'approved' if approved else 'refused'} by Kim, for ada@example.com: a small present\n"


def test_only_the_first_answer_counts(asking: World) -> None:
    # The clock of the worker who asked is ahead.
    approval_id = asking.asks_approval("welcome", at=SOON, until=LATER)
    said("approvals", "refuse", approval_id, "--by", "Kim")
    said("approvals", "refuse", approval_id, "--by", "Kim")
    for command, by in (("approve", "Kim"), ("refuse", "Lee")):
        line = failed("approvals", command, approval_id, "--by", by, status=1)
        assert line == "a small present, for ada@example.com, does not wait any more: refused by Kim"
    (row,) = asking.rows(sa.select(tables.approvals))
    assert row.answered_at == row.asked_at


@pytest.mark.parametrize("ended", [True, False], ids=["the run is over", "the time is over"])
def test_a_late_answer_says_so(asking: World, ended: bool) -> None:
    approval_id = asking.asks_approval("welcome", at=ago(hours=1), until=SOON if ended else ago(minutes=1))
    if ended:
        asking.happens("meeting.booked", at=ago(minutes=1))
    line = failed("approvals", "approve", approval_id, "--by", "Kim", status=1)
    assert line == "a small present, for ada@example.com, does not wait any more: nobody answered in time"
    assert said("approvals", "list") == []


def test_an_approval_must_be_named_without_doubt(asking: World) -> None:
    for end in "12":
        id = f"aaaaaaaa-0000-4000-8000-00000000000{end}"
        asking.asks_approval("welcome", at=ago(minutes=10), until=SOON, id=id)
    assert failed("approvals", "approve", "aaaa", "--by", "Kim", status=1).startswith("2 approvals begin with 'aaaa'")
    for name in ("bbbb", "%", ""):
        assert failed("approvals", "refuse", name, "--by", "Kim", status=1).startswith(f"no approval '{name}'")
    assert failed("approvals", "approve", "aaaa", "--by", " ", status=2) == "--by: say who answers"


def test_the_page_of_the_contact_says_what_waits(asking: World) -> None:
    approval_id = asking.asks_approval("welcome", at=ago(hours=1), until=SOON)
    (page,) = said("contact", "show", "ada@example.com")
    assert page["runs"][0]["next"] == f"waits for approval until {stamp(SOON)}: a small present"
    said("approvals", "approve", approval_id, "--by", "Kim")
    (page,) = said("contact", "show", "ada@example.com")
    assert page["runs"][0]["next"] == "is at work on it"


@pytest.mark.parametrize(("approved", "word"), [(True, "approved"), (False, "refused")])
def test_the_timeline_of_a_scenario_says_what_the_answer_was(approved: bool, word: str) -> None:
    answer = {"approval_id": "a-1", "reason": "a small present", "by": "Kim", "approved": approved}
    assert _what(Line(NOW, 1.0, "ada", "approval", "welcome", answer)).plain == f"{word}, Kim, a small present"
