"""The ``perennial`` command. Each command imports what it needs when it runs, so that ``--help`` is quick."""

import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn, TypeVar

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from contacts.events import Identity
    from contacts.specs import Rollout
    from ops.installation import Installation
    from ops.output import Output
    from ops.scenario import Scenario
    from settings import Settings


T = TypeVar("T")


class OneLine(TyperGroup):
    """The command with its exit statuses. Whatever goes wrong is one line on standard error, never a trace."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Runs the command line and exits: 0, 1 if it could not be done, 2 if it was wrong."""
        try:
            status = super().main(*args, **{**extra, "standalone_mode": False})
        except Exception as problem:
            status = _told(problem)
        sys.exit(status)


def _told(problem: Exception) -> int:
    from contacts.specs import InvalidCard
    from ops.output import Failure, printable

    if isinstance(problem, typer.TyperException):
        message, status = _usage(problem), problem.exit_code
    elif isinstance(problem, typer.Abort):
        message, status = "stopped", 1
    elif isinstance(problem, Failure):
        message, status = str(problem), problem.status
    elif isinstance(problem, InvalidCard):
        # whichever command looks at the journeys first
        message, status = str(problem), 1
    elif os.environ.get("PERENNIAL_DEBUG") == "1":
        raise problem
    else:
        # only the first line: what follows may be a statement with a contact's data in it
        what = f"{type(problem).__name__}: {problem}".splitlines()[0]
        message, status = f"unexpected {what} (PERENNIAL_DEBUG=1 shows where)", 1
    sys.stderr.write(f"perennial: {' '.join(printable(message).split())}\n")
    return status


def _usage(problem: typer.TyperException) -> str:
    message = problem.format_message().rstrip(".")
    context = getattr(problem, "ctx", None)
    see = f" (see `{context.command_path} --help`)" if context is not None else ""
    return message[:1].lower() + message[1:] + see


def _example(command: str) -> str:
    return f"\b\nExample:\n  {command}"


def _group(name: str, help: str) -> typer.Typer:
    group = typer.Typer(name=name, help=help, rich_markup_mode=None)
    app.add_typer(group)
    return group


app = typer.Typer(
    name="perennial",
    cls=OneLine,
    help="Durable customer journeys: run them, ask about them, try them out.",
    invoke_without_command=True,
    rich_markup_mode=None,  # Rich takes longer to load than everything else that help needs
    pretty_exceptions_enable=False,
    add_completion=False,
)
event = _group("event", "Send events by hand.")
contact = _group("contact", "Look at a contact.")
webhook = _group("webhook", "Debug the webhooks of outside systems.")
runs = _group("runs", "Look at runs, pause them and let them go on.")
journeys = _group("journeys", "Look at journeys.")
segments = _group("segments", "Who is in which segment, and something for all of them.")
rollouts = _group("rollouts", "Backfills and broadcasts on their way.")
handoffs = _group("handoffs", "Hand-offs that wait for a person.")
approvals = _group("approvals", "Journeys that wait for a yes.")
pauses = _group("pauses", "Halts of a contact, a journey, a channel or everything.")
inbox = _group("inbox", "Requests of outside systems as they came.")
outgoing = _group("outgoing", "What other systems are told.")

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
Limit = Annotated[int, typer.Option(min=1, help="At most so many lines.")]
Contact = Annotated[
    str, typer.Argument(metavar="CONTACT", help="An id, e-mail address, phone number or a system's own id.")
]


@app.callback()
def _bare(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def _output(json: bool) -> "Output":
    from ops.output import JsonLines, RichText

    return JsonLines() if json else RichText()


def _run(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    return asyncio.run(work)


@app.command(epilog=_example("perennial up"))
def up(
    data: Annotated[Path | None, typer.Option(help="Where everything is kept; .perennial if not given.")] = None,
    json: Json = False,
) -> None:
    """Run everything on this machine, until Ctrl-C."""
    from settings import DATA

    with _starting() as settings:
        _run(_up(data or DATA, settings, _output(json)))


async def _up(data: Path, settings: "Settings", out: "Output") -> None:
    import asyncio

    from ops import views
    from ops.up import interruptible, running

    def announce(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    async def until_told() -> None:
        async with running(data, settings, announce) as where:
            out.one(where, views.addresses)
            await asyncio.Event().wait()

    await interruptible(until_told())


@app.command(epilog=_example("perennial demo --exit"))
def demo(
    exit: Annotated[bool, typer.Option("--exit", help="End with the story instead of staying up.")] = False,
    data: Annotated[Path | None, typer.Option(help="Where its data is kept; .perennial if not given.")] = None,
    json: Json = False,
) -> None:
    """Run everything and play one contact through it on a fast clock."""
    from rich.console import Console

    from ops.demo import demo as play
    from ops.output import JsonLines
    from settings import DATA

    with _starting():
        status = _run(play(exit_when_done=exit, data=data or DATA, say=Console(stderr=json)))
    if json:
        JsonLines().one({"as_told": status == 0}, str)
    raise typer.Exit(status)


@contextmanager
def _starting() -> "Iterator[Settings]":
    """The settings of a command that starts everything; what can go wrong with that is one line."""
    from connectors.configured import MissingCredentials
    from contacts.policy import PolicyError
    from ops.claim import AlreadyRunning
    from ops.engines import EngineFailed
    from ops.output import Failure
    from ops.processes import DidNotStart
    from settings import WrongSetting, load

    try:
        yield load()
    except (WrongSetting, PolicyError, MissingCredentials) as problem:
        raise Failure(str(problem), status=2) from None
    except (AlreadyRunning, EngineFailed, DidNotStart) as problem:
        raise Failure(str(problem)) from None


@app.command(epilog=_example("perennial simulate tests/scenarios/welcome.yaml"))
def simulate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Scenario files.")],
    json: Json = False,
) -> None:
    """Play scenario files under skipped time; a miss is shown and exits 1."""
    raise typer.Exit(_run(_simulate(files, _output(json))))


async def _simulate(files: list[Path], out: "Output") -> int:
    from contacts import policy
    from ops import scenario, simulate, timeline_view
    from ops.output import Failure
    from settings import DATA, WrongSetting, load

    try:
        rules = policy.load(load().policy_file)
        written = [scenario.read(file) for file in files]
    except (WrongSetting, policy.PolicyError, scenario.BadScenario) as problem:
        raise Failure(str(problem), status=2) from None
    missed = 0
    async with simulate.stage(DATA) as template:
        for one in written:
            played = await simulate.play(template, one, rules)
            out.many([line.as_json() for line in played.lines], lambda _: timeline_view.timeline(played))  # noqa: B023
            if played.misses:
                missed += 1
                print(f"{one.name}: not as expected", *played.misses, sep="\n", file=sys.stderr)
    return 1 if missed else 0


@event.command("send", epilog=_example("perennial event send page.viewed --email ada@example.com page=pricing"))
def event_send(
    type: Annotated[str, typer.Argument(metavar="TYPE", help="Such as page.viewed or custom.anything.")],
    pairs: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="The event's data.")] = None,
    email: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Whose it is, by e-mail address.")] = None,
    phone: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="... by phone number with country (+49...).")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="ID", help="... by your own user id.")] = None,
    anonymous: Annotated[str | None, typer.Option(metavar="ID", help="... by a visitor's anonymous id.")] = None,
    contact: Annotated[str | None, typer.Option(metavar="ID", help="... by contact id.")] = None,
    identity: Annotated[
        list[str] | None, typer.Option(metavar="KIND=VALUE", help="... by a system's id (stripe=cus_1).")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="JSON", help="The event's data as a JSON object.")] = None,
    occurred: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it happened (ISO 8601), if not now.")
    ] = None,
    id: Annotated[
        str | None, typer.Option(metavar="ID", help="Its own id: the same id again is a repeat and does nothing.")
    ] = None,
    json: Json = False,
) -> None:
    """Send an event, and see what it does to runs."""
    named = {"email": email, "phone": phone, "user": user, "anonymous": anonymous, "contact": contact}
    pairs_of_identity = [(kind, value) for kind, value in named.items() if value is not None]
    pairs_of_identity += [_identity_pair(text) for text in identity or ()]
    _run(_event_send(type, pairs or [], pairs_of_identity, data, occurred, id, _output(json)))


def _identity_pair(text: str) -> tuple[str, str]:
    kind, _, value = text.partition("=")
    return kind, value


async def _event_send(
    type: str,
    pairs: list[str],
    named: list[tuple[str, str]],
    data: str | None,
    occurred: str | None,
    id: str | None,
    out: "Output",
) -> None:
    from uuid import uuid4

    from contacts.events import InvalidEvent, event
    from ops import send, views
    from ops.installation import opened
    from ops.output import Failure

    whose = _identities(named)
    given = send.data_of(type, data, pairs, whose)
    happened = _moment(occurred, "--occurred") if occurred is not None else None
    async with opened() as here:
        now = here.clock.now()
        try:
            told = event(
                type,
                source="cli",
                source_id=id or str(uuid4()),
                occurred_at=happened or now,
                identities=whose,
                data=given,
            )
        except InvalidEvent as problem:
            raise Failure(str(problem), status=2) from None
        out.one(await send.send(here.intake, told, now), views.sent)


def _identities(named: list[tuple[str, str]]) -> "tuple[Identity, ...]":
    from contacts.events import IDENTITY_KINDS, identity
    from ops.output import Failure

    if not named:
        raise Failure("say whose event it is: --email, --phone, --user, --anonymous, --contact or --identity", status=2)
    found = []
    for kind, value in named:
        if kind not in IDENTITY_KINDS:
            raise Failure(f"--identity: no kind {kind!r}; there is {', '.join(IDENTITY_KINDS)}", status=2)
        one = identity(kind, value)
        if one is None:
            form = {"email": "an e-mail address", "phone": "a phone number with its country, such as +4930901820"}
            raise Failure(f"{kind} {value!r}: is not {form.get(kind, 'an identity')}", status=2)
        found.append(one)
    return tuple(found)


def _moment(text: str, option: str) -> datetime:
    from ops.output import Failure

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Failure(f"{option} {text!r}: must be a time with an offset, such as 2026-03-02T09:00:00Z", status=2)
    return found


@contact.command("show", epilog=_example("perennial contact show ada@example.com"))
def contact_show(contact: Contact, json: Json = False) -> None:
    """Where a contact is, what comes next, and what we know of them."""
    _run(_contact_show(contact, _output(json)))


async def _contact_show(contact: str, out: "Output") -> None:
    from ops import contact_view, inspect
    from ops.installation import opened
    from workflows.registry import CARDS

    async with opened() as here, here.reading() as conn:
        page = await inspect.contact_page(conn, contact, CARDS, here.policy, here.clock.now())
    out.one(page, contact_view.contact)


@app.command(epilog=_example("perennial explain ada@example.com welcome_second"))
def explain(
    contact: Contact,
    touch: Annotated[
        str | None, typer.Argument(metavar="TOUCH", help="A template's name, or a touch's id or key.")
    ] = None,
    json: Json = False,
) -> None:
    """Why messages were or were not sent to a contact."""
    _run(_explain(contact, touch, _output(json)))


async def _explain(contact: str, touch: str | None, out: "Output") -> None:
    from ops import explain, explain_view
    from ops.installation import opened
    from workflows.registry import CARDS

    async with opened() as here, here.reading() as conn:
        told = await explain.explain(conn, contact, touch, CARDS, here.policy)
    out.many(told.parts, lambda _: explain_view.explanation(told))


@webhook.command("check", epilog=_example("perennial webhook check capture.json"))
def webhook_check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A captured request as JSON; - for standard input.")],
    json: Annotated[bool, typer.Option("--json", help="The answer is JSON with or without it.")] = False,
) -> None:
    """Judge one captured request without side effects; exits 1 if it is not valid."""
    from ops import webhook_check
    from ops.output import Failure, JsonLines

    try:
        captured = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as problem:
        raise Failure(f"{file}: {problem.strerror}", status=2) from None
    try:
        judgement = webhook_check.judge(webhook_check.read(captured))
    except webhook_check.BadCapture as problem:
        raise Failure(f"{file}: {problem}", status=2) from None
    JsonLines().one(judgement.as_json(), str)
    raise typer.Exit(0 if judgement.valid else 1)


@runs.command("list", epilog=_example("perennial runs list --journey welcome --open"))
def runs_list(
    journey: Annotated[str | None, typer.Option(help="Only this journey's.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only those in this stage.")] = None,
    contact: Annotated[str | None, typer.Option(help="Only this contact's.")] = None,
    open: Annotated[bool | None, typer.Option("--open/--ended", help="Only open or only ended ones.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Only those that ended so, such as converted.")] = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """Runs, the newest first."""
    from ops.inspect import Wanted

    _run(_runs_list(Wanted(journey, stage, contact, open, outcome), limit, _output(json)))


async def _runs_list(wanted: Any, limit: int, out: "Output") -> None:
    from ops import inspect, views
    from ops.installation import opened

    async with opened() as here, here.reading() as conn:
        lines = await inspect.list_runs(conn, wanted, limit)
    out.many(lines, views.runs)


Run = Annotated[str | None, typer.Argument(metavar="RUN", help="A run's id, the beginning of it, or its workflow's.")]
OfJourney = Annotated[str | None, typer.Option("--journey", help="All open runs of this journey.")]
InStage = Annotated[str | None, typer.Option("--stage", help="... that are in this stage.")]
OfContact = Annotated[str | None, typer.Option("--contact", help="... that are this contact's.")]
HowMany = Annotated[bool, typer.Option("--dry-run", help="Only say how many.")]
NotAsking = Annotated[bool, typer.Option("--yes", help="Tell several without asking.")]


@runs.command("pause", epilog=_example("perennial runs pause --journey nurture --stage educate --yes"))
def runs_pause(
    run: Run = None,
    journey: OfJourney = None,
    stage: InStage = None,
    contact: OfContact = None,
    dry_run: HowMany = False,
    yes: NotAsking = False,
    json: Json = False,
) -> None:
    """Let the messages of some runs wait; their timers go on, and so do their exits."""
    _run(_runs_steer("pause", run, (journey, stage, contact), dry_run, yes, json))


@runs.command("resume", epilog=_example("perennial runs resume --journey nurture --yes"))
def runs_resume(
    run: Run = None,
    journey: OfJourney = None,
    stage: InStage = None,
    contact: OfContact = None,
    dry_run: HowMany = False,
    yes: NotAsking = False,
    json: Json = False,
) -> None:
    """Let runs that were paused go on."""
    _run(_runs_steer("resume", run, (journey, stage, contact), dry_run, yes, json))


async def _runs_steer(
    order: Any, run: str | None, which: tuple[str | None, str | None, str | None], dry_run: bool, yes: bool, json: bool
) -> None:
    from ops import steering, views
    from ops.inspect import Wanted
    from ops.installation import opened
    from ops.output import Failure

    journey, stage, contact = which
    out = _output(json)
    async with opened() as here:
        wanted = Wanted(journey, stage, contact, open=True)
        async with here.reading() as conn:
            found = await steering.find(conn, run, wanted)
        if run is None and not (dry_run or yes):
            if json or not _at_a_terminal():
                raise Failure("nobody was told: --dry-run says how many there are, --yes tells them", status=2)
            out.one(steering.Steered(order, found.count, told=False), views.steered)
            typer.confirm("Tell them?", abort=True, err=True)
        if not dry_run:
            found = await steering.steer(here.engine, found, order, here.clock.now())
        out.one(steering.Steered(order, found.count, told=not dry_run), views.steered)


Scenarios = Annotated[Path, typer.Option(metavar="FOLDER", help="Where the scenario files are.")]
SCENARIOS = Path("tests/scenarios")


@journeys.command("list", epilog=_example("perennial journeys list"))
def journeys_list(scenarios: Scenarios = SCENARIOS, json: Json = False) -> None:
    """Every journey, a line each: what starts it, its goal, how many messages and scenarios it has."""
    from ops import cards, views
    from workflows.registry import CARDS

    told = _scenarios(scenarios) if scenarios.is_dir() else {}
    _output(json).many([cards.page(card, told) for card in CARDS], views.journeys)


@journeys.command("card", epilog=_example("perennial journeys card welcome"))
def journeys_card(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The journey's name.")],
    scenarios: Scenarios = SCENARIOS,
    json: Json = False,
) -> None:
    """A journey's card: what starts it, whom it is for, how it ends, who owns it."""
    from ops import cards, views
    from ops.output import Failure
    from workflows.registry import CARDS

    found = next((card for card in CARDS if card.name == name), None)
    if found is None:
        raise Failure(f"no journey {name!r}; there is {', '.join(card.name for card in CARDS)}")
    told = _scenarios(scenarios) if scenarios.is_dir() else {}
    _output(json).one(cards.page(found, told), views.card)


@journeys.command("lint", epilog=_example("perennial journeys lint"))
def journeys_lint(scenarios: Scenarios = SCENARIOS, json: Json = False) -> None:
    """Look for faults in journeys, one a line; exits 1 if there is one."""
    from datetime import UTC

    import templates
    from contacts import policy
    from ops import lint
    from ops.checks.library import Library
    from ops.output import Failure, JsonLines
    from settings import WrongSetting, load
    from templates.render import TemplateError, shipped
    from workflows.reading import flow_of
    from workflows.registry import JOURNEYS

    try:
        rules = load().policy_file
        library = Library(
            flows=[flow_of(cls) for cls in JOURNEYS],
            templates=shipped(),
            folder=Path(next(iter(templates.__path__))),
            scenarios=list(_scenarios(scenarios).values()),
            policy=policy.load(rules),
            policy_file=rules,
            today=datetime.now(UTC).date(),
        )
        found = lint.lint(library)
    except (TemplateError, WrongSetting, policy.PolicyError) as problem:
        raise Failure(str(problem), status=2) from None
    if json:
        JsonLines().many(found, str)
    else:
        # Not through the terminal's width: each finding is one line, for editors and grep.
        print(*(map(str, found) if found else [f"{len(JOURNEYS)} journeys, nothing found"]), sep="\n")
    raise typer.Exit(1 if any(finding.level == "error" for finding in found) else 0)


@journeys.command("docs", epilog=_example("perennial journeys docs --check"))
def journeys_docs(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exits 1 if a page is stale.")] = False,
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the pages are.")] = Path("docs/journeys"),
    scenarios: Scenarios = SCENARIOS,
    json: Json = False,
) -> None:
    """Write a page for every journey, with a picture of its flow."""
    from ops import journey_docs
    from ops.output import Failure
    from templates.render import TemplateError, declared
    from workflows.reading import flow_of
    from workflows.registry import JOURNEYS

    if not to.parent.is_dir():
        raise Failure(f"{to.parent}: no such folder; run this where the project is, or say --to", status=2)
    try:
        pages = journey_docs.pages([flow_of(cls) for cls in JOURNEYS], declared(), _scenarios(scenarios))
    except TemplateError as problem:
        raise Failure(str(problem), status=2) from None
    if not check:
        written = [{"page": str(path)} for path in journey_docs.write(to, pages)]
        _output(json).many(written, lambda _: "\n".join(w["page"] for w in written) or "Every page is up to date.")
    elif stale := journey_docs.stale(to, pages):
        raise Failure(f"{', '.join(map(str, stale))}: stale; run `perennial journeys docs`")


def _scenarios(folder: Path) -> "dict[str, Scenario]":
    """The scenarios of a folder by the name of their file."""
    from ops import scenario
    from ops.output import Failure

    if not folder.is_dir():
        raise Failure(f"{folder}: no such folder; run this where the project is, or say --scenarios", status=2)
    try:
        return {file.stem: scenario.read(file) for file in sorted(folder.rglob("*.yaml"))}
    except scenario.BadScenario as problem:
        raise Failure(str(problem), status=2) from None


Segment = Annotated[str, typer.Argument(metavar="SEGMENT", help="The segment's name.")]
Rate = Annotated[int, typer.Option(min=1, max=6000, help="Contacts a minute at most.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would come of it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Begin without looking ahead and without asking.")]
Sample = Annotated[int | None, typer.Option(min=1, help="Look ahead at so many contacts only.")]
RolloutName = Annotated[str, typer.Argument(metavar="NAME", help="The rollout's name.")]


@segments.command("list", epilog=_example("perennial segments list"))
def segments_list(json: Json = False) -> None:
    """Every segment: who is in it, what is different for them, which journeys hang on it."""
    _run(_segments_list(_output(json)))


async def _segments_list(out: "Output") -> None:
    from ops import segment_view
    from ops.installation import opened
    from ops.segments import list_segments
    from workflows.registry import CARDS

    async with opened() as here, here.reading() as conn:
        lines = await list_segments(conn, here.policy, CARDS)
    out.many(lines, segment_view.segments)


@segments.command("show", epilog=_example("perennial segments show high_value"))
def segments_show(segment: Segment, json: Json = False) -> None:
    """A segment's conditions, and some of its members."""
    _run(_segments_show(segment, _output(json)))


async def _segments_show(segment: str, out: "Output") -> None:
    from ops import segment_view
    from ops.installation import opened
    from ops.segments import segment_page
    from workflows.registry import CARDS

    async with opened() as here, here.reading() as conn:
        page = await segment_page(conn, here.policy, CARDS, segment, here.clock.now())
    out.one(page, segment_view.segment)


@segments.command("why", epilog=_example("perennial segments why ada@example.com"))
def segments_why(contact: Contact, json: Json = False) -> None:
    """Each segment, and why a contact is in it or not."""
    _run(_segments_why(contact, _output(json)))


async def _segments_why(contact: str, out: "Output") -> None:
    from ops import segment_view
    from ops.installation import opened
    from ops.segments import memberships

    async with opened() as here, here.reading() as conn:
        found = await memberships(conn, here.policy, contact, here.clock.now())
    out.many(found, segment_view.why)


@segments.command("pressure", epilog=_example("perennial segments pressure --days 90"))
def segments_pressure(
    days: Annotated[float, typer.Option(min=1, max=365, help="How far back to look.")] = 30,
    json: Json = False,
) -> None:
    """Who gets too much, who nobody thinks of, and how much of it sells: everybody, and each segment."""
    _run(_segments_pressure(days, _output(json)))


async def _segments_pressure(days: float, out: "Output") -> None:
    from ops import pressure, segment_view
    from ops.installation import opened

    async with opened() as here, here.reading() as conn:
        found = await pressure.pressure(conn, here.policy, here.clock.now(), timedelta(days=days))
    out.many(found, segment_view.pressure)


@segments.command("backfill", epilog=_example("perennial segments backfill high_value --dry-run"))
def segments_backfill(
    segment: Segment,
    rate: Rate = 60,
    dry_run: DryRun = False,
    name: Annotated[str | None, typer.Option(help="Of the rollout; made of the segment if not given.")] = None,
    sample: Sample = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Let those who are in a segment already join it, so that whatever joining begins, begins."""
    _run(_segments_backfill(segment, name, _Launch(rate, sample, dry_run, yes, json)))


async def _segments_backfill(segment: str, name: str | None, launch: "_Launch") -> None:
    from contacts import rollouts
    from ops.installation import opened
    from ops.output import Failure
    from ops.rollouts import named
    from ops.segments import segment_of, used_by
    from workflows.registry import CARDS

    async with opened() as here:
        found = segment_of(here.policy, segment)
        if not any("starts" in how for how in used_by(segment, CARDS).values()):
            raise Failure(f"no journey begins with joining {segment}: there is nothing to backfill")
        what = rollouts.backfill(named(name or f"backfill-{segment}-{found.fingerprint}"), segment)
        await _launched(here, what, launch)


@segments.command("broadcast", epilog=_example("perennial segments broadcast high_value expansion_idea --dry-run"))
def segments_broadcast(
    segment: Segment,
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="The message's name.")],
    rate: Rate = 60,
    dry_run: DryRun = False,
    name: Annotated[str | None, typer.Option(help="Of the rollout; made of template and segment if not given.")] = None,
    purpose: Annotated[str, typer.Option(help="promotional or lifecycle, as the template says.")] = "promotional",
    valid_days: Annotated[
        float, typer.Option(min=0.1, max=14, help="How long it is worth sending to somebody it has to wait for.")
    ] = 7,
    sample: Sample = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Send one message to everybody in a segment, each under the rules that hold for any message."""
    from ops.output import Failure

    if purpose not in ("promotional", "lifecycle"):
        raise Failure(f"--purpose {purpose!r}: promotional or lifecycle", status=2)
    launch = _Launch(rate, sample, dry_run, yes, json)
    _run(_segments_broadcast(segment, template, name, purpose, valid_days, launch))


async def _segments_broadcast(
    segment: str, template: str, name: str | None, purpose: str, valid_days: float, launch: "_Launch"
) -> None:
    from contacts import rollouts
    from ops.installation import opened
    from ops.rollouts import named
    from ops.segments import message_for_all, segment_of

    message = message_for_all(template, purpose)
    async with opened() as here:
        segment_of(here.policy, segment)
        what = rollouts.broadcast(
            named(name or f"{template}-{segment}"),
            segment,
            template,
            channel=message.channel,
            purpose=purpose,
            valid_days=valid_days,
        )
        await _launched(here, what, launch)


class _Launch(NamedTuple):
    rate: int
    sample: int | None
    dry_run: bool
    yes: bool
    json: bool


def _at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


async def _launched(here: "Installation", what: "Rollout", launch: _Launch) -> None:
    """A bulk act never begins by accident: it is looked at first, and begins by a yes."""
    from contacts import rollouts
    from ops import segment_view, watch
    from ops.foresight import Foreseen, foresee
    from ops.output import Failure
    from ops.rollouts import connected

    asking = _at_a_terminal()
    if not (launch.dry_run or launch.yes or (asking and not launch.json)):
        raise Failure("nothing was begun: --dry-run says what would come of it, --yes begins", status=2)
    out, now = _output(launch.json), here.clock.now()
    async with here.reading() as conn:
        since = await rollouts.begun_at(conn, what) or now
        total = await rollouts.waiting(conn, here.policy, what, since)

    async def look_ahead() -> Foreseen:
        found = await watch.looked_ahead(foresee(here.intake, what, since, now), total, launch.sample)
        return found or Foreseen(what.name, what.segment)

    if launch.dry_run:
        out.one(await look_ahead(), segment_view.foreseen)
        return
    async with connected(here) as known:
        begun = await known.about(what)
        if begun is None:
            if not launch.yes:
                out.one(await look_ahead(), segment_view.foreseen)
                typer.confirm(f"Begin, {launch.rate} a minute?", abort=True, err=True)
            begun = await known.begin(what, launch.rate, total, since)
        if asking and not launch.json:
            begun = await watch.watched(known, begun)
            if begun.stand in ("going", "paused", "stopping"):
                print(f"It goes on without you: `perennial rollouts show {what.name}`", file=sys.stderr)
        out.one(begun, segment_view.progress)


@rollouts.command("list", epilog=_example("perennial rollouts list"))
def rollouts_list(json: Json = False) -> None:
    """Rollouts, the newest first."""
    _run(_rollouts_list(_output(json)))


async def _rollouts_list(out: "Output") -> None:
    from ops import segment_view
    from ops.installation import opened
    from ops.rollouts import connected

    async with opened() as here, connected(here) as known:
        out.many(await known.list(), segment_view.rollouts)


@rollouts.command("show", epilog=_example("perennial rollouts show spring-news"))
def rollouts_show(name: RolloutName, json: Json = False) -> None:
    """How far a rollout is, and what has come of it."""
    _run(_rollouts_show(name, _output(json)))


async def _rollouts_show(name: str, out: "Output") -> None:
    from ops import segment_view
    from ops.installation import opened
    from ops.rollouts import connected, rollout_page

    async with opened() as here, connected(here) as known, here.reading() as conn:
        out.one(await rollout_page(conn, await known.find(name)), segment_view.rollout)


@rollouts.command("pause", epilog=_example("perennial rollouts pause spring-news"))
def rollouts_pause(name: RolloutName, json: Json = False) -> None:
    """Begin no more; messages of a broadcast that have not gone out wait."""
    _run(_rollouts_steer(name, "pause", _output(json)))


@rollouts.command("resume", epilog=_example("perennial rollouts resume spring-news"))
def rollouts_resume(name: RolloutName, json: Json = False) -> None:
    """Go on."""
    _run(_rollouts_steer(name, "resume", _output(json)))


@rollouts.command("stop", epilog=_example("perennial rollouts stop spring-news"))
def rollouts_stop(name: RolloutName, json: Json = False) -> None:
    """Begin no more; messages of a broadcast that have not gone out never will."""
    _run(_rollouts_steer(name, "stop", _output(json)))


async def _rollouts_steer(name: str, order: Any, out: "Output") -> None:
    from ops import segment_view
    from ops.installation import opened
    from ops.rollouts import connected

    async with opened() as here, connected(here) as known:
        out.one(await known.steer(name, order), segment_view.steered)


@handoffs.command("list", epilog=_example("perennial handoffs list"))
def handoffs_list(
    all: Annotated[bool, typer.Option("--all", help="Also those that were taken.")] = False, json: Json = False
) -> None:
    """Hand-offs that wait for a person, the most urgent first."""
    _run(_handoffs_list(all, _output(json)))


async def _handoffs_list(all: bool, out: "Output") -> None:
    from ops import queues, views
    from ops.installation import opened
    from ops.shared_columns import NOT_TAKEN

    async with opened() as here, here.reading() as conn:
        lines = await queues.list_handoffs(conn, here.clock.now(), *([] if all else [NOT_TAKEN]))
    out.many(lines, views.handoffs)


@handoffs.command("ack", epilog=_example("perennial handoffs ack 1f0c2d3e --by Kim"))
def handoffs_ack(
    id: Annotated[str, typer.Argument(metavar="ID", help="The hand-off's id, or the beginning of it.")],
    by: Annotated[str, typer.Option(help="Who takes it.")],
    json: Json = False,
) -> None:
    """Take a hand-off: reminders stop, and the run goes on."""
    _run(_handoffs_ack(id, by, _output(json)))


async def _handoffs_ack(id: str, by: str, out: "Output") -> None:
    from ops import queues, views
    from ops.installation import opened

    async with opened() as here:
        line = await queues.take(here.intake, id, by, here.clock.now())
    out.one(line, views.taken)


@approvals.command("list", epilog=_example("perennial approvals list"))
def approvals_list(
    all: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False, json: Json = False
) -> None:
    """What journeys wait to be allowed, what ends first first."""
    _run(_approvals_list(all, _output(json)))


async def _approvals_list(all: bool, out: "Output") -> None:
    from ops import views
    from ops.approvals import list_approvals, waiting
    from ops.installation import opened

    async with opened() as here, here.reading() as conn:
        now = here.clock.now()
        lines = await list_approvals(conn, now, *([] if all else [waiting(now)]))
    out.many(lines, views.approvals)


ApprovalId = Annotated[str, typer.Argument(metavar="ID", help="The approval's id, or the beginning of it.")]
ApprovalBy = Annotated[str, typer.Option(help="Who says so.")]


@approvals.command("approve", epilog=_example("perennial approvals approve 1f0c2d3e --by Kim"))
def approvals_approve(id: ApprovalId, by: ApprovalBy, json: Json = False) -> None:
    """Say yes: the run goes on with what it asked for."""
    _run(_approvals_answer(id, True, by, _output(json)))


@approvals.command("refuse", epilog=_example("perennial approvals refuse 1f0c2d3e --by Kim"))
def approvals_refuse(id: ApprovalId, by: ApprovalBy, json: Json = False) -> None:
    """Say no: the run goes on without it."""
    _run(_approvals_answer(id, False, by, _output(json)))


async def _approvals_answer(id: str, approved: bool, by: str, out: "Output") -> None:
    from ops import views
    from ops.approvals import Word, answer
    from ops.installation import opened

    async with opened() as here:
        line = await answer(here.intake, id, Word(approved, by), here.clock.now())
    out.one(line, views.answered)


@pauses.command("list", epilog=_example("perennial pauses list"))
def pauses_list(limit: Limit = 50, json: Json = False) -> None:
    """Halts, those in force first: what they stop, who called them and why, how many touches wait."""
    _run(_pauses_list(limit, _output(json)))


async def _pauses_list(limit: int, out: "Output") -> None:
    from ops import pause_view
    from ops.installation import opened
    from ops.pauses import list_pauses

    async with opened() as here, here.reading() as conn:
        lines = await list_pauses(conn, here.clock.now(), limit)
    out.many(lines, pause_view.pauses)


What = Annotated[
    str,
    typer.Argument(
        metavar="WHAT",
        help="contact/CONTACT (promotion), journey/NAME, channel/NAME, or all (everything but transactional messages).",
    ),
]


@pauses.command("show", epilog=_example("perennial pauses show journey/nurture"))
def pauses_show(what: What, json: Json = False) -> None:
    """A halt, and which messages wait for its end."""
    _run(_pauses_show(what, _output(json)))


async def _pauses_show(what: str, out: "Output") -> None:
    from ops import pause_view
    from ops.installation import opened
    from ops.pauses import pause_page

    async with opened() as here, here.reading() as conn:
        page = await pause_page(conn, what, here.clock.now())
    out.one(page, pause_view.pause)


@pauses.command("call", epilog=_example('perennial pauses call journey/nurture --by Kim --reason "the copy is wrong"'))
def pauses_call(
    what: What,
    by: Annotated[str, typer.Option(help="Who calls it.")],
    reason: Annotated[str, typer.Option(help="Why; explain says it of every touch that waits.")],
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it ends by itself: a time (ISO 8601), or 7d from now.")
    ] = None,
    json: Json = False,
) -> None:
    """Let touches wait: runs and their timers go on, and nothing lapses in silence."""
    _run(_pauses_call(what, by, reason, until, _output(json)))


async def _pauses_call(what: str, by: str, reason: str, until: str | None, out: "Output") -> None:
    from ops import pause_view
    from ops.installation import opened
    from ops.pauses import call_pause
    from workflows.registry import CARDS

    end = _span_or_moment(until, "--until") if until is not None else None
    async with opened() as here:
        now = here.clock.now()
        line = await call_pause(
            here,
            what,
            by=by,
            reason=reason,
            until=now + end if isinstance(end, timedelta) else end,
            journeys=[card.name for card in CARDS],
            now=now,
        )
    out.one(line, pause_view.called)


@pauses.command("end", epilog=_example("perennial pauses end journey/nurture --by Kim"))
def pauses_end(what: What, by: Annotated[str, typer.Option(help="Who ends it.")], json: Json = False) -> None:
    """End a halt: whatever waits for it asks again at once."""
    _run(_pauses_end(what, by, _output(json)))


async def _pauses_end(what: str, by: str, out: "Output") -> None:
    from ops import pause_view
    from ops.installation import opened
    from ops.pauses import end_pause

    async with opened() as here:
        line = await end_pause(here, what, by, here.clock.now())
    out.one(line, pause_view.ended)


@inbox.command("list", epilog=_example("perennial inbox list --failed"))
def inbox_list(
    failed: Annotated[bool, typer.Option("--failed", help="Only those that were not understood.")] = False,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """Stored requests, the newest first."""
    _run(_inbox_list(failed, limit, _output(json)))


async def _inbox_list(failed: bool, limit: int, out: "Output") -> None:
    from ops import queues, views
    from ops.installation import opened

    async with opened() as here, here.reading() as conn:
        lines = await queues.list_inbox(conn, limit, *([queues.FAILED] if failed else []))
    out.many(lines, views.inbox)


@inbox.command("retry", epilog=_example("perennial inbox retry"))
def inbox_retry(
    ids: Annotated[list[int] | None, typer.Argument(metavar="ID", help="All that failed if not given.")] = None,
    json: Json = False,
) -> None:
    """Read stored requests again after a fix; exits 1 if one is still not understood."""
    _run(_inbox_retry(ids or [], _output(json)))


async def _inbox_retry(ids: list[int], out: "Output") -> None:
    import logging

    import structlog

    from contacts.inbox import Inbox
    from ops import retry, views
    from ops.installation import opened

    # The answer says what failed; a log line on standard output would break the JSON.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    failed = 0
    async with opened() as here:
        async for one in retry.retry(Inbox(here.intake), retry.sources(here.settings), here.clock, ids):
            out.one(one, views.retried)
            failed += one.error is not None
    raise typer.Exit(1 if failed else 0)


To = Annotated[str | None, typer.Option(metavar="SYSTEM", help="Only to this one: hubspot, webhook/erp ...")]
SinceOption = Annotated[str | None, typer.Option(metavar="TIME", help="Only since: a time (ISO 8601), or 7d ago.")]


@outgoing.command("list", epilog=_example("perennial outgoing list --failed"))
def outgoing_list(
    to: To = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only what could not be told.")] = False,
    since: SinceOption = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """What other systems are told of, the newest first."""
    _run(_outgoing_list(to, failed, since, limit, _output(json)))


async def _outgoing_list(to: str | None, failed: bool, since: str | None, limit: int, out: "Output") -> None:
    from ops import outgoing, views
    from ops.installation import opened

    begin = _span_or_moment(since, "--since") if since is not None else None
    async with opened() as here, here.reading() as conn:
        which = outgoing.chosen(to=to, status="failed" if failed else None, since=_before(here.clock.now(), begin))
        lines = await outgoing.list_tellings(conn, which, limit)
    out.many(lines, views.tellings)


@outgoing.command("replay", epilog=_example("perennial outgoing replay --to webhook/erp --since 7d --yes"))
def outgoing_replay(
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="ID", help="These; all that failed if none are given.")
    ] = None,
    to: To = None,
    since: SinceOption = None,
    all: Annotated[
        bool, typer.Option("--all", help="Also what was told already; its id lets a receiver drop it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not only say how many that would be.")] = False,
    json: Json = False,
) -> None:
    """Tell other systems again."""
    _run(_outgoing_replay(ids or [], to, since, all, yes, _output(json)))


async def _outgoing_replay(
    ids: list[int], to: str | None, since: str | None, all: bool, yes: bool, out: "Output"
) -> None:
    from ops import outgoing, views
    from ops.installation import opened
    from ops.output import Failure

    begin = _span_or_moment(since, "--since") if since is not None else None
    async with opened() as here:
        now = here.clock.now()
        which = outgoing.chosen(to=to, status=None if all or ids else "failed", since=_before(now, begin), ids=ids)
        if not yes and not ids:
            async with here.reading() as conn:
                count = len(await outgoing.list_tellings(conn, which, 1_000_000))
            raise Failure(f"that would tell {count} events again: --yes does so", status=2)
        out.one(await outgoing.replay(here.engine, which, now, ids), views.replayed)


def _before(now: datetime, begin: timedelta | datetime | None) -> datetime | None:
    return now - begin if isinstance(begin, timedelta) else begin


@app.command(epilog=_example("perennial reviews --segment high_value"))
def reviews(
    segment: Annotated[str | None, typer.Option(metavar="SEGMENT", help="Only of contacts who are in it.")] = None,
    json: Json = False,
) -> None:
    """Runs somebody should look at."""
    _run(_reviews(segment, _output(json)))


async def _reviews(segment: str | None, out: "Output") -> None:
    from contacts import rollouts
    from ops import queues, views
    from ops.installation import opened
    from ops.segments import segment_of

    async with opened() as here, here.reading() as conn:
        among = [rollouts.members(segment_of(here.policy, segment))] if segment is not None else []
        lines = await queues.list_reviews(conn, *among)
    out.many(lines, views.reviews)


@app.command(epilog=_example("perennial doctor"))
def doctor(json: Json = False) -> None:
    """Is every part well? A line each, with what to do; exits 1 if one is not."""
    _run(_doctor(json))


async def _doctor(json: bool) -> None:
    from ops.doctor import examine
    from ops.output import JsonLines, printable

    failed = False
    async for check in examine():
        # Not through the terminal's width: each check is one line, for grep.
        JsonLines().one(check, str) if json else print(printable(str(check)), flush=True)
        failed = failed or check.state == "fail"
    raise typer.Exit(1 if failed else 0)


@app.command(epilog=_example("perennial verify --since 7d"))
def verify(
    contact: Annotated[
        str | None, typer.Argument(metavar="[CONTACT]", help="Only this one: an id, e-mail address, phone number ...")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is safe to mend; never sends anything.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what was done since: a time (ISO 8601), or 7d ago.")
    ] = None,
    json: Json = False,
) -> None:
    """Prove that every promise was kept; each broken one is a line, and exits 1."""
    _run(_verify(contact, repair, since, json))


async def _verify(contact: str | None, repair: bool, since: str | None, json: bool) -> None:
    import logging

    import structlog

    from ops.installation import opened
    from ops.output import JsonLines, printable
    from ops.temporal import TemporalRuns
    from ops.verify.proof import Proof
    from ops.verify.repair import Repairs
    from ops.verify.workflows import Workflows, connected
    from workflows.registry import CARDS

    # The answer says what came of it; a log line on standard output would break the JSON.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    def say(line: object) -> None:
        # Not through the terminal's width: each finding is one line, for grep.
        JsonLines().one(line, str) if json else print(printable(str(line)))

    begin = _span_or_moment(since, "--since") if since is not None else None
    async with opened() as here, connected(here) as client:
        if isinstance(begin, timedelta):
            begin = here.clock.now() - begin
        proof = Proof(here, Workflows(client), CARDS, contact, begin)
        repairs = Repairs(here, TemporalRuns(client, here.clock, here.settings.task_queue)) if repair else None
        with _progress("contacts") as progress:
            async for finding in proof.findings(progress):
                say(finding)
                if repairs is not None and (done := await repairs.mend(finding)) is not None:
                    say(done)
        say(proof.summary)
    raise typer.Exit(1 if proof.summary.faults else 0)


def _span_or_moment(text: str, option: str) -> timedelta | datetime:
    from ops.scenario import offset

    try:
        return offset(text)
    except ValueError:
        return _moment(text, option)


@contextmanager
def _progress(what: str) -> "Iterator[Callable[[int, int], None]]":
    """A bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def main() -> None:
    """The console script."""
    app(prog_name="perennial")


if __name__ == "__main__":
    main()
