"""How a person reads an explanation."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ops.explain import Decision, Explanation, Skipped, Touch, Unasked
from ops.looks import coloured, inset, labelled, short, text
from ops.output import stamp


def explanation(told: Explanation) -> RenderableType:
    """Every touch with its decisions, and every journey not entered."""
    head = Text.assemble(text(told.contact, "bold"), text(f"  {told.contact_id}", "dim"))
    if not told.parts:
        return Group(head, "Nothing was ever to be sent, and no journey was passed over.")
    return Group(head, *(_part(part) for part in told.parts))


def _part(part: Touch | Skipped | Unasked) -> RenderableType:
    match part:
        case Touch():
            return _touch(part)
        case Skipped():
            return _skip(part)
        case Unasked():
            return _unasked(part)


def _skip(skip: Skipped) -> RenderableType:
    line = Text.assemble(text(skip.journey, "cyan"), " not entered on ", text(f"{skip.event}: {skip.reason}"))
    return Group("", Text.assemble(Text(short(skip.at), "dim"), "  ", line))


def _unasked(one: Unasked) -> RenderableType:
    head = Text.assemble(text(one.template, "bold"), "  not asked for by ", text(one.journey, "cyan"), ": ")
    when = f" {stamp(one.at)}" if one.at else ""
    match one.state:
        case "open":
            wakes = f", which goes on {stamp(one.next_wake)}" if one.next_wake else ""
            said = f"the run is in {f'stage {one.stage}' if one.stage else 'no stage yet'}{wakes}"
        case "ended":
            by = f" by {one.by}" if one.by else ""
            said = f"the run {one.outcome or 'ended'}{by}{when}"
        case "skipped":
            said = f"not entered on {one.by}{when}: {one.reason}"
        case "never":
            said = "nothing has called for it"
    return Group("", Text.assemble(head, text(said)))


def _touch(touch: Touch) -> RenderableType:
    settled = f" {stamp(touch.settled_at)}" if touch.settled_at else ""
    head = Text.assemble(
        text(touch.template, "bold"), text(f"  {touch.channel}, {touch.purpose}  "), coloured(touch.status), settled
    )
    rows = [
        ("journey", text(f"{touch.journey}, stage {touch.stage}{_end_of_run(touch)}")),
        *([("subject", text(touch.subject))] if touch.subject else []),
        *([("because", text(touch.reason))] if _is_news(touch) else []),
        ("consent", _consent_used(touch)),
        *([("template", text(_version(touch)))] if touch.template_hash else []),
        *([("fetched", text(_fetched(touch.live)))] if touch.live else []),
        *([("provider", text(_provider(touch)))] if touch.provider else []),
        ("touch", text(touch.touch_id)),
    ]
    return Group("", head, inset(_decisions(touch.decisions)), labelled(rows))


def _is_news(touch: Touch) -> bool:
    """Whether the touch's reason is none that the gate has given: what came of a call, in the provider's words."""
    last = touch.decisions[-1].reason if touch.decisions else None
    return touch.reason is not None and (touch.status in ("failed", "unknown") or touch.reason != last)


def _end_of_run(touch: Touch) -> str:
    if touch.run_ended_at is None:
        return ""
    by = f" by {touch.run_ended_by}" if touch.run_ended_by else ""
    return f"; the run {touch.run_outcome or 'ended'}{by} {stamp(touch.run_ended_at)}"


def _decisions(decisions: Sequence[Decision]) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for decision in decisions:
        table.add_row(short(decision.at), coloured(decision.verdict), _why(decision))
    return table


def _why(decision: Decision) -> Text:
    under = f"policy {decision.policy_version}, code {decision.code_version}"
    if decision.verdict == "send":
        said = " ".join(filter(None, ("Nothing spoke against it.", decision.channel, decision.details)))
        return Text.assemble(text(said), text(f" {under}", "dim"))
    asked = f" Asked again {stamp(decision.until)} at the latest." if decision.until else ""
    said = " ".join(filter(None, (decision.because, decision.details, decision.channel))) + asked
    return Text.assemble(text(said), text(f" {decision.reason}, {under}", "dim"))


def _consent_used(touch: Touch) -> Text:
    used = touch.consent
    if used is None:
        return Text("none on record" + ("" if touch.consent_required else f", and none needed for {touch.purpose}"))
    word = Text("yes", "green") if used.granted else Text("no", "red")
    how = "implied by" if used.implied else "by"
    return Text.assemble(word, text(f", {how} “{used.evidence}” {stamp(used.at)} ({used.event} from {used.source})"))


def _version(touch: Touch) -> str:
    of_then = f"as it was in code {touch.template_code}" if touch.template_code else "of then"
    said = {
        "same": "which is the same today",
        "changed": f"which has changed since: {of_then}",
        "gone": f"which is gone: {of_then}",
    }
    return ", ".join(filter(None, (touch.template_hash, said.get(touch.template_today or ""))))


def _fetched(live: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {how}" if how == "live" else f"{name} fell back ({how})" for name, how in live.items())


def _provider(touch: Touch) -> str:
    request = f", request {touch.request_id}" if touch.request_id else ""
    return f"{touch.provider} {touch.provider_id or ''}".strip() + request
