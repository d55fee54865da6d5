"""The verdict sees each thing that must not be, and nothing where all is well."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from chaos import verdict
from chaos.lives import Act
from chaos.provider import Delivery
from chaos.teller import Acknowledged
from chaos.verdict import GRACE, Row

ADA = "ada@example.com"
DOWNLOAD = Act("a-1", ADA, "track", "resource.downloaded", 0, 0)
OPT_OUT = Act("a-2", ADA, "cloudevents", "consent.withdrawn", 1, 1)
BOUGHT = Act("a-3", ADA, "stripe", "checkout.session.completed", 1, 1)
MAIL = Delivery("k", "asked", "email", ADA, "promotional", "welcome", "welcome", at=10.0)


def lost(stored: dict[tuple[str, str], int], lines: dict[tuple[str, str], int]) -> list[str]:
    return verdict.losses(
        [Acknowledged(DOWNLOAD, 1.0)], {"a-1": ("track", "a-1")}, Counter(stored), {ADA: Counter(lines)}
    )


def test_an_event_is_stored_once_and_begins_its_journey_or_says_why_not() -> None:
    once = {("track", "a-1"): 1}
    assert lost(once, {("enter", "welcome"): 1}) == []
    assert lost(once, {("skip", "welcome"): 1}) == []
    assert lost({}, {("enter", "welcome"): 1}) == ["resource.downloaded a-1 is stored 0 times"]
    assert lost({("track", "a-1"): 2}, {("enter", "welcome"): 1}) == ["resource.downloaded a-1 is stored 2 times"]
    assert lost(once, {("enter", "nurture"): 1}) == [f"{ADA} neither entered welcome nor is it said why not"]


@pytest.mark.parametrize(
    ("sender", "purpose", "twice", "excused"),
    [
        ("asked", "promotional", 1, 0),
        ("keyed", "transactional", 1, 0),
        ("plain", "promotional", 1, 0),
        ("plain", "transactional", 0, 1),
    ],
)
def test_a_touch_that_came_twice(sender: str, purpose: str, twice: int, excused: int) -> None:
    mail = replace(MAIL, sender=sender, purpose=purpose)
    assert verdict.told_twice([mail, replace(mail, key="other")]) == ([], [])
    found, known = verdict.told_twice([mail, mail])
    assert (len(found), len(known)) == (twice, excused)


@pytest.mark.parametrize("cause", [OPT_OUT, BOUGHT])
def test_promotion_after_what_forbids_it(cause: Act) -> None:
    acknowledged = [Acknowledged(cause, 10.0)]

    def found(**changes: Any) -> int:
        return len(verdict.forbidden(acknowledged, [replace(MAIL, **changes)]))

    assert found(at=10.0 + GRACE + 1) == 1
    assert found(at=10.0 + GRACE - 1) == 0
    assert found(at=10.0 + GRACE + 1, purpose="transactional") == 0
    assert found(at=10.0 + GRACE + 1, to="bob@example.com") == 0
    assert found(at=10.0 + GRACE + 1, journey="nurture") == (1 if cause is OPT_OUT else 0)


OPENED = Acknowledged(Act("a-4", ADA, "zendesk", "ticket.opened", 1, 1), at=10.0, begun=9.0)
SOLVED = Acknowledged(Act("a-5", ADA, "zendesk", "ticket.solved", 2, 2), at=30.0, begun=20.0)
ORDER = Acknowledged(Act("a-6", ADA, "stripe", "checkout.session.completed", 1, 1, under="also@example.com"), at=10.0)
KNOWN = Acknowledged(Act("a-7", ADA, "cloudevents", "contact.merged", 2, 2, under="also@example.com"), at=20.0)
REMINDER = replace(MAIL, journey="abandoned-checkout")


def claimed_after(told: list[Acknowledged], at: float | None, mail: Delivery = MAIL) -> int:
    return len(verdict.claimed_after(told, [mail], {} if at is None else {mail.key: at}))


def test_promotion_that_was_claimed_while_a_ticket_was_open() -> None:
    both = [SOLVED, OPENED]
    assert [claimed_after(both, at) for at in (9.0, 10.1, 10.5, 19.9, 20.1, 40.0)] == [0, 0, 1, 1, 0, 0]
    assert claimed_after([OPENED], 1000.0) == 1
    again = replace(OPENED, at=50.0)
    assert claimed_after([again, OPENED], 11.0) == 1, "it was known from the first time on"
    assert claimed_after(both, 15.0, replace(MAIL, purpose="transactional")) == 0
    assert claimed_after(both, 15.0, replace(MAIL, to="bob@example.com")) == 0
    assert claimed_after(both, None) == 0
    assert claimed_after([replace(SOLVED, begun=9.0), OPENED], 15.0) == 0, "it may have been solved before"


@pytest.mark.parametrize(
    "order", [ORDER, replace(ORDER, act=replace(ORDER.act, door="track", type="purchase.completed"))]
)
@pytest.mark.parametrize("known", [KNOWN, replace(KNOWN, act=replace(KNOWN.act, door="track", type="identify"))])
def test_promotion_after_a_purchase_under_another_name_is_known_to_be_theirs(
    order: Acknowledged, known: Acknowledged
) -> None:
    def found(told: list[Acknowledged], at: float | None, mail: Delivery = REMINDER) -> int:
        assert verdict.forbidden(told, [replace(mail, at=1000.0)]) == []
        return claimed_after(told, at, mail)

    assert [found([order, known], at) for at in (15.0, 20.1, 20.5)] == [0, 0, 1]
    assert [found([replace(order, at=30.0), known], at) for at in (25.0, 30.5)] == [0, 1]
    assert found([order], 25.0) == 0
    assert found([known], 25.0) == 0
    assert found([order, known], 25.0, MAIL) == 0
    assert found([order, known], 25.0, replace(REMINDER, purpose="transactional")) == 0


def test_rows_and_deliveries_agree() -> None:
    sent = Row("k", "sent", "promotional", None)

    def found(row: Row | None, before: list[Delivery], after: list[Delivery]) -> int:
        return len(verdict.unexplained([row] if row else [], before, after))

    for status in ("sent", "unknown"):
        assert found(replace(sent, status=status), [MAIL], [MAIL]) == 0
    assert found(replace(sent, status="unknown"), [], []) == 0
    for status in ("dropped", "claimed", "waiting", "failed"):
        assert found(replace(sent, status=status), [], []) == 0
        assert found(replace(sent, status=status), [], [MAIL]) == 0, "it may have come after the rows were read"
        assert found(replace(sent, status=status), [MAIL], [MAIL]) == 1
    assert found(sent, [], []) == 1
    assert found(None, [MAIL], [MAIL]) == 1
    assert found(None, [], [MAIL]) == 0
