"""What a vendor's OpenAPI file needs before a mock can serve it: documents in, documents out.

The files are right about requests and careless about what only readers look at: examples that are null, answers of any
media type, security that no client could meet. Every function leaves its argument as it is.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

Document = Mapping[str, Any]
"""An OpenAPI 3 document, or a part of one."""

_COMPONENTS = "#/components/"

METHODS = ("get", "put", "post", "delete", "patch")


def without_null_examples(document: Document) -> Document:
    """Without ``"example": null``, which a mock would give as the answer's body."""

    def leave(node: Document) -> Document:
        return {name: value for name, value in node.items() if not (name == "example" and value is None)}

    return _rewritten(document, leave)


def with_json_answers(document: Document) -> Document:
    """With JSON where an answer's content is said to be of any type, which a mock cannot write."""

    def name(node: Document) -> Document:
        content = node.get("content")
        if not isinstance(content, Mapping) or "*/*" not in content:
            return node
        return {**node, "content": {("application/json" if n == "*/*" else n): v for n, v in content.items()}}

    return _rewritten(document, name)


def with_bearer(document: Document) -> Document:
    """With a bearer token as the one way in, to every operation."""
    components = {**document.get("components", {}), "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}}
    opened = _operations(document, lambda operation: {**operation, "security": [{"bearer": []}]})
    return {**opened, "components": components, "security": [{"bearer": []}]}


def with_said_errors(document: Document, statuses: Sequence[str] = ("400", "401", "429")) -> Document:
    """With these statuses as ``default`` describes them, where an operation names none of its own."""

    def say(operation: Document) -> Document:
        responses = operation.get("responses", {})
        if "default" not in responses:
            return operation
        said = dict.fromkeys(statuses, responses["default"])
        return {**operation, "responses": {**said, **responses}}

    return _operations(document, say)


def with_path(document: Document, theirs: str, ours: str) -> Document:
    """With another name that the vendor takes in paths: an object's own for the number of its type."""
    paths = document.get("paths", {})
    return {**document, "paths": {path.replace(theirs, ours): item for path, item in paths.items()}}


def with_paths_like(document: Document, pattern: str) -> Document:
    """With these paths only, and the components that they need: some schemas take a mock minutes to read."""
    kept = {path: item for path, item in document.get("paths", {}).items() if re.search(pattern, path)}
    components: Mapping[str, Mapping[str, Any]] = document.get("components", {})
    needed: set[tuple[str, str]] = set()
    todo: list[Any] = [kept]
    while todo:
        for kind, name in set(_references(todo.pop())) - needed:
            needed.add((kind, name))
            todo.append(components.get(kind, {}).get(name))
    left = {
        kind: {name: value for name, value in named.items() if kind == "securitySchemes" or (kind, name) in needed}
        for kind, named in components.items()
    }
    return {**document, "paths": kept, "components": left}


def merged(documents: Sequence[Document]) -> Document:
    """One document of several files of a vendor, their components kept apart.

    Raises:
        ValueError: Two of them describe the same path.
    """
    paths: dict[str, Any] = {}
    components: dict[str, dict[str, Any]] = {}
    for position, document in enumerate(documents):
        apart = _rewritten(document, partial(_with_marked_references, mark=f"f{position}."))
        for path, item in apart.get("paths", {}).items():
            if path in paths:
                raise ValueError(f"two files describe {path}")
            paths[path] = item
        for kind, named in apart.get("components", {}).items():
            mark = "" if kind == "securitySchemes" else f"f{position}."
            components.setdefault(kind, {}).update({mark + name: value for name, value in named.items()})
    first = documents[0]
    security = {"security": first["security"]} if "security" in first else {}
    return {
        "openapi": first["openapi"],
        "info": first["info"],
        **security,
        "paths": paths,
        "components": components,
    }


def prepared(documents: Sequence[Document], edits: Iterable[Callable[[Document], Document]]) -> Document:
    """A vendor's files as one document that a mock can serve."""
    document = merged(documents)
    for edit in edits:
        document = edit(document)
    return document


def _references(node: Any) -> Iterator[tuple[str, str]]:
    """The components that a part of a document refers to: kind and name."""
    if isinstance(node, Mapping):
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith(_COMPONENTS):
            kind, _, name = reference.removeprefix(_COMPONENTS).partition("/")
            yield kind, name
    for child in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        yield from _references(child)


def _with_marked_references(node: Document, mark: str) -> Document:
    reference = node.get("$ref")
    if isinstance(reference, str) and reference.startswith(_COMPONENTS):
        node = {**node, "$ref": _marked(reference, mark)}
    discriminator = node.get("discriminator")
    if isinstance(discriminator, Mapping) and isinstance(discriminator.get("mapping"), Mapping):
        mapping = {value: _marked(target, mark) for value, target in discriminator["mapping"].items()}
        node = {**node, "discriminator": {**discriminator, "mapping": mapping}}
    return node


def _marked(reference: str, mark: str) -> str:
    head, _, name = reference.rpartition("/")
    return f"{head}/{mark}{name}"


def _rewritten(node: Document, change: Callable[[Document], Document]) -> Document:
    """Every mapping of a document, changed from the outside in."""

    def inner(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _rewritten(value, change)
        return [inner(each) for each in value] if isinstance(value, list) else value

    return {name: inner(value) for name, value in change(node).items()}


def _operations(document: Document, change: Callable[[Document], Document]) -> Document:
    paths = {
        path: {name: change(value) if name in METHODS else value for name, value in item.items()}
        for path, item in document.get("paths", {}).items()
    }
    return {**document, "paths": paths}
