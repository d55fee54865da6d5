"""Whose event is it?"""

import pytest

from contacts.events import Identity
from contacts.identity import Owner, Resolution, resolve

EMAIL = Identity("email", "alice@example.com")
OTHER_EMAIL = Identity("email", "bob@example.com")
USER = Identity("user", "u-1")
BROWSER = Identity("anonymous", "browser")
TABLET = Identity("anonymous", "tablet")

ALICE = Owner("alice", frozenset({"email", "anonymous"}), 1)
BOB = Owner("bob", frozenset({"email"}), 2)
CAROL = Owner("carol", frozenset({"user"}), 0)
VISITOR = Owner("visitor", frozenset({"anonymous"}), 3)
SECOND_VISITOR = Owner("visitor-2", frozenset({"anonymous"}), 4)


@pytest.mark.parametrize(
    ("given", "owners", "expected"),
    [
        pytest.param([EMAIL, BROWSER], {}, Resolution(None, (), (EMAIL, BROWSER)), id="somebody new"),
        pytest.param([EMAIL], {EMAIL: ALICE}, Resolution("alice", (), ()), id="known"),
        pytest.param([BROWSER], {BROWSER: VISITOR}, Resolution("visitor", (), ()), id="a visitor comes back"),
        pytest.param(
            [EMAIL, BROWSER], {BROWSER: VISITOR}, Resolution("visitor", (), (EMAIL,)), id="a visitor gives an address"
        ),
        pytest.param(
            [EMAIL, BROWSER],
            {EMAIL: BOB, BROWSER: VISITOR},
            Resolution("bob", ("visitor",), ()),
            id="a known person on a new device brings along what it did",
        ),
        pytest.param(
            [EMAIL, USER], {EMAIL: BOB, USER: CAROL}, Resolution("carol", ("bob",), ()), id="two names of one person"
        ),
        pytest.param(
            [BROWSER, TABLET],
            {BROWSER: VISITOR, TABLET: SECOND_VISITOR},
            Resolution("visitor", ("visitor-2",), ()),
            id="two devices nobody known has",
        ),
        pytest.param(
            [OTHER_EMAIL, BROWSER],
            {OTHER_EMAIL: BOB, BROWSER: ALICE},
            Resolution("bob", (), ()),
            id="Bob at Alice's computer stays Bob",
        ),
        pytest.param(
            [OTHER_EMAIL, BROWSER],
            {BROWSER: ALICE},
            Resolution(None, (), (OTHER_EMAIL,)),
            id="a new address at Alice's computer is a new person, and the computer stays hers",
        ),
        pytest.param(
            [USER, BROWSER],
            {BROWSER: ALICE},
            Resolution("alice", (), (USER,)),
            id="Alice logs in on her computer: she had no login yet",
        ),
        pytest.param(
            [BROWSER], {BROWSER: ALICE}, Resolution("alice", (), ()), id="a click on Alice's computer is hers"
        ),
        pytest.param(
            [BROWSER, TABLET],
            {BROWSER: ALICE, TABLET: BOB},
            Resolution("alice", (), ()),
            id="devices of two people join nobody",
        ),
    ],
)
def test_rules(given: list[Identity], owners: dict[Identity, Owner], expected: Resolution) -> None:
    assert resolve(given, owners, merging=False) == expected


def test_an_alias_joins_even_devices() -> None:
    owners = {BROWSER: ALICE, TABLET: BOB}
    assert resolve([BROWSER, TABLET], owners, merging=True) == Resolution("alice", ("bob",), ())
    assert resolve([BROWSER, USER], {BROWSER: ALICE}, merging=True) == Resolution("alice", (), (USER,))


def test_the_oldest_is_kept_whatever_the_order() -> None:
    owners = {EMAIL: ALICE, OTHER_EMAIL: BOB, USER: CAROL}
    for given in ([EMAIL, OTHER_EMAIL, USER], [USER, OTHER_EMAIL, EMAIL]):
        resolution = resolve(given, owners, merging=False)
        assert resolution.contact_id == "carol"
        assert set(resolution.absorb) == {"alice", "bob"}
