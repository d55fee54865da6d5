"""How journeys are kept."""

from ops.cards import tells_of
from ops.checks.library import Faults, Library, at

_LEAST_SCENARIOS = 2


def overdue(library: Library) -> Faults:
    """Journeys that should have been looked at again."""
    for flow in library.flows:
        due = flow.card.review_by
        if due < library.today:
            what = f"was to be looked at by {due:%-d %b %Y}: look at it with {flow.card.owner}, then set review_by anew"
            yield at(flow, flow.line_of("review_by")), what


def missing_scenario(library: Library) -> Faults:
    """Journeys that too few scenarios tell of."""
    for flow in library.flows:
        told = sum(tells_of(scenario, flow.card) for scenario in library.scenarios)
        if told < _LEAST_SCENARIOS:
            what = (
                f"scenarios that expect it: {told} of {_LEAST_SCENARIOS}: write the goal reached and the quiet contact "
                "in tests/scenarios"
            )
            yield at(flow, flow.line), what
