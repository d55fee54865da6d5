"""``/u`` and ``/preferences``: where the links in our messages lead."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from contacts import preferences, store
from contacts.facts import Facts
from contacts.preferences import BadToken, Claim
from door.door import Door
from door.rendering import page

CHANNELS = {
    "email": ("Email", "by email"),
    "sms": ("Text messages", "by text message"),
    "call": ("Phone calls", "by phone"),
    "mail": ("Letters", "by post"),
    "social": ("Direct messages", "as direct messages"),
    "chat": ("Chat", "in a chat"),
    "push": ("App notifications", "as app notifications"),
}

PURPOSES = {
    "promotional": ("News and offers", "New guides, events and offers that fit what you looked at."),
    "lifecycle": ("Help with what you bought", "Getting started, tips, and a hand when something is stuck."),
}


def routes(door: Door) -> APIRouter:
    """The routes of this part."""
    router = APIRouter(include_in_schema=False)
    brand = door.intake.policy.brand

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
        return show("preferences.html", **_boxes(claim, facts), token=token, done=None)

    @router.post("/preferences/{token}")
    async def save(token: str, request: Request) -> HTMLResponse:
        form = await request.form()
        try:
            claim, facts = await known(token)
        except BadToken:
            return not_ours()
        now = door.settings.clock.now()
        if form.get("do") == "stop":
            events, done = preferences.stopped(facts, now), "stopped"
        else:
            seen = form.getlist("shown")
            shown = [choice for choice in preferences.choices(facts, claim) if choice.name in seen]
            ticked = [str(name) for name in form.getlist("ticked")]
            events, done = preferences.saved(facts, shown, ticked, now), "saved"
        for event in events:
            await door.intake.record(event, now)
        claim, facts = await known(token)
        return show("preferences.html", **_boxes(claim, facts), token=token, done=done)

    return router


def _what(claim: Claim) -> dict[str, str]:
    return {"purpose": PURPOSES[claim.purpose][0], "by": CHANNELS[claim.channel][1]}


def _boxes(claim: Claim, facts: Facts) -> dict[str, Any]:
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
    return {"groups": groups, "granted": [c for c in choices if c.granted], "erased": facts.erased_at is not None}


def _hinted(address: str | None) -> str | None:
    """Enough of an address for its owner to know it; a forwarded message must not tell more."""
    if address is None:
        return None
    name, at, domain = address.partition("@")
    return f"{name[:1]}…@{domain}" if at else f"…{address[-3:]}"
