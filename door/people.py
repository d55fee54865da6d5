"""``/u`` and ``/preferences``: where the links in our messages lead."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.datastructures import FormData

from contacts import preferences, store
from contacts.events import Event
from contacts.facts import Facts
from contacts.policy import Policy
from contacts.preferences import BadToken, Claim
from door.door import Door
from door.rendering import page
from templates import content

CHANNELS = {
    "email": ("Email", "by email"),
    "sms": ("Text messages", "by text message"),
    "call": ("Phone calls", "by phone"),
    "mail": ("Letters", "by post"),
    "note": ("Personal notes", "as a personal note"),
    "gift": ("Gifts", "as a gift"),
    "social": ("Direct messages", "as direct messages"),
    "chat": ("Chat", "in a chat"),
    "push": ("App notifications", "as app notifications"),
}

PURPOSES = {
    "promotional": ("News and offers", "New guides, events and offers that fit what you looked at."),
    "lifecycle": ("Help with what you bought", "Getting started, tips, and a hand when something is stuck."),
}


FREQUENCIES = {"weekly": "Weekly", "monthly": "Monthly"}

# What we write about while we know no subject is none to choose.
TOPICS = {slug: topic.name for slug, topic in content.SHIPPED.topics.items() if slug != content.FALLBACK}


def routes(door: Door) -> APIRouter:
    """The routes of this part."""
    router = APIRouter(include_in_schema=False)
    policy = door.intake.policy
    brand = policy.brand

    def show(name: str, *, status: int = 200, **context: Any) -> HTMLResponse:
        return page(name, status=status, brand=brand, **context)

    def not_ours() -> HTMLResponse:
        return show("bad_link.html", status=400)

    async def known(token: str) -> tuple[Claim, Facts]:
        claim = preferences.read(door.settings.secret, token)
        try:
            async with door.intake.engine.begin() as conn:
                return claim, await store.lock(conn, claim.contact_id)
        except store.NoSuchContact:
            raise BadToken("there is no such contact") from None

    @router.get("/u/{token}")
    async def ask(token: str) -> HTMLResponse:
        # Never acts: mail programs and virus scanners open every link in a message.
        try:
            claim = preferences.read(door.settings.secret, token)
        except BadToken:
            return not_ours()
        return show("unsubscribe.html", token=token, what=_what(claim))

    @router.post("/u/{token}")
    async def unsubscribe(token: str, request: Request) -> HTMLResponse:
        form = await request.form()
        try:
            claim, facts = await known(token)
        except BadToken:
            return not_ours()
        if form.get("List-Unsubscribe") != "One-Click":
            return show("unsubscribe.html", status=400, token=token, what=_what(claim))
        now = door.settings.clock.now()
        for event in preferences.unsubscribed(claim, facts, now):
            await door.intake.record(event, now)
        return show("unsubscribed.html", token=token, what=_what(claim))

    @router.get("/preferences/{token}")
    async def choose(token: str) -> HTMLResponse:
        try:
            claim, facts = await known(token)
        except BadToken:
            return not_ours()
        return show(
            "preferences.html", **_shown(claim, facts, policy, door.settings.clock.now()), token=token, done=None
        )

    @router.post("/preferences/{token}")
    async def save(token: str, request: Request) -> HTMLResponse:
        form = await request.form()
        try:
            claim, facts = await known(token)
        except BadToken:
            return not_ours()
        now = door.settings.clock.now()
        events = [] if facts.erased_at else _said(form, claim, facts, policy, now)
        for event in events:
            await door.intake.record(event, now)
        claim, facts = await known(token)
        done = form.get("do") if form.get("do") in ("stop", "pause", "resume") else "save"
        return show("preferences.html", **_shown(claim, facts, policy, now), token=token, done=done)

    return router


def _what(claim: Claim) -> dict[str, str]:
    return {"purpose": PURPOSES[claim.purpose][0], "by": CHANNELS[claim.channel][1]}


def _said(form: FormData, claim: Claim, facts: Facts, policy: Policy, now: datetime) -> list[Event]:
    """What a form says. Whatever was not on the page, or is none of its answers, says nothing."""
    match form.get("do"):
        case "stop":
            return preferences.stopped(facts, now)
        case "pause":
            days = {str(days): days for days in preferences.PAUSES}.get(str(form.get("days")))
            return preferences.paused(facts, days, now) if days else []
        case "resume":
            return preferences.resumed(facts, now)
    seen, ticked = ({str(name) for name in form.getlist(field)} for field in ("shown", "ticked"))
    shown = [choice for choice in preferences.choices(facts, claim) if choice.name in seen]
    return [
        *preferences.saved(facts, shown, ticked, now),
        *preferences.wished(facts, _wishes(form, seen, ticked, facts, policy), now),
    ]


def _wishes(
    form: FormData, seen: set[str], ticked: set[str], facts: Facts, policy: Policy
) -> Mapping[str, str | list[str]]:
    said: dict[str, str | list[str]] = {}
    named = preferences.wishes(facts)["topics"]
    if shown := {slug for slug in TOPICS if f"topic/{slug}" in seen}:
        said["topics"] = sorted(s for s in TOPICS if (f"topic/{s}" in ticked if s in shown else s in named))
    for name, answers in (
        ("frequency", ("as_it_comes", *policy.frequency)),
        ("preferred_channel", ("any", *preferences.channels(facts))),
    ):
        if (answer := str(form.get(name))) in answers:
            said[name] = answer
    return said


def _shown(claim: Claim, facts: Facts, policy: Policy, now: datetime) -> dict[str, Any]:
    choices = preferences.choices(facts, claim)
    groups = {
        channel: {
            "title": CHANNELS[channel][0],
            "by": CHANNELS[channel][1],
            "address": _hinted(facts.address(channel)),
            "boxes": [(c, *PURPOSES[c.purpose]) for c in choices if c.channel == channel],
        }
        for channel in dict.fromkeys(c.channel for c in choices)
    }
    pause = preferences.pause(facts, now)
    until = pause.expires_at.astimezone(facts.zone(policy.defaults.timezone)) if pause and pause.expires_at else None
    counted = dict.fromkeys(p for cap in policy.frequency.values() for p in cap.purposes)
    return {
        "groups": groups,
        "granted": [c for c in choices if c.granted],
        "erased": facts.erased_at is not None,
        "wishes": preferences.wishes(facts),
        "topics": {slug: name[:1].upper() + name[1:] for slug, name in TOPICS.items()},
        "frequencies": {name: (FREQUENCIES[name], cap.max, f"{cap.days:g}") for name, cap in policy.frequency.items()},
        "counted": " and ".join(PURPOSES[purpose][0] for purpose in counted),
        "channels": {
            c: (CHANNELS[c][0], CHANNELS[c][1], _hinted(facts.address(c))) for c in preferences.channels(facts)
        },
        "pauses": preferences.PAUSES,
        "paused": pause is not None,
        "until": until and f"{until.day} {until:%B %Y}",
    }


def _hinted(address: str | None) -> str | None:
    """Enough of an address for its owner to know it; a forwarded message must not tell more."""
    if address is None:
        return None
    name, at, domain = address.partition("@")
    return f"{name[:1]}…@{domain}" if at else f"…{address[-3:]}"
