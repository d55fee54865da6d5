"""Values a message wants fetched as it goes out: each as fresh as its source has it, or its declared fallback.

Nothing here raises and nothing takes longer than a message declares: no value is worth a touch.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.base import LiveFacts
from connectors.errors import ConnectorError
from contacts.events import Identity
from templates.context import convert
from templates.render import Need

LIVE = "live"
NOT_ASKED = "not_asked"


@dataclass(frozen=True)
class Fetched:
    """What came of fetching.

    Attributes:
        values: Usable values, by context name.
        outcomes: For every value that was to be live ``live``, or why its fallback is used: ``no_source``, ``late``,
            ``missing`` (the source knows none), ``junk`` (nothing the template can use), ``not_asked`` (the gate did
            not seem to let the touch out), or what the source answered.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Mapping[str, str] = field(default_factory=dict)


async def fetch(
    sources: Sequence[LiveFacts], needs: Mapping[str, Need], person: Sequence[Identity], about: Mapping[str, Any]
) -> Fetched:
    """Fetches all values at once, each within its own time, from the first source that knows it.

    Args:
        about: The data of the event that the message answers.
    """
    found = await asyncio.gather(*(_one(sources, name, need, person, about) for name, need in needs.items()))
    answers = dict(zip(needs, found, strict=True))
    values = {name: value for name, (outcome, value) in answers.items() if outcome == LIVE}
    return Fetched(values, {name: outcome for name, (outcome, _) in answers.items()})


def freshest(told: Mapping[str, Any], fetched: Fetched, needs: Mapping[str, Need]) -> dict[str, Any]:
    """What a message is rendered with: what it is told, with what was fetched in its place or over its parts.

    What is to be live is live or the fallback, and not what the run knew when it asked, unless the message says that
    this is better than none: then it stands, but for the parts that the source has a word on.
    """
    known = {
        name: value for name, value in told.items() if name not in fetched.outcomes or needs[name].live_else == "told"
    }
    for name, value in fetched.values.items():
        was = known.get(name)
        known[name] = {**was, **value} if isinstance(was, Mapping) else value
    return known


async def _one(
    sources: Sequence[LiveFacts], name: str, need: Need, person: Sequence[Identity], about: Mapping[str, Any]
) -> tuple[str, Any]:
    source = next((source for source in sources if source.knows(name)), None)
    if source is None:
        return "no_source", None
    try:
        async with asyncio.timeout(need.live_seconds):
            value = await source.fetch(name, person, about)
    except TimeoutError:
        return "late", None
    except ConnectorError as error:
        return f"broken: {error.reason}", None
    except Exception as error:
        return f"broken: {type(error).__name__}", None
    if value is None:
        return "missing", None
    return (LIVE, value) if convert(need.type, value, {}) is not None else ("junk", None)
