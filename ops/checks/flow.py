"""How a run goes on and ends."""

from collections.abc import Iterable

from ops import words
from ops.checks.conditions import covered, each, event
from ops.checks.library import Faults, Library, at
from workflows.reading import Approval, Flow, HandOff, Look, Note, Send, SendNamed, Sleep, Step, Wait

_NO_WAY_OUT = frozenset({"contact.erased", "contact.merged"})
"""Types that end no reason to write: the erased are not written to anyway."""


def no_limit(library: Library) -> Faults:
    """Waits that do not say how long: such a wait is over as soon as it begins."""
    for flow, step in library.steps:
        match step:
            case Wait(limit=None) | Sleep(length=None) | Approval(limit=None):
                what = f"{words.step(step)}, but not how long: give it days=, hours=, minutes= or until="
                yield at(flow, step.line), what


def wait_without_exit(library: Library) -> Faults:
    """Waits before a message that nothing but time ends, short of the goal: whatever happens, it goes out."""
    for flow in library.flows:
        if any(not covered(exit, flow.card.success) and set(exit.types) - _NO_WAY_OUT for exit in flow.card.exits):
            continue
        for stage in flow.stages:
            later = [step for other in flow.stages if other.name in _reached(flow, stage.name) for step in other.steps]
            for n, step in enumerate(stage.steps):
                idle = isinstance(step, Sleep) or (isinstance(step, Wait) and not step.conditions)
                if idle and any(isinstance(s, Send) for s in (*stage.steps[n + 1 :], *later)):
                    what = (
                        f"{words.step(step)}, and then a message goes out, whatever happened: give the card an exit "
                        "that takes its reason away, or wait for an event"
                    )
                    yield at(flow, step.line), what


def unreachable(library: Library) -> Faults:
    """Stages that no way from the first one leads to."""
    for flow in library.flows:
        reached = _reached(flow, flow.stages[0].name) | {flow.stages[0].name}
        for stage in flow.stages:
            if stage.name not in reached:
                what = f"no stage leads to {stage.name}: return self.{stage.name} somewhere, or take it out"
                yield at(flow, stage.line), what


def no_way_out(library: Library) -> Faults:
    """Stages that lead back to themselves without anything on the way that takes time."""
    for flow in library.flows:
        restless = {stage.name for stage in flow.stages if not any(map(_takes_time, stage.steps))}
        for stage in flow.stages:
            if stage.name in restless and stage.name in _reached(flow, stage.name, restless):
                what = f"{stage.name} comes round to itself without a wait: let it sleep, wait or send on the way"
                yield at(flow, stage.line), what


def never_starts(library: Library) -> Faults:
    """Triggers that end the journey too: routing lets such an event end runs and start none."""
    for flow in library.flows:
        for trigger in map(event, flow.card.trigger):
            for one in each(trigger):
                if covered(one, (*flow.card.success, *flow.card.exits)):
                    what = f"{words.happening(one)} ends it too, so it starts nothing: take it out of trigger or exits"
                    yield at(flow, flow.line_of("trigger")), what


def unseen_exit(library: Library) -> Faults:
    """Exits that another one always comes before."""
    for flow in library.flows:
        card = flow.card
        for n, exit in enumerate(card.exits):
            if all(covered(one, (*card.success, *card.exits[:n])) for one in each(exit)):
                what = f"{words.happening(exit)} ends the run already, as success or by an earlier exit: take it out"
                yield at(flow, flow.line_of("exits")), what


def deaf_wait(library: Library) -> Faults:
    """Waits for what ends the run: they never hear it."""
    for flow, step in library.steps:
        # With a key, such an event may be about another run of the same contact, and then ends nothing here.
        if isinstance(step, Wait) and flow.card.key is None:
            for condition in step.conditions:
                if all(covered(one, (*flow.card.success, *flow.card.exits)) for one in each(event(condition))):
                    what = (
                        f"the run ends on {words.happening(condition)} and never hears it here: take it out of the wait"
                    )
                    yield at(flow, step.line), what


def _takes_time(step: Step) -> bool:
    match step:
        case Wait(limit=None) | Sleep(length=None) | Approval(limit=None) | Note() | Look():
            return False
        case Wait() | Sleep() | Approval() | HandOff() | Send() | SendNamed():
            return True


def _reached(flow: Flow, start: str, through: Iterable[str] | None = None) -> set[str]:
    """Stages that a stage leads to, itself only if it comes round to it; only by way of ``through`` if given."""
    leads = {stage.name: stage.next for stage in flow.stages if through is None or stage.name in through}
    reached: set[str] = set()
    ahead = [start]
    while ahead:
        for following in leads.get(ahead.pop(), ()):
            if following not in reached:
                reached.add(following)
                ahead.append(following)
    return reached
