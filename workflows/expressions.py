"""What expressions may stand for, told from the code of a method and from what its file defines.

Names are followed back to what they are given. Where there are several possibilities (both sides of an ``if``, each
item of a loop), all of them count.
"""

import ast
import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

Method = ast.FunctionDef | ast.AsyncFunctionDef

Options = tuple[ast.expr, ...]
"""The expressions a value may come from. A name among them is one that cannot be followed further."""

Known = Mapping[str, Options]
"""What the names of a method may stand for."""

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


class Namespace:
    """What a module defines or imports, without the names that ``code`` uses for something else."""

    def __init__(self, namespace: Mapping[str, Any], code: ast.AST) -> None:
        hidden = {n.arg for n in ast.walk(code) if isinstance(n, ast.arg)}
        hidden |= {n.id for n in ast.walk(code) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        self._names = {name: value for name, value in namespace.items() if name not in hidden}

    def value(self, node: ast.expr) -> Any:
        """What the expression is worth.

        Raises:
            ValueError: It depends on more than the file.
        """
        try:
            code = compile(ast.fix_missing_locations(ast.Expression(node)), "<expression>", "eval")
            return eval(code, dict(self._names))  # noqa: S307 - it stands in a file that has been imported, and so run
        except Exception as problem:
            raise ValueError(f"{ast.unparse(node)}: {problem}") from None

    def known(self, method: Method, given: Known) -> Known:
        """What names stand for inside a method that is called so."""
        known = dict(given)
        for _ in range(2):  # in a loop a name may be used before the line that gives it another value
            for name, value in self._assigned(method.body, known):
                found = (_unknown(name),) if value is None else options(value, known)
                known[name] = _different((*known.get(name, ()), *found))
        return known

    def arguments(self, method: Method, call: ast.Call, known: Known) -> Known:
        """What the parameters of a method stand for in one call of it."""
        spec = method.args
        positional = [a.arg for a in spec.args][1:]
        names = [*positional, *(a.arg for a in spec.kwonlyargs)]
        named = keywords(call, known)
        defaults = [*spec.defaults, *(d for d in spec.kw_defaults if d is not None)]
        defaulted = [*positional[len(positional) - len(spec.defaults) :]]
        defaulted += [a.arg for a, d in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if d is not None]
        given: dict[str, Options] = {name: (_unknown(name),) for name in names}
        if None not in named:
            given |= {name: (default,) for name, default in zip(defaulted, defaults, strict=True)}
        if not any(isinstance(arg, ast.Starred) for arg in call.args):
            given |= {name: options(arg, known) for name, arg in zip(positional, call.args, strict=False)}
        given |= {name: value for name, value in named.items() if name in given}
        if spec.kwarg is not None and None not in named:
            rest = {name: value for name, value in named.items() if name is not None and name not in given}
            values = [value[0] if len(value) == 1 else _unknown(name) for name, value in rest.items()]
            given[spec.kwarg.arg] = (ast.Dict([ast.Constant(name) for name in rest], values),)
        return given

    def _assigned(self, body: Iterable[ast.AST], known: Known) -> Iterator[tuple[str, ast.expr | None]]:
        """Names and what they are given; None where that cannot be followed."""
        for node in walk(body, SCOPES):
            match node:
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        yield from _bound(target, value)
                case (
                    ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value)
                ):
                    yield from _bound(target, value)
                case ast.For(target=target, iter=items) | ast.comprehension(target=target, iter=items):
                    for item in self._items(items, known):
                        yield from _bound(target, item)
                case ast.AugAssign(target=target) | ast.AsyncFor(target=target) | ast.withitem(optional_vars=target):
                    yield from _bound(target, None)
                case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                    yield name, None

    def _items(self, items: ast.expr, known: Known) -> Iterator[ast.expr | None]:
        for option in options(items, known):
            match option:
                case ast.Tuple(elts=found) | ast.List(elts=found):
                    yield from found
                    continue
            try:
                value = self.value(option)
            except ValueError:
                value = None
            if isinstance(value, Collection):
                everything = ast.Call(ast.Name("list", ast.Load()), [option], [])
                yield from (ast.Subscript(everything, ast.Constant(n), ast.Load()) for n in range(len(value)))
            else:
                yield None


def options(node: ast.expr, known: Known) -> Options:
    """Everything the expression may stand for, with the names in it replaced where only one thing is meant."""
    match node:
        case ast.IfExp(body=one, orelse=other):
            return _different((*options(one, known), *options(other, known)))
        case ast.Await(value=inner) | ast.NamedExpr(value=inner):
            return options(inner, known)
        case ast.Name(id=name) if name in known:
            return known[name]
    return (_Replaced(known).visit(copy.deepcopy(node)),)


def keywords(call: ast.Call, known: Known) -> dict[str | None, Options]:
    """What a call gives by name. Under None: a ``**`` of which the names are not known."""
    given: dict[str | None, Options] = {}
    for keyword in call.keywords:
        values = options(keyword.value, known)
        match (keyword.arg, *values):
            case (None, ast.Dict(keys=keys, values=parts)) if all(isinstance(k, ast.Constant) for k in keys):
                given |= {str(k.value): (v,) for k, v in zip(keys, parts, strict=True) if isinstance(k, ast.Constant)}
            case _:
                given[keyword.arg] = values
    return given


def walk(nodes: Iterable[ast.AST], stop: tuple[type[ast.AST], ...] = ()) -> Iterator[ast.AST]:
    """Every node in the order of the source, without what is inside a node of the kinds in ``stop``."""
    for node in nodes:
        yield node
        if not isinstance(node, stop):
            yield from walk(ast.iter_child_nodes(node), stop)


def falls_through(statements: Iterable[ast.stmt]) -> bool:
    """Whether what follows the statements may be reached."""
    return all(_passes(statement) for statement in statements)


def _passes(statement: ast.stmt) -> bool:
    match statement:
        case ast.Return() | ast.Raise() | ast.Continue() | ast.Break():
            return False
        case ast.If():
            return falls_through(statement.body) or falls_through(statement.orelse)
        case ast.While(test=ast.Constant(value=value)) if value:
            return any(isinstance(n, ast.Break) for n in walk(statement.body, SCOPES))
        case ast.With() | ast.AsyncWith():
            return falls_through(statement.body)
        case ast.Try() | ast.TryStar():
            tried = falls_through([*statement.body, *statement.orelse])
            return falls_through(statement.finalbody) and (
                tried or any(falls_through(handler.body) for handler in statement.handlers)
            )
        case ast.Match():
            last = statement.cases[-1]
            everything = last.guard is None and isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
            return not everything or any(falls_through(case.body) for case in statement.cases)
    return True


class _Replaced(ast.NodeTransformer):
    def __init__(self, known: Known) -> None:
        self._known = known

    def visit_Name(self, node: ast.Name) -> ast.expr:
        match self._known.get(node.id):
            case (only,):
                return only
        return node


def _bound(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, ast.expr | None]]:
    """What each name of a target is given."""
    match target, value:
        case ast.Name(id=name), _:
            yield name, value
        case ast.Tuple(elts=names), ast.Tuple(elts=values) if len(names) == len(values):
            for one, its in zip(names, values, strict=True):
                yield from _bound(one, its)
        case ast.Tuple(elts=names), ast.Subscript():
            for n, one in enumerate(names):
                yield from _bound(one, ast.Subscript(value, ast.Constant(n), ast.Load()))
        case _:
            yield from (
                (n.id, None) for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            )


def _unknown(name: str) -> ast.expr:
    # In a context for storing it has no value, even if the file has something of that name.
    return ast.Name(name, ast.Store())


def _different(found: Options) -> Options:
    return tuple({ast.dump(option): option for option in found}.values())
