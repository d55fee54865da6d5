"""What an alert in Slack asks a person: buttons whose click is an event, and which are gone once somebody has answered.

A button's value is ``<what is asked about>/<contact>``, both ours; it comes back as we gave it, signed by Slack.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.slack_blocks import Block, plain
from connectors.webhook import Body, Moment
from contacts.events import Event, InvalidEvent, event, identities

SOURCE = "slack"

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_VALUE = re.compile(rf"({_UUID})/({_UUID})")


class User(Body):
    """Who clicked."""

    id: str
    username: str | None = None
    name: str | None = None


class Action(Body):
    """What was clicked."""

    action_id: str
    action_ts: Moment
    value: str = ""


class Container(Body):
    """Where it was clicked."""

    channel_id: str | None = None
    message_ts: str | None = None


class Clicked(Body):
    """A click, as Slack tells of it."""

    user: User
    container: Container = Container()
    actions: list[Action]


@dataclass(frozen=True)
class Answer:
    """A button. ``said`` is what a click on it adds to the event's data."""

    action: str
    label: str
    style: str
    said: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """What an alert may ask.

    Attributes:
        about: What is asked about, in words.
        keys: Which alerts ask it; the first group of their keys is the id of what is asked about.
        type: Of the event that an answer is.
        names: The field of its data that has that id.
        once: Begins the event's source id. The id follows and nothing else, so that only the first click counts,
            whoever it is by and whatever they chose.
        answers: The buttons, in their order.
        words: What the alert says from then on, by the event's data and who it was by.
    """

    about: str
    keys: re.Pattern[str]
    type: str
    names: str
    once: str
    answers: Sequence[Answer]
    words: Callable[[Mapping[str, Any], str], str]

    def event(self, answer: Answer, clicked: Clicked, action: Action) -> Event:
        """The event that a click is.

        Raises:
            InvalidEvent: The button is none of ours.
        """
        named = _VALUE.fullmatch(action.value)
        if named is None:
            raise InvalidEvent("actions.value", f"does not name {self.about} and its contact")
        place = clicked.container
        alert = {"alert": f"{place.channel_id}/{place.message_ts}"} if place.channel_id and place.message_ts else {}
        return event(
            self.type,
            source=SOURCE,
            source_id=f"{self.once}/{named[1]}",
            occurred_at=action.action_ts,
            identities=identities(("contact", named[2])),
            data={
                self.names: named[1],
                **answer.said,
                "by": clicked.user.username or clicked.user.name or clicked.user.id,
                "slack_user": clicked.user.id,
                **alert,
            },
        )

    def without_buttons(self, blocks: Sequence[Block], asked_about: str) -> list[Block] | None:
        """An alert's blocks without the buttons that ask this; None if there are none of them."""

        def asks(element: object) -> bool:
            return (
                isinstance(element, dict)
                and element.get("action_id") in {answer.action for answer in self.answers}
                and str(element.get("value")).startswith(f"{asked_about}/")
            )

        kept: list[Block] = []
        for block in blocks:
            elements = _elements(block)
            rest = [element for element in elements if not asks(element)]
            if rest == elements:
                kept.append(block)
            elif rest:
                kept.append({**block, "elements": rest})
        return None if kept == list(blocks) else kept


def _answered(data: Mapping[str, Any], by: str) -> str:
    if data.get("void"):
        return f"{by} answered too late"
    return f"{'Approved' if data.get('approved') is True else 'Refused'} by {by}"


HANDOFF = Question(
    about="a hand-off",
    keys=re.compile(rf"({_UUID})(?:/reminder/\d+)?"),
    type="handoff.acknowledged",
    names="handoff_id",
    once="taken",
    answers=(Answer("handoff.take", "Take it", "primary"),),
    words=lambda data, by: f"Taken by {by}",
)
APPROVAL = Question(
    about="an approval",
    keys=re.compile(rf"({_UUID})/approval"),
    type="approval.answered",
    names="approval_id",
    once="answered",
    answers=(
        Answer("approval.approve", "Approve", "primary", {"approved": True}),
        Answer("approval.refuse", "Refuse", "danger", {"approved": False}),
    ),
    words=_answered,
)
QUESTIONS = (HANDOFF, APPROVAL)


def buttons(key: str, contact_id: str) -> list[Block]:
    """What an alert with this key, about this contact, lets people answer."""
    return [
        {
            "type": "button",
            "action_id": answer.action,
            "style": answer.style,
            "text": plain(answer.label, 75),
            "value": f"{named[1]}/{contact_id}",
        }
        for question in QUESTIONS
        if (named := question.keys.fullmatch(key))
        for answer in question.answers
    ]


def contact_in(path: str) -> str | None:
    """The contact whose page this is."""
    found = re.fullmatch(rf".*/contacts/({_UUID})", path)
    return found[1] if found else None


def events(clicked: Clicked) -> list[Event]:
    """What was answered by a click; nothing if the button asks nothing.

    Raises:
        InvalidEvent: The button is none of ours.
    """
    return [
        question.event(answer, clicked, action)
        for action in clicked.actions
        for question in QUESTIONS
        for answer in question.answers
        if answer.action == action.action_id
    ]


def _elements(block: Mapping[str, Any]) -> list[Any]:
    elements = block.get("elements")
    return elements if block.get("type") == "actions" and isinstance(elements, list) else []
