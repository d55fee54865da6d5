"""On which of its channels a message goes out: a function of values."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from contacts.gate import Ask, Drop, Situation, consent, reachable
from contacts.policy import Policy

Because = Literal["preferred", "role", "only", "none_possible", "claimed_before"]
"""
``preferred``       the contact asked for this channel
``role``            the first that is possible, in the policy's order for the message's role
``only``            the only one of the message's channels that we can send on
``none_possible``   the first in line: none is possible, and the gate says why
``claimed_before``  an earlier attempt may have used it, and no other may follow
"""


@dataclass(frozen=True)
class Choice:
    """The channel of a touch, and why.

    Attributes:
        passed_over: What spoke against the channels that came before it, by channel: the gate's reason codes.
    """

    channel: str
    because: Because
    passed_over: Mapping[str, str] = field(default_factory=dict)

    def as_inputs(self) -> dict[str, Any]:
        """As it is kept with a decision."""
        return {"channel": self.channel, "because": self.because, "passed_over": dict(self.passed_over)}


def choose(ask: Ask, situation: Situation, policy: Policy) -> Choice:
    """The best of the ask's channels: the contact's own, then by the message's role, the first that is possible.

    Possible is what the gate's checks of consent and address let through. Where nothing is, the first in line stands,
    so that the gate drops it with its reason.
    """
    preferred = situation.facts.get("preferred_channel")
    by_role = policy.channels[ask.role] if ask.role is not None else ()
    places: dict[str, int] = {channel: n for n, channel in enumerate(by_role)}
    line = sorted(ask.candidates, key=lambda c: (c != preferred, places.get(c, len(places))))
    if len(line) == 1:
        return Choice(line[0], "only")
    passed_over: dict[str, str] = {}
    for channel in line:
        refusal = _refusal(replace(ask, channel=channel), situation, policy)
        if refusal is None:
            return Choice(channel, "preferred" if channel == preferred else "role", passed_over)
        passed_over[channel] = refusal.reason
    return Choice(line[0], "none_possible", passed_over)


def _refusal(ask: Ask, situation: Situation, policy: Policy) -> Drop | None:
    answers = (check(ask, situation, policy) for check in (consent, reachable))
    return next((answer for answer in answers if isinstance(answer, Drop)), None)
