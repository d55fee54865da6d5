"""Halts at the command line: called, listed, ended, and refused in one line."""

from tests.cli.world import World, ago, failed, perennial, said


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
    assert failed("pauses", "call", "everything", *why, status=2) == "'everything': journey/NAME, channel/NAME or all"
    assert failed("pauses", "call", "channel/fax", *why, status=2).startswith("no channel 'fax'; there is email, ")
    assert failed("pauses", "call", "journey/welcom", *why, status=2).startswith(
        "no journey 'welcom'; there is welcome, "
    )
    assert said("pauses", "call", "all", *why)[0]["what"] == "all"
    assert perennial("pauses", "end", "all", "--by", "Kim").stdout.startswith("all goes on; 0 runs")
