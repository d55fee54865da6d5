"""Runs paused and let go on at the command line: one, or all that fit, and never by accident."""

import re
from typing import Any

import pytest
import sqlalchemy as sa

import cli
from contacts import tables
from tests.cli.world import World, ago, failed, perennial, said


@pytest.fixture
def busy(world: World) -> World:
    """Two contacts in a checkout, one of them in the welcome too; a third bought."""
    for name in ("ada", "bob", "eve"):
        world.happens("checkout.started", at=ago(days=1), whose=f"{name}@example.com", checkout_id=name)
    world.happens("contact.identified", at=ago(hours=9), email="ada@example.com")
    world.happens("purchase.completed", at=ago(hours=5), whose="eve@example.com", order_id="o", checkout_id="eve")
    return world


def told(world: World) -> list[tuple[str, str, str]]:
    """What Temporal is to hear: order, journey, key."""
    d, r = tables.dispatches, tables.runs
    query = sa.select(d.c.kind, r.c.journey, r.c.key).join(r, r.c.id == d.c.run_id)
    return [tuple(row) for row in world.rows(query.where(d.c.kind.in_(["pause", "resume"])).order_by(d.c.id))]


def test_all_that_fit_are_told_and_none_that_is_over(busy: World) -> None:
    which = ("--journey", "abandoned-checkout")
    assert said("runs", "pause", *which, "--dry-run") == [{"order": "pause", "runs": 2, "told": False}]
    assert told(busy) == []
    assert said("runs", "pause", *which, "--yes") == [{"order": "pause", "runs": 2, "told": True}]
    assert sorted(told(busy)) == [("pause", "abandoned-checkout", "ada"), ("pause", "abandoned-checkout", "bob")]
    assert said("runs", "resume", "--contact", "bob@example.com", *which, "--yes")[0]["runs"] == 1
    assert told(busy)[2:] == [("resume", "abandoned-checkout", "bob")]
    assert said("runs", "pause", "--stage", "nowhere", "--yes")[0]["runs"] == 0
    shown = {who: said("contact", "show", f"{who}@example.com")[0]["runs"] for who in ("ada", "bob")}
    since = re.compile(r"paused by an operator \d+ \w+ \d{4} \d\d:\d\d UTC$")
    paused = {who: [run["journey"] for run in runs if since.search(run["where"])] for who, runs in shown.items()}
    assert paused == {"ada": ["abandoned-checkout"], "bob": []}


def test_one_run_needs_no_second_word(busy: World) -> None:
    [welcome] = said("runs", "list", "--journey", "welcome")
    for name in (welcome["run_id"], welcome["run_id"][:8], welcome["workflow_id"]):
        assert "1 run told to pause" in perennial("runs", "pause", name).stdout
    assert {row[1] for row in told(busy)} == {"welcome"}
    [over] = said("runs", "list", "--contact", "eve@example.com", "--ended")
    assert failed("runs", "pause", over["run_id"], status=1) == f"run {over['run_id']} is over: converted"
    assert failed("runs", "pause", "journey/x", status=1).startswith("no open run 'journey/x'")
    assert failed("runs", "pause", "%", status=1).startswith("no open run '%'")


def test_several_are_told_only_by_a_second_word(busy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    which = ("runs", "pause", "--journey", "abandoned-checkout")
    assert failed(*which, status=2).startswith("nobody was told: --dry-run says how many there are")
    assert failed("runs", "resume", status=2) == "say which: RUN, --journey, --stage or --contact"
    assert failed("runs", "pause", "", "--yes", status=1).startswith("no open run ''")
    monkeypatch.setattr(cli, "_at_a_terminal", lambda: True)

    def answer(word: str) -> Any:
        return perennial(*which, input=word)

    assert answer("n\n").exit_code == 1
    assert told(busy) == []
    assert "2 runs would be told to pause" in (yes := answer("y\n")).stdout
    assert (yes.exit_code, len(told(busy))) == (0, 2)
