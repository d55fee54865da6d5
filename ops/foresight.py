"""What a rollout would do, worked out by doing it contact by contact in transactions that are taken back."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from contacts import gate, rollouts
from contacts.claims import Gate
from contacts.gate import Ask, Verdict
from contacts.intake import Intake, again_after_deadlock
from contacts.rollouts import Turn
from contacts.specs import Rollout

_PAGE = 500


@dataclass
class Foreseen:
    """What would come of a rollout that began now.

    Attributes:
        turns: Contacts looked at.
        members: Those who would get the event.
        skipped: The others, by the reason.
        starts: Runs that would begin, by journey.
        passed_over: By journey, and by the reason it would not begin.
        sends: How many messages the gate would let out now; ``waits`` and ``drops`` are those it would not, by the
            reason. All three only where the rollout is a message.
    """

    name: str
    segment: str
    turns: int = 0
    members: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    starts: Counter[str] = field(default_factory=Counter)
    passed_over: dict[str, Counter[str]] = field(default_factory=dict)
    sends: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    drops: Counter[str] = field(default_factory=Counter)

    def add(self, turn: Turn, verdict: Verdict | None) -> None:
        """Counts one contact's turn."""
        self.turns += 1
        if turn.skipped is not None:
            self.skipped[turn.skipped] += 1
            return
        self.members += 1
        self.starts.update(start.journey for start in turn.plan.starts)
        for skip in turn.plan.skips:
            self.passed_over.setdefault(skip.journey, Counter())[skip.reason] += 1
        match verdict:
            case gate.Send():
                self.sends += 1
            case gate.Wait():
                self.waits[verdict.reason] += 1
            case gate.Drop():
                self.drops[verdict.reason] += 1


async def foresee(intake: Intake, rollout: Rollout, since: datetime, now: datetime) -> AsyncIterator[Foreseen]:
    """Yields what is foreseen so far, contact after contact, and changes nothing.

    Args:
        since: When the rollout began, if it has before.
    """
    so_far = Foreseen(rollout.name, rollout.segment)
    after: str | None = None
    while True:
        async with intake.engine.connect() as conn:
            whose = await rollouts.next_in_line(conn, intake.policy, rollout, since, after, _PAGE)
        for contact_id in whose:
            so_far.add(*await _taken_back(intake, rollout, contact_id, since, now))
            yield so_far
        if len(whose) < _PAGE:
            break
        after = whose[-1]


@again_after_deadlock
async def _taken_back(
    intake: Intake, rollout: Rollout, contact_id: str, since: datetime, now: datetime
) -> tuple[Turn, Verdict | None]:
    async with intake.engine.connect() as conn, conn.begin() as transaction:
        turn = await rollouts.turn(intake, conn, rollout, contact_id, since, now)
        verdict = None
        if turn.plan.starts and "template" in rollout.data:
            verdict = await Gate(intake.policy, "").foresee(conn, _ask(intake, rollout.data, now), turn.facts)
        await transaction.rollback()
    return turn, verdict


def _ask(intake: Intake, message: Mapping[str, object], now: datetime) -> Ask:
    valid_days = message.get("valid_days", intake.policy.defaults.valid_for_days)
    return Ask(
        key="",
        template=str(message["template"]),
        channel=str(message["channel"]),
        purpose=message["purpose"],  # type: ignore[arg-type]  # checked when the rollout was made
        journey="broadcast",
        now=now,
        valid_until=now + timedelta(days=float(valid_days)),  # type: ignore[arg-type]
    )
