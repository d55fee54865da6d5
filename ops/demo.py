"""Plays one contact through a running Perennial, live, on a clock that runs a day in a second.

Everything is real but the people: the tracking calls, the signed webhooks, Temporal, PostgreSQL, the mail over SMTP.
The story goes on when what should happen has happened, so that it comes out the same on a slow machine, or after a
part of it was killed and started again.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import math
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

import settings as configuration
from connectors.mailbox import Letters
from contacts import database, journal
from contacts.clock import Clock
from contacts.journal import Entry
from ops import claim, up
from ops.claim import Running

DAY_SECONDS = 1.5
"""Machine seconds a day of the story takes."""

_PATIENCE = 60.0
_EMAIL = "ada@example.com"


class StoryBroke(Exception):
    """Something that should have happened did not, or the other way round; the message says what."""


async def demo(*, exit_when_done: bool, data: Path, say: Console) -> int:
    """Starts everything, tells the story, and stays up until told to stop.

    Args:
        exit_when_done: End when the story ends.
        data: Where the demo keeps its own data; begun afresh each time.
        say: Where the story is told.

    Returns:
        0, or 1 if the story did not come out as told.
    """
    place = data / "demo"
    _begin_afresh(place)
    now = datetime.now(UTC)
    monday = (now + timedelta(days=-now.weekday())).replace(hour=8, minute=0, second=0, microsecond=0)
    clock = Clock(origin=now, start=monday, rate=86400 / DAY_SECONDS)
    keys = {name: secrets.token_hex(24) for name in ("STRIPE_SIGNING_SECRET", "ZENDESK_SIGNING_SECRET")}
    # The children inherit these: the vendors' secrets, as an installation would have them.
    os.environ.update(keys)
    os.environ["PERENNIAL_POLICY_FILE"] = str(_patient_policy(place))
    chosen = configuration.load().model_copy(update={"clock": clock})
    async with up.running(place, chosen, lambda line: say.print(f"[dim]{line}[/dim]")) as where:
        say.print()
        say.print(f"[bold]Temporal UI[/bold]  {where.temporal_ui}")
        say.print(f"[bold]Mailbox[/bold]      {where.gateway}/mailbox")
        say.print(f"[bold]API page[/bold]     {where.gateway}/docs")
        say.print()
        # The story begins on a morning: the clock has been running while everything started.
        days_gone = math.ceil((clock.now() - monday) / timedelta(days=1))
        story = _Story(where, clock, monday + timedelta(days=days_gone), keys, say)
        try:
            async with story.watching():
                await story.tell()
        except StoryBroke as problem:
            say.print(f"\n[bold red]The story broke:[/bold red] {problem}")
            return 1
        say.print("\n[bold green]The story came out as told.[/bold green]")
        if not exit_when_done:
            say.print("Everything stays up for you to look at. Ctrl-C ends it.")
            await asyncio.Event().wait()
    return 0


def _begin_afresh(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    if claim.find(place) is None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)


def _patient_policy(place: Path) -> Path:
    """The policy in use, but with more time for everybody: here an hour passes in a blink."""
    text = configuration.load().policy_file.read_text(encoding="utf-8")
    for line, slower in (
        ("tell_within_minutes = 30", "tell_within_minutes = 2880"),
        ("contact_within_minutes = 60", "contact_within_minutes = 14400"),
        ("valid_for_days = 7", "valid_for_days = 30"),
    ):
        text = text.replace(line, slower)
    written = place / "policy.toml"
    written.write_text(text, encoding="utf-8")
    return written.absolute()


@dataclass
class _Story:
    where: Running
    clock: Clock
    begins: datetime
    keys: dict[str, str]
    say: Console
    seen: list[Entry] = field(default_factory=list)
    last: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def day(self) -> float:
        return (self.clock.now() - self.begins) / timedelta(days=1)

    async def tell(self) -> None:
        """From the first visit to the first real use of what was bought."""
        await self.until_day(0)
        self.chapter("Ada reads about search engines, still a stranger to us")
        await self.track("page", name="SEO basics", properties={"page": "seo-basics", "topic": "seo"})
        await self.happens("her visit is kept, under no name", self.event("page.viewed", page="seo-basics"))

        self.chapter("She leaves her address for the SEO guide, and allows us to write")
        consent = {"email": ["promotional", "lifecycle"]}
        traits = {"email": _EMAIL, "firstName": "Ada", "timezone": "Europe/Berlin", "consent": consent}
        await self.track("identify", userId="user-42", traits=traits)
        guide = {"resource": "seo-guide", "topic": "seo"}
        await self.track("track", userId="user-42", event="resource.downloaded", properties=guide)
        await self.happens("the welcome names what she came for", self.touch("welcome"))

        await self.until_day(2)
        self.chapter("She opens a support ticket: nothing promotional while that is open")
        await self.zendesk("ticket.opened")
        await self.happens("a hold is on", self.kind("hold"))
        await self.happens("the second mail waits", self.kind("wait", touch="welcome_second", reason="hold_ticket"))
        self.never("a promotional mail under an open ticket", self.touch("welcome_second"))
        self.chapter("Support has solved it")
        await self.zendesk("ticket.solved")
        await self.happens("the hold is released", self.kind("release"))
        await self.happens("the second mail goes out now", self.touch("welcome_second"))

        await self.until_day(6)
        self.chapter("She looks at the pricing page: that ends the welcome, and a person should know")
        pricing = {"page": "pricing", "topic": "seo"}
        await self.track("page", userId="user-42", name="Pricing", properties=pricing)
        await self.happens("the welcome ends at once", self.kind("exit", journey="welcome"))
        await self.happens("sales is told, with her story", self.kind("handoff"))
        self.chapter("Kim from sales calls her; the machine keeps quiet meanwhile")
        await self.cloud_event("conversation.started", rep="Kim")
        await self.happens("the hand-off is taken", self.kind("ack"))
        await self.happens(
            "the nurture has reached its goal", self.kind("exit", journey="nurture", outcome="converted")
        )
        await self.cloud_event("conversation.ended", rep="Kim")

        await self.until_day(self.day + 1)
        self.chapter("A day later she starts a checkout and is called away")
        cart = {
            "checkout_id": "cart-1001",
            "value": 490.0,
            "currency": "EUR",
            "url": "https://www.example.com/checkout/cart-1001",
            "products": [{"name": "Search Growth plan, one year", "quantity": 1, "price": 490.0}],
        }
        await self.track("track", userId="user-42", event="Checkout Started", properties=cart)
        await self.happens("one reminder of her cart", self.touch("checkout_reminder"))

        self.chapter("She buys. Stripe says so twice, and a forger says so too")
        body = self.stripe_body()
        await self.stripe(body, "whsec of somebody else", expected=401)
        await self.stripe(body, self.keys["STRIPE_SIGNING_SECRET"], expected=200)
        await self.stripe(body, self.keys["STRIPE_SIGNING_SECRET"], expected=200)
        await self.happens(
            "the cart mails end at once", self.kind("exit", journey="abandoned-checkout", outcome="converted")
        )
        await self.happens("the first thirty days begin", self.touch("onboarding_first_step"))
        await self.happens("and go on, one step at a time", self.touch("onboarding_week_one"))
        self.chapter("She has her first ten sales from search: that is what it was for")
        await self.cloud_event("value.realized", what="ten sales from search")
        await self.happens("goal reached", self.kind("exit", journey="post-purchase-education", outcome="converted"))

        await self.until_day(self.day + 2)
        purchases = [e for e in self.seen if self.event("purchase.completed")(e)]
        if len(purchases) != 1:
            raise StoryBroke(f"one purchase was counted {len(purchases)} times")
        for template in ("checkout_help", "checkout_last", "welcome_third"):
            self.never(f"{template}: its reason had gone", self.touch(template))
        self.mail_matches()

    # What the world does.

    async def track(self, call: str, **body: Any) -> None:
        """A tracking call, as a web site makes it."""
        given = {"anonymousId": "device-7", "timestamp": self.clock.now().isoformat(), **body}
        await self.post(f"/v1/{call}", json.dumps(given).encode(), auth=httpx.BasicAuth("dev-write-key", ""))

    async def cloud_event(self, type: str, **data: Any) -> None:
        """What a telephone system or our own product says."""
        given = {
            "specversion": "1.0",
            "id": secrets.token_hex(8),
            "source": "urn:example:crm",
            "type": type,
            "time": self.clock.now().isoformat(),
            "data": {"identities": {"email": _EMAIL}, **data},
        }
        headers = {"content-type": "application/cloudevents+json", "authorization": "Bearer dev-write-key"}
        await self.post("/events", json.dumps(given).encode(), headers=headers, expected=202)

    async def zendesk(self, type: str) -> None:
        """A signed webhook from the help desk."""
        body = json.dumps(
            {
                "type": type,
                "ticket_id": "4711",
                "requester_email": _EMAIL,
                "priority": "normal",
                "updated_at": self.clock.now().isoformat(),
            }
        ).encode()
        sent = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        mac = hmac.new(self.keys["ZENDESK_SIGNING_SECRET"].encode(), sent.encode() + body, hashlib.sha256).digest()
        headers = {
            "x-zendesk-webhook-signature": base64.b64encode(mac).decode(),
            "x-zendesk-webhook-signature-timestamp": sent,
        }
        await self.post("/webhooks/zendesk", body, headers=headers)

    def stripe_body(self) -> bytes:
        """The webhook Stripe sends for a paid checkout."""
        session = {
            "id": "cs_demo_1",
            "object": "checkout.session",
            "mode": "payment",
            "payment_status": "paid",
            "status": "complete",
            "amount_total": 49000,
            "currency": "eur",
            "customer": "cus_demo_1",
            "customer_details": {"email": _EMAIL, "phone": None},
            "metadata": {"checkout_id": "cart-1001"},
        }
        return json.dumps(
            {
                "id": "evt_demo_1",
                "object": "event",
                "api_version": "2026-10-28.endive",
                "created": int(self.clock.now().timestamp()),
                "livemode": False,
                "type": "checkout.session.completed",
                "data": {"object": session},
            }
        ).encode()

    async def stripe(self, body: bytes, secret: str, *, expected: int) -> None:
        """Delivers it, signed with a secret."""
        sent = str(int(datetime.now(UTC).timestamp()))
        mac = hmac.new(secret.encode(), sent.encode() + b"." + body, hashlib.sha256).hexdigest()
        await self.post("/webhooks/stripe", body, headers={"stripe-signature": f"t={sent},v1={mac}"}, expected=expected)

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        auth: httpx.Auth | None = None,
        headers: dict[str, str] | None = None,
        expected: int = 200,
    ) -> None:
        """Sends it as any sender would: again, until it is answered."""
        given = {"content-type": "application/json", **(headers or {})}
        answer: object = None
        async with httpx.AsyncClient(base_url=self.where.gateway, trust_env=False, timeout=5) as client:
            for _ in range(60):
                try:
                    response = await client.post(path, content=body, auth=auth or httpx.Auth(), headers=given)
                except httpx.TransportError as error:
                    answer = type(error).__name__
                else:
                    answer = response.status_code
                    if answer == expected:
                        return
                    if response.status_code < 500:
                        break
                await asyncio.sleep(0.5)
        raise StoryBroke(f"POST {path} was answered {answer} instead of {expected}")

    # What is seen of it.

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Prints the journal as it is written."""
        engine = database.connect(self.where.database, pool_size=1)
        watcher = asyncio.create_task(self._watch(engine))
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.wait([watcher])
            await engine.dispose()

    async def _watch(self, engine: AsyncEngine) -> None:
        while True:
            with suppress(SQLAlchemyError):
                async with engine.connect() as conn:
                    entries = await journal.read(conn, after=self.last)
                for number, entry in entries:
                    self.last = max(self.last, number)
                    self.seen.append(entry)
                    self._print(entry)
                if entries:
                    self.changed.set()
            await asyncio.sleep(0.1)

    def _print(self, entry: Entry) -> None:
        text = _in_words(entry)
        if text is None:
            return
        day = (entry.at - self.begins) / timedelta(days=1)
        who = f"[cyan]{entry.journey}[/cyan] " if entry.journey else ""
        self.say.print(f"  day {day:5.1f}  {who}{text}", highlight=False)

    def chapter(self, text: str) -> None:
        """Says what the world is about to do."""
        self.say.print(f"\n[bold]day {max(self.day, 0):4.1f}  {text}[/bold]", highlight=False)

    async def happens(self, what: str, test: Callable[[Entry], bool]) -> None:
        """Waits until the journal has such a line.

        Raises:
            StoryBroke: It did not come in time.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                while not any(test(entry) for entry in self.seen):
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise StoryBroke(f"{what}: it did not happen within {_PATIENCE:.0f} s") from None
        self.say.print(f"            [green]✓[/green] {what}")

    def never(self, what: str, test: Callable[[Entry], bool]) -> None:
        """Holds the journal so far against something that must not be in it.

        Raises:
            StoryBroke: It is.
        """
        if any(test(entry) for entry in self.seen):
            raise StoryBroke(f"{what}: it happened")

    async def until_day(self, day: float) -> None:
        """Lets the story's clock reach a day."""
        moment = self.begins + timedelta(days=day)
        await asyncio.sleep(max(self.clock.machine_seconds(moment - self.clock.now()), 0))

    def mail_matches(self) -> None:
        """Every mail the journal tells of is in the mailbox, and no other.

        Raises:
            StoryBroke: They differ.
        """
        told = sorted(str(e.data["subject"]) for e in self.seen if e.kind == "touch" and e.data.get("status") == "sent")
        caught = sorted(letter.subject for letter in Letters(Path(self.where.mailbox_dir)).list())
        if told != caught:
            raise StoryBroke(f"the journal tells of {len(told)} mails, the mailbox has {len(caught)}")
        self.say.print(f"            [green]✓[/green] {len(told)} mails sent, {len(caught)} in the mailbox")

    def kind(self, kind: str, *, journey: str | None = None, **data: Any) -> Callable[[Entry], bool]:
        """Matches a line of the journal."""
        return lambda e: (
            e.kind == kind
            and (journey is None or e.journey == journey)
            and all(e.data.get(k) == v for k, v in data.items())
        )

    def touch(self, template: str) -> Callable[[Entry], bool]:
        """Matches a message that went out."""
        return self.kind("touch", touch=template, status="sent")

    def event(self, type: str, **data: Any) -> Callable[[Entry], bool]:
        """Matches an event that was recorded."""
        return self.kind("event", type=type, **data)


def _in_words(entry: Entry) -> str | None:
    data = entry.data
    match entry.kind:
        case "event":
            detail = next(
                (data[k] for k in ("resource", "page", "ticket_id", "checkout_id", "order_id") if k in data), ""
            )
            return f"[dim]event {data.get('type')} {detail}[/dim]"
        case "enter":
            return f"begins, by {data.get('by')}"
        case "stage":
            return f"stage {data.get('stage')}"
        case "touch" if data.get("status") == "sent":
            return f"[bold green]mail[/bold green] “{data.get('subject')}”"
        case "touch":
            return f"[yellow]{data.get('touch')} {data.get('status')}: {data.get('reason')}[/yellow]"
        case "wait" if data.get("touch"):
            return f"[yellow]{data.get('touch')} waits: {data.get('hold') or data.get('reason')}[/yellow]"
        case "drop":
            return f"[yellow]{data.get('touch')} dropped: {data.get('reason')}[/yellow]"
        case "hold" | "release":
            return f"[yellow]{entry.kind} {data.get('reason')}[/yellow]"
        case "handoff":
            return f"[bold magenta]handed to {data.get('owner')}[/bold magenta]: {data.get('reason')}"
        case "ack":
            return f"[magenta]taken by {data.get('by')}[/magenta]"
        case "escalate" | "review":
            return f"[red]{entry.kind}: {data.get('reason')}[/red]"
        case "exit":
            return f"[bold]{data.get('outcome')}[/bold]" + (f", by {data.get('by')}" if data.get("by") else "")
    return None
