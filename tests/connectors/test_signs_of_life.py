"""What connectors tell under names of their own: what is the contact's doing, and what only happens to them."""

import re
from pathlib import Path

from contacts.engagement import is_sign_of_life

THEIR_DOING = {"custom.stripe_checkout", "custom.sms_help", "custom.gift_redeemed"}

NAMED = re.compile(r'"(custom\.[a-z_]+)')


def test_of_every_name_it_is_said_whose_doing_it_is() -> None:
    files = (Path(__file__).parents[2] / "connectors").glob("*.py")
    names = {name for file in files for name in NAMED.findall(file.read_text())}
    assert names > THEIR_DOING
    assert {name for name in names if is_sign_of_life(name)} == THEIR_DOING
