"""What is read from the one journey whose message comes with its event."""

import pytest

from contacts.events import InvalidEvent
from ops import words
from tests.contacts.support import told
from workflows.broadcast import Broadcast
from workflows.reading import flow_of


def test_its_message_is_the_one_its_event_names() -> None:
    flow = flow_of(Broadcast)
    assert flow.card.messages == ()
    assert [words.step(step) for step in flow.steps] == ["sends the message its event names", "waits 3 days"]


@pytest.mark.parametrize(
    "data",
    [
        {"template": "expansion_idea"},
        {"broadcast": "news"},
        {"broadcast": "news", "template": "expansion_idea", "channel": "call"},
        {"broadcast": "news", "template": "expansion_idea", "purpose": "transactional"},
        {"broadcast": "news", "template": "expansion_idea", "valid_days": 90},
    ],
)
def test_what_cannot_be_sent_is_refused_at_the_door(data: dict[str, object]) -> None:
    with pytest.raises(InvalidEvent, match=r"data\."):
        told("broadcast.due", **data)
