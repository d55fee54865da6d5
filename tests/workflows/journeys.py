"""Journeys small enough to see one promise of the base at a time."""

import asyncio
from datetime import date
from typing import Any

from workflows.base import PROMOTIONAL, Journey, always, days, journey, on

_ABOUT = {
    "trigger": on("form.submitted"),
    "audience": "nobody but a test",
    "goal": "one promise of the base is kept",
    "success": on("purchase.completed"),
    "exits": [on("message.replied")],
    "owner": "tests",
    "purpose": PROMOTIONAL,
    "reentry": always(),
    "max_run": days(30),
    "review_by": date(2030, 1, 1),
}

NEWS = on("page.viewed")


@journey(**_ABOUT)
class SendsOne(Journey):
    """Sends one mail and is done."""

    async def only(self) -> None:
        try:
            await self.send("hello")
        except asyncio.CancelledError:
            self._tell("cleaned up")
            raise


@journey(**_ABOUT)
class WaitsLong(Journey):
    """Waits for news, says what came, and goes on to wait for ever."""

    async def waiting(self) -> Any:
        try:
            heard = await self.wait(NEWS, days=20)
        except asyncio.CancelledError:
            self._tell("cleaned up")
            raise
        self._tell(f"heard {heard.page}" if heard else "heard nothing")
        return self.resting

    async def resting(self) -> None:
        await self.sleep(days=20)


@journey(**_ABOUT)
class LooksFirst(Journey):
    """Looks at the contact."""

    async def looking(self) -> None:
        try:
            await self.facts()
        except asyncio.CancelledError:
            self._tell("cleaned up")
            raise


@journey(**_ABOUT)
class LooksThenWaits(Journey):
    """Looks at the contact and takes its time."""

    async def looking(self) -> None:
        await self.facts()
        await self.sleep(days=20)


@journey(**_ABOUT)
class HandsOver(Journey):
    """Gives the contact to a person."""

    async def handing(self) -> None:
        try:
            who = await self.hand_off("wants to talk")
            self._tell(f"answer: {who}")
        except asyncio.CancelledError:
            self._tell("cleaned up")
            raise


@journey(**_ABOUT)
class SendsThenWaits(Journey):
    """Sends, and answers whatever the contact does from then on."""

    async def asking(self) -> Any:
        await self.send("question")
        heard = await self.wait(NEWS, days=2)
        self._tell(f"first {heard.page}" if heard else "first nothing")
        again = await self.wait(NEWS, days=1)
        self._tell(f"second {again.page}" if again else "second nothing")


@journey(**_ABOUT)
class OnlySends(Journey):
    """Has a stage without a wait before the one that waits."""

    async def sending(self) -> Any:
        await self.send("question")
        return self.waiting

    async def waiting(self) -> None:
        heard = await self.wait(NEWS, days=2)
        self._tell(f"heard {heard.page}" if heard else "heard nothing")


@journey(**_ABOUT)
class SleepsThenWaits(Journey):
    """Lets time pass before it waits for news."""

    async def sleeping(self) -> Any:
        await self.sleep(days=1)
        return self.waiting

    async def waiting(self) -> None:
        heard = await self.wait(NEWS, days=1)
        self._tell(f"heard {heard.page}" if heard else "heard nothing")


@journey(**_ABOUT)
class SaysGoodbye(Journey):
    """Tries to write to the contact while it is being ended."""

    async def staying(self) -> None:
        try:
            await self.sleep(days=3)
        finally:
            await self.send("goodbye")


@journey(**_ABOUT)
class AsksApproval(Journey):
    """Sends only what a person has approved."""

    async def asking(self) -> None:
        said = await self.approval("gift", days=2)
        self._tell(f"approved: {said}")


@journey(**_ABOUT)
class AsksTwice(Journey):
    """Asks the same in a second round, and then rests."""

    async def asking(self) -> Any:
        for _ in range(2):
            said = await self.approval("gift", days=2)
            self._tell(f"approved: {said}")
        return self.resting

    async def resting(self) -> None:
        await self.sleep(days=20)


@journey(**_ABOUT)
class CountsVisits(Journey):
    """Goes round between two stages, one visit at a time, and says in the end what it saw."""

    async def ping(self) -> Any:
        return await self._round(self.pong)

    async def pong(self) -> Any:
        return await self._round(self.ping)

    async def _round(self, following: Any) -> Any:
        heard = await self.wait(NEWS, days=10)
        pages = self.memory.setdefault("pages", [])
        if heard is not None and heard.page != "last":
            pages.append(heard.page)
            return following
        await self.send("counted", pages=pages)
        await self.send("thanks")
        return None


@journey(**_ABOUT)
class SendsThenRests(Journey):
    """Sends in one stage and rests in another."""

    async def sending(self) -> Any:
        await self.send("hello")
        return self.resting

    async def resting(self) -> None:
        await self.sleep(days=20)


@journey(**_ABOUT)
class SendsBesides(Journey):
    """Does not wait for what it has begun to send."""

    async def sending(self) -> Any:
        besides = asyncio.create_task(self.send("hello"))
        await self.wait(NEWS, days=2)
        besides.cancel()
        return self.resting

    async def resting(self) -> None:
        await self.sleep(days=20)


JOURNEYS = [
    SendsOne, WaitsLong, LooksFirst, LooksThenWaits, HandsOver, SendsThenWaits, OnlySends, SleepsThenWaits, SaysGoodbye,
    AsksApproval, AsksTwice, CountsVisits, SendsThenRests, SendsBesides,
]  # fmt: skip
