"""``/card``: where a customer whose payment failed puts in another card."""

from uuid import uuid4

import structlog
from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from connectors.errors import ConnectorError
from contacts import card_link, store
from contacts.preferences import BadToken
from door.door import Door
from door.rendering import page

log = structlog.get_logger()


def routes(door: Door) -> APIRouter:
    """The routes of this part."""
    router = APIRouter(include_in_schema=False)
    policy = door.intake.policy

    @router.get("/card/{token}")
    async def card(token: str) -> Response:
        """Leads to a page that is made now; to the business's own billing page where none can be made."""
        try:
            contact_id = card_link.read(door.settings.secret, token)
        except BadToken:
            return page("bad_link.html", status=400, brand=policy.brand)
        address = await _made_now(door, contact_id) or policy.links.billing
        if address is None:
            return page("unavailable.html", status=503, brand=policy.brand)
        return RedirectResponse(address, 303, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})

    return router


async def _made_now(door: Door, contact_id: str) -> str | None:
    if door.card_pages is None:
        return None
    async with door.intake.engine.connect() as conn:
        try:
            facts = await store.find(conn, contact_id)
        except store.NoSuchContact:
            return None
        if facts.erased_at is not None:
            return None
        customers = await store.identities_of(conn, facts.contact_id, door.card_pages.name)
    for customer in reversed(customers):
        try:
            return await door.card_pages.card_page(customer, str(uuid4()))
        except ConnectorError as error:
            log.warning("card.no_page", reason=error.reason, request_id=error.request_id)
    return None
