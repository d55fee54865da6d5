"""What each connector can ask, with ordinary data and at the edges."""

from collections.abc import Sequence

from contract.cases import gohighlevel, hubspot, intercom, klaviyo, resend, stripe, twilio
from contract.peer import Vendor

VENDORS: Sequence[Vendor] = (
    gohighlevel.VENDOR,
    hubspot.VENDOR,
    intercom.VENDOR,
    klaviyo.VENDOR,
    resend.VENDOR,
    stripe.VENDOR,
    twilio.VENDOR,
)
