"""One touch: take the gate, render, call the provider, record what came back."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities import live
from activities import signatures as ask
from activities.context import message_context
from activities.halts import ask_a_person
from activities.record import write_lines
from activities.running import RunTime, pulse
from connectors.base import Accepted, Alert, Directory, LiveFacts, Message, Sender
from connectors.errors import BadAddress, ConnectorError, NeverAgain, OptedOut, TryAgain, Unknown
from contacts import outages, store
from contacts.claims import Claim, Gate
from contacts.clock import Clock
from contacts.events import Identity, event, identities, identity
from contacts.facts import Facts, address_kind
from contacts.gate import Ask
from contacts.intake import Intake, again_after_deadlock
from contacts.specs import Purpose
from templates.render import Declared, Rendered, TemplateError, render, versions

ON_ITS_WAY = timedelta(seconds=30)
"""So long after it began a call may still arrive at the provider, whether or not we still listen for its answer.

Our own connections give up after ten silent seconds.
"""

LOOK_AGAIN = timedelta(minutes=5)
"""How often at least a provider is asked for a message that it may list any moment: a run waits for the answer."""

KEYS_LAST = timedelta(hours=23)
"""No provider promises to remember a key for longer than a day: after that a second call with it may be a second
message, and its sender is one that drops no repeats."""

_NOT_SO_FAST = timedelta(minutes=1)

Links = Callable[[str, str, Purpose, str], Mapping[str, str]]
"""(contact id, channel, purpose, touch key) to the links a message carries: unsubscribe_url, preferences_url."""


@dataclass(frozen=True)
class Deliver:
    """The activity behind ``Journey.send``."""

    engine: AsyncEngine
    gate: Gate
    intake: Intake
    senders: Mapping[str, Sender]
    links: Links
    clock: Clock
    directory: Directory | None = None
    live_facts: Sequence[LiveFacts] = ()
    alert: Alert | None = None
    fallbacks: Mapping[str, Sender] = field(default_factory=dict)
    card_url: Callable[[str], str] | None = None

    @activity.defn(name=ask.DELIVER)
    async def deliver(self, request: ask.DeliverRequest) -> ask.Delivery:
        """Sends a touch if it may go out now. Safe to repeat at any point."""
        time = RunTime(request.run.now, self.clock)
        async with pulse():
            try:
                message = versions(request.template)
            except TemplateError as error:
                raise _later(error) from None
            wanted = self._ask(request, message, time.now())
            if "email" in wanted.candidates and self.directory is not None:
                await self._learn_address(request.run.contact_id, self.directory, time.now())
            fetched = await self._fetch(request, message[0], wanted)
            return await self._attempt(request, wanted, fetched, time)

    async def _attempt(
        self, request: ask.DeliverRequest, wanted: Ask, fetched: live.Fetched, time: RunTime
    ) -> ask.Delivery:
        claim = await self._claim(request, replace(wanted, now=time.now()))
        match claim.status:
            case "claimed":
                return await self._send(request, claim, fetched, time)
            case "reclaimed":
                return await self._after_a_call(request, claim, wanted, fetched, time)
            case _:
                if claim.reason == "paused" and self.alert is not None:
                    await ask_a_person(self.engine, self.alert, time.now())
                return ask.Delivery(claim.status, claim.reason, claim.until, claim.hold, claim.touch_id)

    def _ask(self, request: ask.DeliverRequest, message: Sequence[Declared], now: datetime) -> Ask:
        """The touch on the channel the run names, or on those of its versions that somebody sends on."""
        written = (request.channel,) if request.channel is not None else tuple(v.channel for v in message)
        served = tuple(channel for channel in written if channel in self.senders)
        if not served:
            raise _no_sender(" or ".join(written))
        default = timedelta(days=self.gate.policy.defaults.valid_for_days)
        return Ask(
            key=request.key,
            template=request.template,
            channel=served[0],
            purpose=request.purpose,
            journey=request.run.journey,
            now=now,
            valid_until=request.valid_until or request.asked_at + default,
            channels=served if len(written) > 1 else (),
            role=message[0].role,
        )

    async def _learn_address(self, contact_id: str, directory: Directory, now: datetime) -> None:
        """A contact known only by another system's id may have an address there; without one the gate would drop."""
        async with self.engine.connect() as conn:
            if (await store.find(conn, contact_id)).address("email") is not None:
                return
            ids = await store.identities_of(conn, contact_id, directory.name)
        for id in ids:
            try:
                address = await directory.email(id)
            except NeverAgain:
                continue
            except ConnectorError as error:
                raise _later(error) from None
            if address is not None:
                found = event(
                    "contact.updated",
                    source=directory.name,
                    source_id=f"looked-up/{id}/{address}",
                    occurred_at=now,
                    identities=identities((directory.name, id), ("email", address)),
                    data={"email": address},
                )
                await self.intake.record(found, now)
                return

    async def _fetch(self, request: ask.DeliverRequest, message: Declared, wanted: Ask) -> live.Fetched:
        """The values the message wants live, or what is used instead.

        They are fetched before the claim: a claim must be followed by its call at once, for a worker that dies between
        the two leaves a touch nobody can tell the fate of, and an event that comes in between comes too late. But a
        gate that says wait, perhaps many times, must cost no call, and nobody is asked about who may not be written
        to. So the gate is asked twice: here without a lock, and for good when it claims.
        """
        needs = {name: need for name, need in message.context.items() if need.live_seconds is not None}
        if not needs:
            return live.Fetched()
        async with self.engine.connect() as conn:
            run = request.run
            if not await self.gate.would_send(conn, wanted, run_id=run.run_id, contact_id=run.contact_id):
                return live.Fetched(outcomes=dict.fromkeys(needs, live.NOT_ASKED))
            person = await store.known_as(conn, (await store.find(conn, run.contact_id)).contact_id)
        return await live.fetch(self.live_facts, needs, person, request.entry.get("data") or {})

    @again_after_deadlock
    async def _claim(self, request: ask.DeliverRequest, wanted: Ask) -> Claim:
        run = request.run
        providers = await self._providers(wanted.candidates)
        async with self.engine.begin() as conn:
            claim = await self.gate.claim(
                conn, wanted, run_id=run.run_id, contact_id=run.contact_id, stage=run.stage, providers=providers
            )
            await write_lines(conn, request.run, request.lines, claim.until)
        return claim

    async def _after_a_call(
        self, request: ask.DeliverRequest, claim: Claim, wanted: Ask, fetched: live.Fetched, time: RunTime
    ) -> ask.Delivery:
        """An earlier attempt may have called the provider: what came of it, or another call where that is right."""
        sender = self._sender(claim)
        drops_repeats = sender.idempotent and claim.called_ago < KEYS_LAST
        if sender.listed_within is not None and not drops_repeats:
            try:
                found = await self._listed(sender, sender.listed_within, request.key, claim.called_ago)
            except ConnectorError as error:
                if isinstance(error, NeverAgain) or (claim.reason is not None and claim.until is None):
                    # It cannot be told, or need not be told at any price: no call will follow.
                    return await self._settle(claim, "unknown", claim.reason or error.reason, time)
                raise _later(error) from None
            if found is not None:
                return await self._sent(claim, sender, found, time)
            async with self.engine.begin() as conn:
                await self.gate.release(conn, claim.touch_id, "the provider never took it")
            # Nothing has gone out, so all that has been said since counts as for a first call.
            return await self._attempt(request, wanted, fetched, time)
        if not drops_repeats and request.purpose != "transactional":
            return await self._settle(claim, "unknown", claim.reason or "no answer from the provider", time)
        if claim.until is not None:
            return ask.Delivery("waiting", claim.reason, claim.until, claim.hold, claim.touch_id)
        if claim.reason is not None:
            # It may have gone out before, and must not go out now.
            return await self._settle(claim, "unknown", claim.reason, time)
        return await self._send(request, claim, fetched, time)

    async def _listed(self, sender: Sender, within: timedelta, key: str, called_ago: timedelta) -> Accepted | None:
        """What the provider lists of a touch; None once that is proof: whatever had been called would be listed."""
        found = await sender.look_up(key)
        last_call = KEYS_LAST if sender.idempotent else timedelta(0)
        left = last_call + ON_ITS_WAY + within - called_ago
        if found is None and left > timedelta(0):
            raise ApplicationError(
                "an earlier call may still be on its way, or what came of it not be listed yet",
                type="Unknown",
                next_retry_delay=min(left, LOOK_AGAIN),
                category=ApplicationErrorCategory.BENIGN,
            )
        return found

    async def _send(
        self, request: ask.DeliverRequest, claim: Claim, fetched: live.Fetched, time: RunTime
    ) -> ask.Delivery:
        sender = self._sender(claim)
        first = claim.status == "claimed"
        try:
            rendered = self._render(request, claim, fetched)
            if first:
                await self._keep(claim, rendered, fetched, time)
            accepted = await sender.send(self._message(request, claim, rendered))
        except (TryAgain, TemplateError) as error:
            async with self.engine.begin() as conn:
                await self._note_failure(conn, sender, error)
                if first:
                    # Of a call before this one nobody knows what came; such a touch stays claimed.
                    await self.gate.release(conn, claim.touch_id, _because(error))
            raise _later(error) from None
        except NeverAgain as error:
            if isinstance(error, BadAddress):
                await self._suppress(claim, error, time)
            status = "failed" if first else "unknown"
            return await self._settle(claim, status, error.reason, time, request_id=error.request_id)
        except Unknown as error:
            async with self.engine.begin() as conn:
                await self._note_failure(conn, sender, error)
                await self.gate.note(conn, claim.touch_id, reason=error.reason, request_id=error.request_id)
            if sender.idempotent or sender.listed_within is not None or request.purpose == "transactional":
                # The next attempt finds the claim and asks the provider, or may simply send again.
                raise _later(error) from None
            return await self._settle(claim, "unknown", error.reason, time)
        return await self._sent(claim, sender, accepted, time)

    async def _keep(self, claim: Claim, rendered: Rendered, fetched: live.Fetched, time: RunTime) -> None:
        """What must be known before the call: what it says, which may be all that is ever known, and who may answer.

        Whoever answers by the address of a message is its recipient, unless that is somebody else's already. A number
        in a CRM names nobody before: it may be a switchboard's, and no text message ever went there.
        """
        says: dict[str, Any] = {
            "subject": rendered.subject,
            "body": rendered.text,
            "template_hash": rendered.fingerprint,
        }
        if fetched.outcomes:
            says["live"] = fetched.outcomes
        address = _address(claim)
        async with self.engine.begin() as conn:
            if address is not None:
                await store.be_known_by(conn, claim.facts.contact_id, address, time.now())
            await self.gate.note(conn, claim.touch_id, **says)

    async def _providers(self, channels: Sequence[str]) -> dict[str, str]:
        """By channel, who would carry a message now: the first, or who stands in for it while it is out."""
        chosen = {channel: self.senders[channel] for channel in channels}
        for channel in [c for c in channels if c in self.fallbacks]:
            after = timedelta(minutes=self.gate.policy.carriers[channel].after_minutes)
            async with self.engine.begin() as conn:
                if not await outages.stands(conn, chosen[channel].name, after):
                    chosen[channel] = self.fallbacks[channel]
        return {channel: sender.name for channel, sender in chosen.items()}

    async def _note_failure(self, conn: AsyncConnection, sender: Sender, error: Exception) -> None:
        """Keeps since when a provider is out, where somebody stands in for it. A short "not so fast" is no outage."""
        soon = isinstance(error, TryAgain) and error.delay is not None and error.delay <= _NOT_SO_FAST
        if self.fallbacks and isinstance(error, ConnectorError) and not soon:
            await outages.failed(conn, sender.name)

    def _sender(self, claim: Claim) -> Sender:
        # A touch keeps channel and provider it was claimed for, and the connector may have gone since.
        there = [one for one in (self.senders.get(claim.channel), self.fallbacks.get(claim.channel)) if one is not None]
        found = next((one for one in there if claim.provider in (None, one.name)), None)
        if found is None:
            raise _no_sender(claim.channel if claim.provider is None else f"{claim.channel} as {claim.provider}")
        return found

    def _render(self, request: ask.DeliverRequest, claim: Claim, fetched: live.Fetched) -> Rendered:
        policy, ways_out = self.gate.policy, self._links(request, claim)
        if self.card_url is not None:
            billing = policy.links.model_copy(update={"billing": self.card_url(claim.facts.contact_id)})
            policy = policy.model_copy(update={"links": billing})
        told = message_context(request.entry, request.context, claim.facts, policy, ways_out, request.run.now)
        needs = versions(request.template)[0].context
        return render(request.template, live.freshest(told, fetched, needs), claim.channel)

    def _links(self, request: ask.DeliverRequest, claim: Claim) -> Mapping[str, str]:
        if request.purpose == "transactional":
            return {}
        return self.links(claim.facts.contact_id, claim.channel, request.purpose, request.key)

    def _message(self, request: ask.DeliverRequest, claim: Claim, rendered: Rendered) -> Message:
        return Message(
            key=request.key,
            to=claim.facts.address(claim.channel) or "",
            subject=rendered.subject,
            text=rendered.text,
            html=rendered.html,
            purpose=request.purpose,
            unsubscribe_url=self._links(request, claim).get("unsubscribe_url"),
            card=rendered.card,
            metadata={
                "journey": request.run.journey,
                "template": request.template,
                "due": (request.run.now + timedelta(days=1)).isoformat(),
                **_by_post(claim.channel, claim.facts),
            },
        )

    async def _sent(self, claim: Claim, sender: Sender, accepted: Accepted, time: RunTime) -> ask.Delivery:
        by = {"provider": sender.name, "provider_id": accepted.provider_id, "request_id": accepted.request_id}
        if self.fallbacks:
            async with self.engine.begin() as conn:
                await outages.worked(conn, sender.name)
        return await self._settle(claim, "sent", None, time, **by)

    async def _settle(
        self, claim: Claim, status: Any, reason: str | None, time: RunTime, **values: Any
    ) -> ask.Delivery:
        async with self.engine.begin() as conn:
            await self.gate.settle(conn, claim.touch_id, status, time.now(), reason=reason, **values)
        return ask.Delivery(status, reason, touch_id=claim.touch_id)

    async def _suppress(self, claim: Claim, refusal: BadAddress, time: RunTime) -> None:
        """The provider refused the address itself: that is a bounce, whoever tells us first.

        Where its owner had opted out there, it is their word: kept as one, of whoever is known by the address, a later
        word of theirs takes it back.
        """
        now, channel = time.now(), claim.channel
        type, said = "message.bounced", {"address": claim.facts.address(channel), "permanent": True}
        who = identities(("contact", claim.facts.contact_id))
        if isinstance(refusal, OptedOut):
            if address := _address(claim):
                who = (address,)
            type, said = "consent.withdrawn", {"purpose": "all", "evidence": f"{refusal.connector}: {refusal.reason}"}
        refused = event(
            type,
            source="perennial",
            source_id=f"refused/{claim.touch_id}",
            occurred_at=now,
            identities=who,
            data={"channel": channel, "reason": refusal.reason, **said},
        )
        await self.intake.record(refused, now)


def _address(claim: Claim) -> Identity | None:
    """The address a touch goes to, as the identity it is."""
    return identity(address_kind(claim.channel), claim.facts.address(claim.channel))


def _by_post(channel: str, facts: Facts) -> dict[str, str]:
    """What whoever sends a letter or a parcel needs besides the address that says who is meant."""
    if channel not in ("mail", "gift"):
        return {}
    name = facts.get("name") or " ".join(filter(None, (facts.get("first_name"), facts.get("last_name"))))
    known = {"name": name} if name else {}
    if place := facts.get("postal_address"):
        phone = {"phone": facts.get("phone")} if facts.get("phone") else {}
        known["address"] = json.dumps({**known, **phone, **place})
    return known


def _no_sender(channels: str) -> ApplicationError:
    return ApplicationError(f"no connector sends on {channels}", type="NoSender")


def _because(error: TryAgain | TemplateError) -> str:
    return error.reason if isinstance(error, TryAgain) else str(error)


def _later(error: ConnectorError | TemplateError) -> ApplicationError:
    """The same in Temporal's words: another attempt is worth it, when the provider says or when the policy does."""
    delay = error.delay if isinstance(error, TryAgain) else None
    category = ApplicationErrorCategory.BENIGN if delay else ApplicationErrorCategory.UNSPECIFIED
    return ApplicationError(str(error), type=type(error).__name__, next_retry_delay=delay, category=category)
