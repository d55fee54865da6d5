"""Reads a journey's own code for what its card need not repeat: what each stage sends, waits for and leads to.

Routing only tells a run of events it may be waiting for; this is how it knows, and what the journey's page and lint are
made from. Nothing is executed, so templates, conditions and stages must be written out in the journey's file, as
literals, as constants of the file or as what a stage gives to its helper. That is also what makes a journey readable.
Only ``self.entry.template`` stands for a template that is not: the one its event names.
"""

import ast
import copy
import inspect
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from contacts.specs import Card, Condition, InvalidCard, on
from workflows.base import HANDOFF_ANSWERED, LIFECYCLE, PROMOTIONAL, TRANSACTIONAL, Journey

_PURPOSES = {"PROMOTIONAL": PROMOTIONAL, "LIFECYCLE": LIFECYCLE, "TRANSACTIONAL": TRANSACTIONAL}
_UNITS = ("days", "hours", "minutes")
_ASKS = ("send", "wait", "sleep", "hand_off", "approval")
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)

Known = Mapping[str, ast.expr]
"""What names stand for."""


@dataclass(frozen=True)
class Send:
    """A touch a stage may ask for. ``purpose`` (the card's, unless the send says so) and ``channel`` are None where
    they are decided at run time.
    """

    line: int
    template: str
    purpose: str | None
    channel: str | None

    def __str__(self) -> str:
        by = "" if self.channel == "email" else f" by {self.channel or 'the channel of the moment'}"
        return f"sends {self.template}{by}"


@dataclass(frozen=True)
class SendNamed:
    """A touch whose template the entry event names, as that of a broadcast does."""

    line: int

    def __str__(self) -> str:
        return "sends the message its event names"


@dataclass(frozen=True)
class Wait:
    """A wait for an event. ``limit`` is how long at most (``10 minutes``, ``until noon``); None: there is none."""

    line: int
    conditions: tuple[Condition, ...]
    limit: str | None

    def __str__(self) -> str:
        return f"waits for {' or '.join(map(str, self.conditions)) or 'time to pass'}{_at_most(self.limit)}"


@dataclass(frozen=True)
class Sleep:
    """Time a stage lets pass. ``length`` as the ``limit`` of a wait."""

    line: int
    length: str | None

    def __str__(self) -> str:
        return f"sleeps {self.length or 'no time'}"


@dataclass(frozen=True)
class HandOff:
    """A hand-off to a person. ``reason`` is None where it is put together at run time."""

    line: int
    reason: str | None

    def __str__(self) -> str:
        return "hands over" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Approval:
    """A question to a person. ``what`` is None where it is put together at run time."""

    line: int
    what: str | None
    limit: str | None

    def __str__(self) -> str:
        return f"asks a person to approve {self.what or 'something'}{_at_most(self.limit)}"


Step = Send | SendNamed | Wait | Sleep | HandOff | Approval


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
        InvalidCard: It sends nothing, or a template, a condition or the stage to go to is not written out, or there is
            a send or a wait that no stage leads to.
    """
    tree = ast.parse(inspect.getsource(inspect.getmodule(cls) or cls))
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == cls.__name__)
    code = _Code(cls.card, tree, node)
    stages = tuple(code.stage(name) for name in cls.card.stages)
    code.must_be_read({step.line for stage in stages for step in stage.steps})
    decorators = [d for d in node.decorator_list if isinstance(d, ast.Call)]
    flow = Flow(
        card=cls.card,
        file=cls.__module__.replace(".", "/") + ".py",
        line=node.lineno,
        lines={k.arg: k.value.lineno for d in decorators for k in d.keywords if k.arg},
        stages=stages,
    )
    messages = [step.template for step in flow.steps if isinstance(step, Send)]
    if not any(isinstance(step, Send | SendNamed) for step in flow.steps):
        raise InvalidCard(f"{cls.card.name}: sends no message")
    hears = [condition for step in flow.steps for condition in _heard_by(step)]
    card = replace(cls.card, messages=tuple(dict.fromkeys(messages)), hears=tuple(dict.fromkeys(hears)))
    return replace(flow, card=card)


def _heard_by(step: Step) -> Sequence[Condition]:
    match step:
        case Wait():
            return step.conditions
        case HandOff():
            return [HANDOFF_ANSWERED]
    return []


def _at_most(limit: str | None) -> str:
    if limit is None:
        return ""
    return f", {limit}" if limit.startswith("until ") else f", at most {limit}"


class _Code:
    """A journey's class, and the constants of its file."""

    def __init__(self, card: Card, tree: ast.Module, node: ast.ClassDef) -> None:
        self._card = card
        self._constants = _bound(tree.body, {})
        self._methods = {
            n.name: n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.args.args
        }

    def stage(self, name: str) -> StageFlow:
        following = list(dict.fromkeys(self._following(name, {}, ())))
        return StageFlow(
            name=name,
            line=self._methods[name].lineno,
            steps=tuple(dict.fromkeys(self._steps(name, {}, ()))),
            next=tuple(stage for stage in following if stage is not None),
            may_end=None in following,
        )

    def must_be_read(self, lines: Collection[int]) -> None:
        """Refuses a journey that asks for something elsewhere than on these lines: its run would never hear of it."""
        for node in _walk(list(self._methods.values())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                    if name in _ASKS and node.lineno not in lines:
                        raise InvalidCard(
                            f"{self._card.name}: line {node.lineno}: no stage leads here: call the helper by its name"
                        )

    def _steps(self, method: str, given: Known, within: tuple[str, ...]) -> Iterator[Step]:
        known = self._known(method, given)
        for call in _walk(self._methods[method].body):
            match call:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                    keywords = {k.arg: _resolved(k.value, known) for k in call.keywords}
                    args = [_resolved(a, known) for a in call.args]
                    if name in self._methods and name not in (*within, method):
                        yield from self._steps(name, self._arguments(name, call, known), (*within, method))
                    elif (step := self._step(name, call.lineno, args, keywords)) is not None:
                        yield step

    def _step(
        self, name: str, line: int, args: Sequence[ast.expr], keywords: Mapping[str | None, ast.expr]
    ) -> Step | None:
        match name:
            case "send":
                template = args[0] if args else keywords.get("template")
                if isinstance(template, ast.Attribute) and ast.unparse(template) == "self.entry.template":
                    return SendNamed(line)
                purpose = _text(keywords["purpose"]) if "purpose" in keywords else self._card.purpose
                channel = _text(keywords["channel"]) if "channel" in keywords else "email"
                return Send(line, self._literal(template, line), purpose, channel)
            case "wait":
                return Wait(line, tuple(self._condition(c, line) for c in args), _limit(keywords))
            case "sleep":
                return Sleep(line, _limit(keywords))
            case "hand_off":
                return HandOff(line, _text(args[0] if args else keywords.get("reason")))
            case "approval":
                return Approval(line, _text(args[0] if args else keywords.get("what")), _limit(keywords))
        return None

    def _following(self, method: str, given: Known, within: tuple[str, ...]) -> Iterator[str | None]:
        """Stages the method may return; None where it may return nothing."""
        node = self._methods[method]
        known = self._known(method, given)
        for statement in _walk(node.body, _SCOPES):
            if isinstance(statement, ast.Return):
                yield from self._targets(statement.value, statement.lineno, method, known, within)
        if _falls_through(node.body):
            yield None

    def _targets(
        self, value: ast.expr | None, line: int, method: str, known: Known, within: tuple[str, ...]
    ) -> Iterator[str | None]:
        match value:
            case None | ast.Constant(value=None):
                yield None
                return
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in self._card.stages:
                yield name
                return
            case ast.IfExp():
                yield from self._targets(value.body, line, method, known, within)
                yield from self._targets(value.orelse, line, method, known, within)
                return
            case ast.Await(value=inner) | ast.NamedExpr(value=inner):
                yield from self._targets(inner, line, method, known, within)
                return
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)) if name in self._methods:
                if name not in (*within, method):
                    yield from self._following(name, self._arguments(name, value, known), (*within, method))
                return
            case ast.Name(id=name) if name in known:
                yield from self._targets(known[name], line, method, known, within)
                return
            case ast.Name(id=name) if values := _assigned(self._methods[method], name):
                this = f"{method}.{name}"
                for one in values if this not in within else ():
                    yield from self._targets(one, line, method, known, (*within, this))
                return
        raise InvalidCard(
            f"{self._card.name}: line {line}: return a stage as it is written (return self.educate) or nothing"
        )

    def _known(self, method: str, given: Known) -> Known:
        """What names stand for inside a method: constants, what it was given, and locals that never change."""
        node = self._methods[method]
        parameters = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
        stored = Counter(
            n.id for n in _walk(node.body, _SCOPES) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        )
        hidden = parameters | stored.keys()
        outer = {name: value for name, value in self._constants.items() if name not in hidden}
        outer |= {name: value for name, value in given.items() if name not in stored}
        steady = {name for name, times in stored.items() if times == 1 and name not in parameters}
        return outer | {
            name: value for name, value in _bound(_walk(node.body, _SCOPES), outer).items() if name in steady
        }

    def _arguments(self, method: str, call: ast.Call, known: Known) -> Known:
        """What the parameters of a helper stand for in one call of it."""
        spec = self._methods[method].args
        names = [a.arg for a in spec.args]
        defaults = dict(zip(names[len(names) - len(spec.defaults) :], spec.defaults, strict=True))
        defaults |= {a.arg: d for a, d in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if d is not None}
        given = {name: _resolved(value, self._constants) for name, value in defaults.items()}
        given |= {name: _resolved(value, known) for name, value in zip(names[1:], call.args, strict=False)}
        return given | {k.arg: _resolved(k.value, known) for k in call.keywords if k.arg}

    def _condition(self, node: ast.expr, line: int) -> Condition:
        match node:
            case ast.Call(func=ast.Name(id="on"), args=types, keywords=keywords):
                match = {k.arg: self._literal(k.value, line) for k in keywords if k.arg}
                return on(*(self._literal(t, line) for t in types), **match)
        raise InvalidCard(
            f"{self._card.name}: line {line}: a wait needs on(...) or a constant of this file that is one"
        )

    def _literal(self, node: ast.expr | None, line: int) -> Any:
        try:
            return ast.literal_eval(node)  # type: ignore[arg-type]  # None is no literal either
        except ValueError:
            raise InvalidCard(f"{self._card.name}: line {line}: write the value out") from None


def _walk(nodes: Iterable[ast.AST], stop: tuple[type[ast.AST], ...] = ()) -> Iterator[ast.AST]:
    """Every node in the order of the source, without what is inside a node of the kinds in ``stop``."""
    for node in nodes:
        yield node
        if not isinstance(node, stop):
            yield from _walk(ast.iter_child_nodes(node), stop)


def _bound(nodes: Iterable[ast.AST], outer: Known) -> dict[str, ast.expr]:
    """What plain assignments give names to, with the names in it replaced by what they stand for."""
    bound: dict[str, ast.expr] = {}
    for node in nodes:
        match node:
            case ast.Assign(targets=targets, value=value):
                known = {**outer, **bound}
                bound |= {t.id: _resolved(value, known) for t in targets if isinstance(t, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                bound[name] = _resolved(value, {**outer, **bound})
    return bound


def _assigned(method: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> list[ast.expr]:
    """Every value a local name is ever given."""
    return [values[name] for node in _walk(method.body, _SCOPES) if name in (values := _bound([node], {}))]


class _Names(ast.NodeTransformer):
    def __init__(self, known: Known) -> None:
        self._known = known

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._known.get(node.id, node)


def _resolved(node: ast.expr, known: Known) -> ast.expr:
    resolved: ast.expr = _Names(known).visit(copy.deepcopy(node))
    return resolved


def _text(node: ast.expr | None) -> str | None:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return _PURPOSES.get(name)
    return None


def _limit(keywords: Mapping[str | None, ast.expr]) -> str | None:
    match keywords.get("until"):
        case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr="after"), keywords=span):
            return _limit({k.arg: k.value for k in span})
        case ast.expr() as moment if not isinstance(moment, ast.Constant):
            return f"until {ast.unparse(moment)}"
    parts = [_length(keywords[unit], unit) for unit in _UNITS if unit in keywords]
    parts += [ast.unparse(keywords[None])] if None in keywords else []
    return " ".join(parts) or None


def _length(node: ast.expr, unit: str) -> str:
    number = ast.unparse(node)
    return f"{number} {unit[:-1] if number == '1' else unit}"


def _falls_through(statements: Sequence[ast.stmt]) -> bool:
    """Whether what follows the statements may be reached."""
    return all(_passes(statement) for statement in statements)


def _passes(statement: ast.stmt) -> bool:
    match statement:
        case ast.Return() | ast.Raise() | ast.Continue() | ast.Break():
            return False
        case ast.If():
            return _falls_through(statement.body) or _falls_through(statement.orelse)
        case ast.While(test=ast.Constant(value=value)) if value:
            return any(isinstance(n, ast.Break) for n in _walk(statement.body, _SCOPES))
        case ast.With() | ast.AsyncWith():
            return _falls_through(statement.body)
        case ast.Try() | ast.TryStar():
            tried = _falls_through([*statement.body, *statement.orelse])
            return _falls_through(statement.finalbody) and (
                tried or any(_falls_through(handler.body) for handler in statement.handlers)
            )
        case ast.Match():
            last = statement.cases[-1]
            everything = last.guard is None and isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
            return not everything or any(_falls_through(case.body) for case in statement.cases)
    return True
