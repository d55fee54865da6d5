"""Klaviyo: profiles, events and consent."""

import httpx
from pydantic import HttpUrl, SecretStr

from connectors.base import Told
from connectors.klaviyo import Klaviyo, KlaviyoSettings
from contract.cases.samples import MANY, UNICODE_TEXT, told
from contract.peer import Answer, Case, File, Run, Vendor


def _tell(what: Told, list_id: str | None = None) -> Run:
    async def run(client: httpx.AsyncClient, base_url: str) -> object:
        settings = KlaviyoSettings(api_key=SecretStr("pk_test"), base_url=HttpUrl(base_url), list_id=list_id)
        return await Klaviyo(settings, client).tell(what)

    return run


_PHONE = ("phone", "+4930901820")
_ID = ("klaviyo", "01GDDKASAP8TKDDA2GRZDSVP4H")
_NOBODY = {"GET /api/profiles": Answer({"data": []})}

VENDOR = Vendor(
    "klaviyo",
    files=(File("klaviyo-*.json"),),
    cases=(
        Case("a profile", _tell(told("contact.updated", first_name="Alice", last_name="Meyer", company="Fernhill"))),
        Case("a profile with an id", _tell(told("contact.identified", _ID, ("email", "alice@example.com")))),
        Case(
            "a profile of somebody known by many names",
            _tell(
                told(
                    "contact.updated",
                    *MANY,
                    first_name="Zoë 🌱",
                    locale="de-DE",
                    timezone="Europe/Berlin",
                    topics=["a"],
                )
            ),
        ),
        Case("a profile of a phone number", _tell(told("contact.updated", _PHONE, note=UNICODE_TEXT))),
        Case(
            "an event",
            _tell(told("purchase.completed", value=4990, currency="EUR", order_id="1", items=[{"sku": "a"}])),
        ),
        Case("an event without data", _tell(told("custom.seen", _ID))),
        Case(
            "an event of somebody anonymous", _tell(told("page.viewed", ("anonymous", "a-1"), page="pricing", url=None))
        ),
        Case("an event of a user", _tell(told("custom.long", ("user", "42"), text="x" * 5000))),
        Case("an event of a phone number", _tell(told("call.missed", _PHONE))),
        Case("an event in yen", _tell(told("purchase.completed", value=500, currency="JPY", order_id="1"))),
        Case("a yes", _tell(told("consent.granted", channel="email", purpose="promotional")), _NOBODY),
        Case(
            "a yes on every channel, to a list",
            _tell(told("consent.granted", *MANY, channel="all", purpose="all"), "Y6nRLr"),
            _NOBODY,
        ),
        Case(
            "a yes of a quoted address",
            _tell(told("consent.granted", ("email", "o'brien@example.com"), channel="email")),
        ),
        Case("a no", _tell(told("consent.withdrawn", channel="email", purpose="promotional"))),
        Case("a complaint", _tell(told("message.complained", *MANY))),
        Case("a no to text messages", _tell(told("message.unsubscribed", _PHONE, channel="sms"))),
    ),
    operations=(
        "POST /api/profile-import",
        "GET /api/profiles",
        "POST /api/events",
        "POST /api/profile-subscription-bulk-create-jobs",
        "POST /api/profile-subscription-bulk-delete-jobs",
    ),
    mock_blind="the mock does not read bodies of this media type: judged by the schema alone",
)
