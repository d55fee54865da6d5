"""Reads a journey's own code for what its card need not repeat: what each stage sends, waits for and leads to.

Routing only tells a run of events it may be waiting for; this is how it knows, and what the journey's page and lint are
made from. No stage is run. What a template, a condition or a channel is must follow from the code as it stands: from
literals, from what the file defines or imports, and from what a stage gives to its helpers. Where there are several
possibilities (an ``if``, a loop over a tuple), all of them are read. That is also what makes a journey readable.
"""

import ast
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from contacts.specs import Card, Condition, InvalidCard, Pattern, Trigger
from workflows.base import APPROVAL_ANSWERED, HANDOFF_ANSWERED, Journey
from workflows.expressions import SCOPES, Known, Namespace, Options, falls_through, keywords, options, walk

_ASKS = ("send", "wait", "sleep", "hand_off", "approval", "record_event")
_NO_CONTEXT = ("template", "purpose", "channel", "valid_for")
_UNITS = ("days", "hours", "minutes")


@dataclass(frozen=True)
class Send:
    """A touch a stage may ask for.

    Attributes:
        purpose: The card's, unless the send says so; None where it is decided at run time.
        channel: None where it is decided at run time, as the best of the template's unless the send names one.
        context: Names of what the template is given; None where they are decided at run time.
    """

    line: int
    template: str
    purpose: str | None
    channel: str | None
    context: frozenset[str] | None = frozenset()


@dataclass(frozen=True)
class SendNamed:
    """A touch whose template the entry event names, as that of a broadcast does."""

    line: int


@dataclass(frozen=True)
class Wait:
    """A wait for an event. ``limit`` is how long at most (``10 minutes``, ``until noon``); None: there is none."""

    line: int
    conditions: tuple[Trigger, ...]
    limit: str | None


@dataclass(frozen=True)
class Sleep:
    """Time a stage lets pass. ``length`` as the ``limit`` of a wait."""

    line: int
    length: str | None


@dataclass(frozen=True)
class HandOff:
    """A hand-off to a person. ``reason`` is None where it is put together at run time."""

    line: int
    reason: str | None


@dataclass(frozen=True)
class Approval:
    """A question to a person. ``what`` is None where it is put together at run time."""

    line: int
    what: str | None
    limit: str | None


@dataclass(frozen=True)
class Note:
    """An event that a stage records. ``type`` is None where it is decided at run time."""

    line: int
    type: str | None


@dataclass(frozen=True)
class Look:
    """A question whether the contact has a flag (``strong``), on which the way depends."""

    line: int
    flag: str


Step = Send | SendNamed | Wait | Sleep | HandOff | Approval | Note | Look


@dataclass(frozen=True)
class StageFlow:
    """What a stage may do, in the order it is written and with what its helpers do, and what may come after it.

    Attributes:
        next: Stages it may go to.
        may_end: Whether the run may be complete after it.
    """

    name: str
    line: int
    steps: tuple[Step, ...]
    next: tuple[str, ...]
    may_end: bool


@dataclass(frozen=True)
class Flow:
    """A journey as its code has it.

    Attributes:
        card: With the messages and the events its waits may hear.
        file: Path of its module from the root, such as ``workflows/welcome.py``.
        lines: Where each part of the card is written.
        stages: In the order they are written; a run begins with the first.
    """

    card: Card
    file: str
    line: int
    lines: Mapping[str, int]
    stages: tuple[StageFlow, ...]

    def line_of(self, part: str) -> int:
        """Where a part of the card is written; the class's line if not in its own file."""
        return self.lines.get(part, self.line)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Those of all stages; what stages share comes once."""
        return tuple(dict.fromkeys(step for stage in self.stages for step in stage.steps))


def card_of(cls: type[Journey]) -> Card:
    """The journey's card with its messages and the events its waits may hear.

    Raises:
        InvalidCard: See ``flow_of``.
    """
    return flow_of(cls).card


def flow_of(cls: type[Journey]) -> Flow:
    """Reads a journey.

    Raises:
        InvalidCard: It sends nothing; what it sends, waits for or goes on to does not follow from its code; or it does
            so where no stage leads, so that its run would never hear of it. The message begins with file and line.
    """
    return _Code(cls).flow()


def _heard_by(step: Step) -> Sequence[Trigger]:
    match step:
        case Wait():
            return step.conditions
        case HandOff():
            return [HANDOFF_ANSWERED]
        case Approval():
            return [APPROVAL_ANSWERED]
    return []


class _Code:
    """A journey's class as it is written, and what its file defines."""

    def __init__(self, cls: type[Journey]) -> None:
        module = inspect.getmodule(cls)
        tree = ast.parse(inspect.getsource(module or cls))
        self._card = cls.card
        self._file = cls.__module__.replace(".", "/") + ".py"
        self._class = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == cls.__name__)
        self._methods = {n.name: n for n in self._class.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        self._names = Namespace(vars(module), self._class)

    def flow(self) -> Flow:
        stages = tuple(self._stage(name) for name in self._card.stages)
        steps = list(dict.fromkeys(step for stage in stages for step in stage.steps))
        self._must_be_followed({step.line for step in steps})
        messages = dict.fromkeys(step.template for step in steps if isinstance(step, Send))
        if not any(isinstance(step, Send | SendNamed) for step in steps):
            raise self._refused(self._class.lineno, "sends no message")
        hears = dict.fromkeys(condition for step in steps for condition in _heard_by(step))
        decorators = [d for d in self._class.decorator_list if isinstance(d, ast.Call)]
        return Flow(
            card=replace(self._card, messages=tuple(messages), hears=tuple(hears)),
            file=self._file,
            line=self._class.lineno,
            lines={k.arg: k.value.lineno for d in decorators for k in d.keywords if k.arg},
            stages=stages,
        )

    def _stage(self, name: str) -> StageFlow:
        following = list(dict.fromkeys(self._following(name, {}, ())))
        return StageFlow(
            name=name,
            line=self._methods[name].lineno,
            steps=tuple(dict.fromkeys(self._steps(name, {}, ()))),
            next=tuple(stage for stage in following if stage is not None),
            may_end=None in following,
        )

    def _refused(self, line: int, why: str) -> InvalidCard:
        return InvalidCard(f"{self._file}:{line}: {self._card.name}: {why}")

    def _must_be_followed(self, lines: set[int]) -> None:
        """Refuses a journey that asks for something elsewhere than on these lines."""
        owned = {id(n.value) for n in ast.walk(self._class) if isinstance(n, ast.Attribute)}
        for node in walk(self._methods.values()):
            match node:
                case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in _ASKS and node.lineno not in lines:
                    raise self._refused(node.lineno, "no stage leads here: call the helper by its name")
                case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                    if name not in self._methods and not hasattr(Journey, name):
                        raise self._refused(node.lineno, f"self.{name} is no method of this class")
                case ast.Name(id="self") if id(node) not in owned:
                    raise self._refused(node.lineno, "what asks for self cannot be followed: make it a method")

    # What a stage does.

    def _steps(self, method: str, given: Known, within: tuple[str, ...]) -> Iterator[Step]:
        known = self._names.known(self._methods[method], given)
        for node in walk(self._methods[method].body):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                    if name in self._methods and name not in (*within, method):
                        arguments = self._names.arguments(self._methods[name], node, known)
                        yield from self._steps(name, arguments, (*within, method))
                    elif name in _ASKS:
                        yield from self._asked(name, node, known)
                case ast.Compare(left=asked, ops=[ast.In() | ast.NotIn()], comparators=[where]):
                    if any(isinstance(o, ast.Attribute) and o.attr == "flags" for o in options(where, known)):
                        flags = [self._text(o) for o in options(asked, known)]
                        yield from (Look(node.lineno, flag) for flag in flags if flag is not None)

    def _asked(self, name: str, call: ast.Call, known: Known) -> Iterator[Step]:
        line = call.lineno
        named = keywords(call, known)
        first = options(call.args[0], known) if call.args else ()
        match name:
            case "send":
                yield from self._sends(line, first or named.get("template", ()), named)
            case "wait":
                conditions = [c for arg in call.args for c in self._conditions(arg, line, known)]
                yield Wait(line, tuple(conditions), self._limit(named))
            case "sleep":
                yield Sleep(line, self._limit(named))
            case "hand_off":
                yield from (HandOff(line, self._text(o)) for o in first or named.get("reason", ()))
            case "approval":
                yield from (Approval(line, self._text(o), self._limit(named)) for o in first or named.get("what", ()))
            case "record_event":
                yield from (Note(line, self._text(o)) for o in first or named.get("type", ()))

    def _sends(self, line: int, templates: Options, named: Mapping[str | None, Options]) -> Iterator[Send | SendNamed]:
        names = [self._text(option) for option in templates]
        purposes = [self._text(option) for option in named.get("purpose", ())] or [self._card.purpose]
        channels = [self._text(option) for option in named.get("channel", ())] or [None]
        context = None if None in named else frozenset(name for name in named if name and name not in _NO_CONTEXT)
        if [ast.unparse(option) for option in templates] == ["self.entry.template"]:
            yield SendNamed(line)
            return
        for name, purpose, channel in product(names or [None], purposes, channels):
            if name is None:
                raise self._refused(line, "sends what? write the template's name out, or a constant that is one")
            yield Send(line, name, purpose, channel, context)

    def _conditions(self, node: ast.expr, line: int, known: Known) -> Iterator[Trigger]:
        several = isinstance(node, ast.Starred)
        for option in options(node.value if isinstance(node, ast.Starred) else node, known):
            found = self._value(option)
            for condition in found if several and isinstance(found, tuple | list) else [found]:
                if not isinstance(condition, Condition | Pattern):
                    raise self._refused(
                        line, "waits for what? write on(...) or often(...) out, or a constant that is one"
                    )
                yield condition

    def _limit(self, named: Mapping[str | None, Options]) -> str | None:
        match named.get("until"):
            case [ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr="after")) as after]:
                return self._limit(keywords(after, {}))
            case [ast.Constant(value=None)]:
                return None
            case [_, *_] as moments:
                return f"until {' or '.join(map(ast.unparse, moments))}"
        parts = [self._span(named[unit], unit) for unit in _UNITS if unit in named]
        parts += [ast.unparse(option) for option in named.get(None, ())]
        return " ".join(parts) or None

    def _span(self, lengths: Options, unit: str) -> str:
        values = [self._value(length) for length in lengths]
        numbers = [
            f"{v:g}" if isinstance(v, int | float) else ast.unparse(o) for v, o in zip(values, lengths, strict=True)
        ]
        return f"{' or '.join(numbers)} {unit[:-1] if numbers == ['1'] else unit}"

    def _text(self, node: ast.expr) -> str | None:
        value = self._value(node)
        return value if isinstance(value, str) else None

    def _value(self, node: ast.expr) -> object:
        """What the expression is worth; None where only a run can tell."""
        try:
            return self._names.value(node)
        except ValueError:
            return None

    # Where a stage leads.

    def _following(self, method: str, given: Known, within: tuple[str, ...]) -> Iterator[str | None]:
        """Stages the method may return; None where it may return nothing."""
        body = self._methods[method].body
        known = self._names.known(self._methods[method], given)
        for statement in walk(body, SCOPES):
            match statement:
                case ast.Return(value=None):
                    yield None
                case ast.Return(value=ast.expr() as value):
                    for target in options(value, known):
                        yield from self._targets(target, statement.lineno, known, (*within, method))
        if falls_through(body):
            yield None

    def _targets(self, target: ast.expr, line: int, known: Known, within: tuple[str, ...]) -> Iterator[str | None]:
        match target:
            case ast.Constant(value=None):
                yield None
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in self._card.stages:
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)) if name in self._methods:
                if name not in within:
                    arguments = self._names.arguments(self._methods[name], target, known)
                    yield from self._following(name, arguments, within)
            case _:
                raise self._refused(line, "return a stage as it is written (return self.educate) or nothing")
