"""Writes down what a run knows: its stages and waits, its outcome, and tells it the facts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities import signatures as ask
from contacts import journal, store
from contacts.lifecycle import standing
from contacts.policy import Policy
from contacts.runs import drop_waiting, give_up_calls
from contacts.specs import Happening, Pattern
from contacts.tables import events, reviews, runs, touches


async def write_lines(
    conn: AsyncConnection, run: ask.RunRef, lines: Sequence[ask.Line], next_wake: datetime | None = None
) -> None:
    """Brings a run's row and the journal up to what the run knows. A repeat changes nothing."""
    changes = {"stage": run.stage, "next_wake": next_wake}
    contact_id = (
        await conn.execute(sa.update(runs).where(runs.c.id == run.run_id).values(changes).returning(runs.c.contact_id))
    ).scalar_one()
    entries = [
        journal.Entry(
            at=line.at,
            contact_id=contact_id,
            kind=line.kind,  # type: ignore[arg-type]
            journey=run.journey,
            run_id=run.run_id,
            # A note may be taken in a workflow task that is then done over and goes another way.
            once=f"run/{run.run_id}/{line.seq}/{line.kind}/{line.stage}",
            data={"stage": line.stage, "until": line.until.isoformat() if line.until else None, **line.data},
        )
        for line in lines
    ]
    await journal.write(conn, *entries)


@dataclass(frozen=True)
class Record:
    """The activities that write and read the facts about a run."""

    engine: AsyncEngine
    policy: Policy

    @activity.defn(name=ask.NOTE)
    async def note(self, request: ask.NoteRequest) -> None:
        """Writes down where a run is before it goes to sleep."""
        async with self.engine.begin() as conn:
            await write_lines(conn, request.run, request.lines, request.next_wake)

    @activity.defn(name=ask.FACTS)
    async def facts(self, request: ask.FactsRequest) -> ask.ContactNow:
        """The contact as of the run's time."""
        now = request.run.now
        async with self.engine.begin() as conn:
            await write_lines(conn, request.run, request.lines)
            known = await store.find(conn, request.run.contact_id)
            others = sa.select(sa.func.max(runs.c.entered_at)).where(
                runs.c.contact_id == known.contact_id,
                runs.c.journey == request.run.journey,
                runs.c.id != request.run.run_id,
            )
            entered_before = (await conn.execute(others)).scalar_one()
            shown = request.behaviour is not None and await _shown(conn, known.contact_id, request.behaviour, now)
        stands = standing(known, self.policy, now)
        score = known.score.at(now, timedelta(days=self.policy.score.half_life_days))
        return ask.ContactNow(
            score=round(score, 2),
            hot=score >= self.policy.score.handoff_at,
            flags=tuple(sorted(known.flags() | stands.flags)),
            holds=tuple(h.name for h in known.active_holds(now)),
            topic=known.subject(),
            entered_before=entered_before,
            stage=stands.stage,
            strength=stands.strength,
            topics=known.topics_wanted,
            shown=shown,
        )

    @activity.defn(name=ask.LEAVE)
    async def leave(self, request: ask.LeaveRequest) -> None:
        """Settles what the stage that is left had still to send: it is dropped, or its call is without an answer."""
        run = request.run
        async with self.engine.begin() as conn:
            # As a claim does: the contact first, then the touch.
            await store.lock(conn, run.contact_id)
            await write_lines(conn, run, request.lines)
            await drop_waiting(conn, "stage_left", run.now, touches.c.run_id == run.run_id)
            await give_up_calls(conn, run.now, touches.c.run_id == run.run_id)

    @activity.defn(name=ask.FINISH)
    async def finish(self, request: ask.FinishRequest) -> None:
        """Closes the run's row and what it left open; an exhausted run goes to the review queue with its story."""
        run = request.run
        async with self.engine.begin() as conn:
            row = (await conn.execute(sa.select(runs).where(runs.c.id == run.run_id).with_for_update())).one()
            await write_lines(conn, run, request.lines)
            # What an acknowledged event said of the outcome stands.
            outcome = row.outcome or request.outcome
            closed = sa.update(runs).where(runs.c.id == run.run_id, runs.c.ended_at.is_(None))
            await conn.execute(closed.values(ended_at=run.now, outcome=outcome))
            await drop_waiting(conn, "exited", run.now, touches.c.run_id == run.run_id)
            await give_up_calls(conn, run.now, touches.c.run_id == run.run_id)
            data = {"outcome": outcome, "by": request.reason}
            exit_ = journal.Entry(
                run.now, row.contact_id, "exit", run.journey, run.run_id, once=f"exit/{run.run_id}", data=data
            )
            await journal.write(conn, exit_)
            if request.review:
                reason = f"{outcome}: {request.reason}" if request.reason else outcome
                await open_review(conn, run, row.contact_id, reason, list(request.story))


async def open_review(
    conn: AsyncConnection, run: ask.RunRef, contact_id: str, reason: str, story: Sequence[object] = ()
) -> None:
    """Puts a run into the review queue, once."""
    values = {"run_id": run.run_id, "contact_id": contact_id, "journey": run.journey, "reason": reason, "at": run.now}
    await conn.execute(insert(reviews).values(**values, story=list(story)).on_conflict_do_nothing())
    entry = journal.Entry(
        run.now, contact_id, "review", run.journey, run.run_id, once=f"review/{run.run_id}", data={"reason": reason}
    )
    await journal.write(conn, entry)


async def _shown(conn: AsyncConnection, contact_id: str, behaviour: Pattern, now: datetime) -> bool:
    types = (*behaviour.what.types, *(behaviour.without.types if behaviour.without else ()))
    rows = await conn.execute(
        sa.select(events.c.id, events.c.type, events.c.occurred_at, events.c.data).where(
            events.c.contact_id == contact_id,
            events.c.type.in_(types),
            events.c.occurred_at > now - behaviour.within,
            events.c.occurred_at <= now,
        )
    )
    return behaviour.shown([Happening(row.id, row.type, row.occurred_at, row.data) for row in rows], now)
