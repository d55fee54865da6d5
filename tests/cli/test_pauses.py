"""Halts at the command line: called, listed, ended, and refused in one line."""

from datetime import datetime, timedelta

import pytest

from contacts import pauses
from contacts.gate import Pause
from tests.cli.world import NOW, World, ago, failed, perennial, said


def test_a_halt_is_called_listed_and_ended(world: World) -> None:
    world.happens("consent.granted", at=ago(days=3), channel="email", purpose="promotional")
    world.happens("contact.identified", at=ago(days=3), email="ada@example.com", timezone="UTC")
    (called,) = said("pauses", "call", "journey/welcome", "--by", "Kim", "--reason", "the copy is wrong")
    assert (called["what"], called["opened_by"], called["waiting"]) == ("journey/welcome", "Kim", 0)
    claim = world.asks("welcome", "welcome", at=ago(minutes=1).replace(hour=12))
    assert (claim.status, claim.hold) == ("waiting", "pause:journey/welcome")
    (line,) = said("pauses", "list")
    assert (line["reason"], line["released_at"], line["waiting"]) == ("the copy is wrong", None, 1)
    assert "in force" in perennial("pauses", "list").stdout
    assert "journey/welcome is halted already" in failed(
        "pauses", "call", "journey/welcome", "--by", "Kim", "--reason", "again", status=1
    )
    (ended,) = said("pauses", "end", "journey/welcome", "--by", "Mia")
    assert ended["waiting"] == 1
    assert failed("pauses", "end", "journey/welcome", "--by", "Mia", status=1) == "journey/welcome is not halted"


def test_what_there_is_none_of_is_refused(world: World) -> None:
    why = ("--by", "Kim", "--reason", "r")
    assert failed("pauses", "call", "everything", *why, status=2) == (
        "'everything': contact/CONTACT, journey/NAME, channel/NAME or all"
    )
    assert failed("pauses", "call", "channel/fax", *why, status=2).startswith("no channel 'fax'; there is email, ")
    assert failed("pauses", "call", "journey/welcom", *why, status=2).startswith(
        "no journey 'welcom'; there is welcome, "
    )
    assert said("pauses", "call", "all", *why)[0]["what"] == "all"
    assert perennial("pauses", "end", "all", "--by", "Kim").stdout.startswith("all goes on; 0 runs")


def lives(world: World, whose: str = "ada@example.com") -> None:
    world.happens("consent.granted", at=ago(days=3), whose=whose, channel="email", purpose="promotional")
    world.happens("contact.identified", at=ago(days=3), whose=whose, email=whose, timezone="UTC")


def noon() -> datetime:
    return ago(minutes=1).replace(hour=12)


def test_a_contact_is_paused_like_anything_else(world: World) -> None:
    lives(world)
    (called,) = said(
        "pauses", "call", "contact/ada@example.com", "--by", "Kim", "--reason", "a lawsuit", "--until", "7d"
    )
    assert (called["what"], called["opened_by"], called["reason"]) == ("contact/ada@example.com", "Kim", "a lawsuit")
    until = datetime.fromisoformat(called["until"])
    assert timedelta(days=6.9) < until - NOW < timedelta(days=7.1)
    again = ("pauses", "call", "contact/ada@example.com", "--by", "Mia", "--reason", "r")
    assert failed(*again, status=1) == "contact/ada@example.com is halted already"
    claim = world.asks("welcome", "welcome", at=NOW + timedelta(minutes=1))
    assert (claim.status, claim.reason, claim.hold) == ("waiting", "hold_operator", "operator:pause")
    (line,) = said("pauses", "list")
    assert (line["what"], line["waiting"], line["released_at"]) == ("contact/ada@example.com", 1, None)
    (page,) = said("pauses", "show", "contact/ada@example.com")
    assert [(one["template"], one["count"]) for one in page["waiting"]] == [("welcome", 1)]
    assert (
        perennial("pauses", "end", "contact/ada@example.com", "--by", "Mia")
        .stdout.split("\n")[0]
        .endswith("goes on; 1 run that waited asks again now")
    )
    (line,) = said("pauses", "list")
    assert (line["released_by"], line["waiting"]) == ("Mia", 0)
    assert failed("pauses", "end", "contact/ada@example.com", "--by", "Mia", status=1).endswith("is not halted")
    assert failed("pauses", "call", "contact/nobody@example.com", *again[3:], status=1).startswith("no contact")


def test_a_halt_for_a_time_is_over_without_anybody(world: World) -> None:
    halt = Pause("channel", "email", "a new domain", ago(hours=1))
    world.within(lambda conn: pauses.call(conn, halt, by="Kim", now=ago(hours=3)))
    (line,) = said("pauses", "list")
    assert (datetime.fromisoformat(line["released_at"]), line["released_by"]) == (ago(hours=1), "its time")
    why = ("--by", "Kim", "--reason", "again")
    assert failed("pauses", "call", "channel/email", *why, "--until", "2026-01-01T00:00:00Z", status=2).endswith(
        "is over already"
    )
    assert "--until 'soon'" in failed("pauses", "call", "channel/email", *why, "--until", "soon", status=2)
    (called,) = said("pauses", "call", "channel/email", *why, "--until", "2h")
    assert called["until"] is not None
    assert "in force until" in perennial("pauses", "list").stdout


def test_who_calls_and_ends_a_halt_is_said(world: World) -> None:
    assert failed("pauses", "call", "all", "--by", " ", "--reason", "r", status=2) == "--by: must not be empty"
    assert failed("pauses", "call", "all", "--by", "Kim", "--reason", "", status=2) == "--reason: must not be empty"
    assert failed("pauses", "end", "all", "--by", "", status=2) == "--by: must not be empty"


FIGURES = {"what": "entries", "count": 612, "usual": 3.4, "minutes": 10}


def test_the_breakers_halt_is_told_with_its_figures_and_whether_a_person_knows(world: World) -> None:
    lives(world)
    halt = Pause("journey", "welcome", "612 entries where 3.4 are usual in 10 minutes")
    world.within(lambda conn: pauses.trip(conn, halt, now=ago(days=2), figures=FIGURES))
    world.asks("welcome", "welcome", at=noon() - timedelta(days=1))
    world.asks("welcome", "welcome_second", at=noon())
    (line,) = said("pauses", "list")
    assert (line["opened_by"], line["figures"], line["told_at"]) == ("breaker", FIGURES, None)
    assert "nobody was told" in perennial("pauses", "list", columns=80).stdout
    page = perennial("pauses", "show", "journey/welcome").stdout
    assert "612 entries in 10 minutes, 3.4 are usual" in page
    assert "nobody yet" in page
    assert "2 touches" in page
    (shown,) = said("pauses", "show", "journey/welcome")
    assert {(w["template"], w["count"]) for w in shown["waiting"]} == {("welcome", 1), ("welcome_second", 1)}
    oldest = {w["template"]: datetime.fromisoformat(w["oldest"]) for w in shown["waiting"]}
    assert oldest["welcome"] == noon() - timedelta(days=1)
    world.within(lambda conn: pauses.not_told(conn, ago(days=1)))
    assert "told" in (text := perennial("pauses", "list").stdout)
    assert "nobody was told" not in text
    assert "never halted" in failed("pauses", "show", "journey/nurture", status=1)


def test_halts_in_force_come_first_and_there_are_no_more_than_asked_for(world: World) -> None:
    lives(world)
    why = ("--by", "Kim", "--reason", "r")
    for what in ("channel/sms", "contact/ada@example.com", "all"):
        said("pauses", "call", what, *why)
    for what in ("all", "contact/ada@example.com"):
        said("pauses", "end", what, "--by", "Kim")
    assert [line["what"] for line in said("pauses", "list")] == ["channel/sms", "all", "contact/ada@example.com"]
    assert [line["what"] for line in said("pauses", "list", "--limit", "2")] == ["channel/sms", "all"]


@pytest.mark.parametrize("columns", [80, 120])
def test_the_list_fits_the_terminal(world: World, columns: int) -> None:
    lives(world)
    said(
        "pauses",
        "call",
        "contact/ada@example.com",
        "--by",
        "Kim",
        "--reason",
        "a reason of some length",
        "--until",
        "7d",
    )
    text = perennial("pauses", "list", columns=columns).stdout
    assert max(map(len, text.splitlines())) <= columns
    assert "contact/ada@example.com" in text
