"""None twice: what the histories say went to a provider, against the touches' rows."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ops.verify.findings import Finding
from ops.verify.rows import TouchRow


@dataclass(frozen=True)
class Delivered:
    """A ``deliver`` activity in a history. Where a history was copied by a reset, the copy is equal to it.

    Attributes:
        event_id, scheduled_at: Which it is.
        status: How it completed (``activities.signatures.Delivery``); None while it has not.
    """

    event_id: int
    scheduled_at: datetime
    key: str
    status: str | None


@dataclass(frozen=True)
class History:
    """What Temporal remembers of a run.

    Attributes:
        whole: From its beginning, over every continue-as-new; otherwise retention has taken some of it.
    """

    run_id: str
    whole: bool
    deliveries: frozenset[Delivered]


def compared(
    contact_id: str, history: History, before: Sequence[TouchRow], after: Mapping[str, TouchRow]
) -> Iterator[Finding]:
    """Where a run's history and its touches differ.

    Args:
        before: The run's touches as of a moment before the history was read, so that it must know of them.
        after: Those and others, by key, as of a moment after it was read, so that they must be what it says.
    """
    sent = Counter(d.key for d in history.deliveries if d.status == "sent")
    for key, times in sorted(sent.items()):
        if times > 1:
            what = f"{times} deliveries of one touch completed, and each says sent"
            yield Finding("sent-twice", contact_id, what, {"key": key, **_named(after.get(key), history)})
    for key in sorted({d.key for d in history.deliveries if d.status is not None} - after.keys()):
        what = "a delivery completed, and the touch has no row"
        yield Finding("touch-not-recorded", contact_id, what, {"key": key, "run": history.run_id})
    for key in sorted(sent.keys() & after.keys()):
        if after[key].status != "sent":
            what = f"the history says sent, the touch's row says {after[key].status}"
            yield Finding("touch-differs", contact_id, what, _named(after[key], history))
    asked = {d.key for d in history.deliveries}
    for touch in before:
        if history.whole and touch.status == "sent" and touch.key not in asked:
            what = "the touch's row says sent, and the history of its run never asked for it"
            yield Finding("touch-without-history", contact_id, what, _named(touch, history))


def _named(touch: TouchRow | None, history: History) -> dict[str, str]:
    return {"run": history.run_id} if touch is None else {"touch": touch.id, "run": history.run_id}
