"""Stripe: events, customers, invoices and the card page."""

from collections.abc import Awaitable, Callable

import httpx
from pydantic import HttpUrl, SecretStr

from connectors.stripe import Stripe, StripeSettings
from contacts.events import identities
from contract.cases.samples import AT, LONG_KEY
from contract.peer import Answer, Case, File, Run, Vendor


def _ask(act: Callable[[Stripe], Awaitable[object]], return_url: str | None = None) -> Run:
    async def run(client: httpx.AsyncClient, base_url: str) -> object:
        settings = StripeSettings(
            api_key=SecretStr("sk_test_1"),
            base_url=HttpUrl(base_url),
            portal_return_url=HttpUrl(return_url) if return_url else None,
        )
        return await act(Stripe(settings, client))

    return run


_KNOWN = {"GET /v1/customers": Answer({"data": [{"id": "cus_1", "email": "alice@example.com"}]})}

_CUSTOMER, _ADDRESS = identities(("stripe", "cus_1")), identities(("email", "alice@example.com"))

VENDOR = Vendor(
    "stripe",
    files=(File("stripe-*.json"),),
    cases=(
        Case("the first poll", _ask(lambda stripe: stripe.poll(None, AT))),
        Case("a poll", _ask(lambda stripe: stripe.poll("evt_1PXyZ", AT))),
        Case("a poll of an empty account", _ask(lambda stripe: stripe.poll("", AT))),
        Case("the address of a customer", _ask(lambda stripe: stripe.email("cus_QXg1o8vcGmoR32"))),
        Case("a customer with a strange id", _ask(lambda stripe: stripe.customer("cus/ü 1"))),
        Case("a customer by address", _ask(lambda stripe: stripe.customer_by_email("zoë+läuft@example.com"))),
        Case("the open invoice", _ask(lambda stripe: stripe.fetch("invoice", _CUSTOMER, {}))),
        Case("the open invoice by address", _ask(lambda stripe: stripe.fetch("invoice", _ADDRESS, {})), _KNOWN),
        Case(
            "the invoice that failed", _ask(lambda stripe: stripe.fetch("invoice", _CUSTOMER, {"invoice_id": "in_1"}))
        ),
        Case("a card page", _ask(lambda stripe: stripe.card_page("cus_1", LONG_KEY))),
        Case(
            "a card page with a way back", _ask(lambda stripe: stripe.card_page("cus_1", "k"), "https://example.com/")
        ),
    ),
    operations=(
        "GET /v1/events",
        "GET /v1/customers",
        "GET /v1/customers/{customer}",
        "GET /v1/invoices",
        "GET /v1/invoices/{invoice}",
        "POST /v1/billing_portal/sessions",
    ),
    remarks=(
        "the file is of 2023-09-12 and the connector asks for a later version: what came since, or went, is not judged",
    ),
)
