"""Reads a journey's own code for what its card need not repeat: which messages it sends and which events it waits for.

Routing only tells a run of events it may be waiting for; this is how it knows. Everything must be written as
literals in the journey's file, which is also what makes a journey readable.
"""

import ast
import inspect
from dataclasses import replace
from typing import Any

from contacts.specs import Card, Condition, InvalidCard, on
from workflows.base import HANDOFF_ANSWERED, Journey


def card_of(cls: type[Journey]) -> Card:
    """The journey's card with its messages and the events its waits may hear.

    Raises:
        InvalidCard: ``wait`` or ``send`` is given something that is not written out.
    """
    tree = ast.parse(inspect.getsource(inspect.getmodule(cls) or cls))
    named = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    messages: list[str] = []
    hears: list[Condition] = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr="send"), args=[template, *_]):
                messages.append(_literal(cls, template))
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr="wait"), args=conditions):
                hears += [_condition(cls, named.get(c.id, c) if isinstance(c, ast.Name) else c) for c in conditions]
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr="hand_off")):
                hears.append(HANDOFF_ANSWERED)
    if not messages:
        raise InvalidCard(f"{cls.card.name}: sends no message")
    return replace(cls.card, messages=tuple(dict.fromkeys(messages)), hears=tuple(dict.fromkeys(hears)))


def _condition(cls: type[Journey], node: ast.expr) -> Condition:
    match node:
        case ast.Call(func=ast.Name(id="on"), args=types, keywords=keywords):
            match = {k.arg: _literal(cls, k.value) for k in keywords if k.arg}
            return on(*(_literal(cls, t) for t in types), **match)
    raise InvalidCard(
        f"{cls.card.name}: line {node.lineno}: a wait needs on(...) or a constant of this file that is one"
    )


def _literal(cls: type[Journey], node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise InvalidCard(f"{cls.card.name}: line {node.lineno}: write the value out") from None
