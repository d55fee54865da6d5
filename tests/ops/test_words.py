"""What journeys wait for and do, as people read it."""

import pytest

from contacts.specs import Trigger, often, on
from ops.words import either, flag, happening, step
from workflows.reading import Approval, HandOff, Look, Note, Send, Sleep, Step, Wait

PRICES = on("page.viewed", page="pricing")


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (PRICES, "page viewed (page: pricing)"),
        (on("deal.stage_changed", "custom.vip_marked"), "deal stage changed or vip marked"),
        (on("contact.identified", first=True), "contact identified (first)"),
        (on("message.clicked", machine=False, channel="sms"), "message clicked (channel: sms, not machine)"),
        (on("ticket.solved", status=[None, "solved", "closed"]), "ticket solved (status: none, solved or closed)"),
        (on("ticket.solved", status=None), "ticket solved (no status)"),
        (on("subscription.canceled", scheduled=[None, False]), "subscription canceled (not scheduled)"),
        (often(PRICES, times=2, days=7), "page viewed (page: pricing) 2 times in 7 days"),
        (
            often(on("page.viewed"), times=3, days=14, same="topic", without=on("meeting.booked")),
            "page viewed 3 times in 14 days, each with the same topic, and no meeting booked in that time",
        ),
        (
            often(on("value.realized"), times=1, days=14, without=on("ticket.opened")),
            "value realized, and no ticket opened in the 14 days before",
        ),
    ],
)
def test_what_happens(trigger: Trigger, expected: str) -> None:
    assert happening(trigger) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Send(1, "welcome", "promotional", "email"), "sends welcome"),
        (Send(1, "welcome", "promotional", None), "sends welcome"),
        (Send(1, "welcome", "promotional", "sms"), "sends welcome by sms"),
        (Wait(1, (PRICES,), "4 days"), "waits for page viewed (page: pricing), at most 4 days"),
        (Wait(1, (PRICES, on("a.b"), on("c.d")), None), "waits for page viewed (page: pricing), a b or c d"),
        (Wait(1, (), "2 hours"), "waits for time to pass, at most 2 hours"),
        (Wait(1, (PRICES,), "until self.entry.starts_at"), "waits for page viewed (page: pricing), until starts at"),
        (
            Wait(1, (PRICES,), "until (self._starts_at() or self.after(days=30)) + days(1)"),
            "waits for page viewed (page: pricing), until (starts at or in 30 days) + 1 day",
        ),
        (Sleep(1, "3 days"), "waits 3 days"),
        (Sleep(1, None), "waits for no time"),
        (HandOff(1, "Call them."), "hands over: Call them."),
        (HandOff(1, None), "hands over to a person"),
        (Approval(1, "a gift", "2 days"), "asks a person to approve a gift, at most 2 days"),
        (Approval(1, None, None), "asks a person to approve something"),
        (Note(1, "consent.withdrawn"), "records consent withdrawn"),
        (Note(1, None), "records what happened"),
        (Look(1, "new_customer"), "looks whether new customer"),
        (Look(1, "in:high_value"), "looks whether in high value"),
    ],
)
def test_what_a_stage_does(asked: Step, expected: str) -> None:
    assert step(asked) == expected


def test_flags_and_lists() -> None:
    said = {"in_talks": "in talks", "in:high_value": "in high value", "during:welcome": "during welcome"}
    assert {name: flag(name) for name in said} == said
    assert (either([]), either("a"), either("ab"), either("abc")) == ("", "a", "a or b", "a, b or c")
