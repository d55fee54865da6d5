"""What a person may say of an approval, and what their word is not."""

from typing import Any

import pytest

from contacts import facts as facts_module
from contacts.events import InvalidEvent
from contacts.facts import Facts
from contacts.policy import Policy
from tests.contacts.support import happening, told

SAID: dict[str, Any] = {"approval_id": "a-1", "approved": True, "by": " Mia "}


def test_an_answer_says_what_and_who() -> None:
    assert told("approval.answered", **SAID, note="for Alice").data == {**SAID, "by": "Mia", "note": "for Alice"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("approval_id", None),
        ("approval_id", ""),
        ("approved", None),
        ("approved", "yes"),
        ("approved", "true"),
        ("approved", 1),
        ("by", None),
        ("by", " "),
    ],
)
def test_what_is_no_clear_answer_is_refused(field: str, value: object) -> None:
    data = {name: given for name, given in {**SAID, field: value}.items() if given is not None}
    with pytest.raises(InvalidEvent, match=f"^data.{field}: "):
        told("approval.answered", **data)


def test_a_question_and_its_answer_are_nothing_the_contact_did(policy: Policy) -> None:
    known = Facts("c")
    for event in (happening("approval.asked", approval_id="a-1"), happening("approval.answered", **SAID)):
        known = facts_module.apply(known, event, policy)
    assert known.entry is None
