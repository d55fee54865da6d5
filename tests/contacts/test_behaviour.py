"""Behaviour that a stage may branch on: so many times in a span, something else not, the same thing each time."""

from datetime import timedelta

import pytest

from contacts.specs import Happening, Pattern, often, on
from tests.contacts.support import at, happening

PRICES = on("page.viewed", page="pricing")
TWICE = often(PRICES, times=2, days=7, without=on("form.submitted", form=["demo", "call"]))
SAME = often(on("page.viewed"), times=3, days=14, same="topic")


def looked(day: float, **data: str) -> Happening:
    return happening("page.viewed", at(day), **{"page": "pricing", **data})


@pytest.mark.parametrize(
    ("pattern", "events", "shown"),
    [
        (TWICE, [looked(8), looked(9)], True),
        (TWICE, [looked(9)], False),
        (TWICE, [looked(2), looked(9)], False),
        (TWICE, [looked(8), looked(11)], False),
        (TWICE, [looked(8), looked(9), happening("form.submitted", at(9), form="demo")], False),
        (TWICE, [looked(8), looked(9), happening("form.submitted", at(9), form="quiz")], True),
        (TWICE, [looked(8), looked(9, page="blog")], False),
        (SAME, [looked(n, topic="seo") for n in (1, 5, 9)], True),
        (SAME, [looked(1, topic="seo"), looked(5, topic="seo"), looked(9, topic="mail")], False),
        (SAME, [looked(n) for n in (1, 5, 9)], False),
    ],
)
def test_what_is_shown_by_the_tenth_day(pattern: Pattern, events: list[Happening], shown: bool) -> None:
    assert pattern.shown(events, at(10)) is shown
    assert pattern.shown(events, at(10) + timedelta(days=40)) is False
