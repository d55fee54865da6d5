"""What happens to the contacts of a drill follows from its seed, and holds every kind of trouble."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from chaos.lives import Act, lives

MONDAY = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
LIVES = lives(7, 500, MONDAY, 20)
ACTS = [act for life in LIVES for act in life.acts]


def share(acts: list[Act]) -> float:
    return len(acts) / len(ACTS)


def test_the_same_seed_gives_the_same_lives() -> None:
    assert lives(7, 500, MONDAY, 20) == LIVES
    assert lives(8, 500, MONDAY, 20) != LIVES


def test_ids_are_unique() -> None:
    assert max(Counter(act.id for act in ACTS).values()) == 1


def test_every_kind_of_trouble_is_there() -> None:
    assert 0.1 < share([a for a in ACTS if a.copies]) < 0.3
    assert 0.02 < share([a for a in ACTS if a.told > a.happens]) < 0.2
    assert 0.005 < share([a for a in ACTS if a.lost]) < 0.06
    assert share([a for a in ACTS if a.ambush]) > 0.1
    assert {a.door for a in ACTS} == {"track", "cloudevents", "stripe", "zendesk"}
    late = [a for life in LIVES for a, b in zip(life.acts, life.acts[1:], strict=False) if a.told > b.told]
    assert late, "something is told after what happened later"


def test_some_buy_under_another_name_before_it_is_known_to_be_theirs() -> None:
    strangers = [life for life in LIVES if life.kind == "stranger"]
    assert len(strangers) > 20
    assert {life.acts[-1].type for life in strangers} == {"identify", "contact.merged"}
    for identify, checkout, bought, known in (life.acts for life in strangers):
        assert (identify.under, checkout.under) == (None, None)
        assert checkout.happens < bought.happens < known.happens
        assert bought.under is not None
        assert (bought.joins, known.joins, known.under) == (False, True, bought.under)
    assert len({life.acts[-1].under for life in strangers}) == len(strangers)
    assert not [act for life in LIVES if life.kind != "stranger" for act in life.acts if act.under is not None]


def test_some_come_at_night_with_two_journeys_that_wait_for_the_morning() -> None:
    owls = [life for life in LIVES if life.kind == "owl"]
    assert owls
    for owl in owls:
        zone = ZoneInfo(str(owl.acts[0].data["timezone"]))
        local = (MONDAY + timedelta(days=owl.acts[0].happens)).astimezone(zone)
        assert (local.hour, local.minute) in {(23, 0), (22, 59)}
