"""Nobody who was erased is made anew by telling a system of it, nor anybody who said no by telling it of that."""

from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.base import Sink, Told
from connectors.errors import NeverAgain
from contacts.events import identities
from tests.connectors.network import SETTINGS, Network

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
BY_ADDRESS = (("email", "zoe@example.com"), ("phone", "+4930901820"), ("user", "u-1"))
ERASES = {
    "calendly": "POST api.calendly.com/data_compliance/deletion/invitees",
    "customerio": "DELETE track.customer.io/api/v1/customers/u-1",
    "hubspot": "POST api.hubapi.com/crm/v3/objects/contacts/gdpr-delete",
    # Whoever is behind it acts on it.
    "make": "POST hook.eu1.make.com/abc",
}
"""What a system is asked for when a contact is erased; of any other, nothing."""

SINKS = [name for name in SETTINGS if isinstance(Network().made(name), Sink)]


def told(type: str, *who: tuple[str, str], **data: Any) -> Told:
    return Told("0b5a-11", type, AT, "c-1", identities(*who), data)


def test_every_system_that_is_told_is_looked_at() -> None:
    assert {"activecampaign", "clickfunnels", "gohighlevel", "intercom", "klaviyo", "manychat", "salesforce"} <= {
        *SINKS
    }


@pytest.mark.parametrize("name", SINKS)
async def test_whoever_was_erased_is_not_made_anew(name: str) -> None:
    for who in (BY_ADDRESS, (*BY_ADDRESS, (name, "41"))):
        network = Network()
        try:
            await network.made(name).tell(told("contact.erased", *who, first_name="Zoe"))
        except NeverAgain:
            assert name not in ERASES
        assert network.asked == ([ERASES[name]] if name in ERASES else [])


KEEPS = {
    # A no may be told before the contact is: these keep it for whoever they come to know.
    "customerio": {"PUT track.customer.io/api/v1/customers/u-1"},
    "hubspot": {"POST api.hubapi.com/communication-preferences/v4/statuses/zoe@example.com/unsubscribe-all"},
    "klaviyo": {"POST a.klaviyo.com/api/profile-subscription-bulk-delete-jobs"},
    "make": {"POST hook.eu1.make.com/abc"},
}
"""What a system that does not know the contact is asked for at a no to everything; of any other, nothing."""


@pytest.mark.parametrize("type", ["consent.withdrawn", "message.unsubscribed", "message.complained"])
@pytest.mark.parametrize("name", SINKS)
async def test_nobody_is_made_by_a_no(name: str, type: str) -> None:
    network = Network()
    try:
        await network.made(name).tell(told(type, *BY_ADDRESS, channel="all", purpose="all", first_name="Zoe"))
    except NeverAgain:
        assert name not in KEEPS
    assert {*network.asked} == KEEPS.get(name, set())
