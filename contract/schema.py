"""What an OpenAPI document says of one request, for what a mock lets pass.

A mock ignores fields and query parameters that the document does not have, JSON of a vendor's own media type, and
nested forms. Here a field of another name is a fault wherever the document lists the fields and does not allow others.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl

import jsonschema_rs

from contract.preparation import Document

FORM = "application/x-www-form-urlencoded"

_COMBINERS = ("allOf", "anyOf", "oneOf")
_NOT_JSON_SCHEMA = (
    "nullable",
    "discriminator",
    "default",
    "example",
    "examples",
    "xml",
    "externalDocs",
    "readOnly",
    "writeOnly",
)


@dataclass(frozen=True)
class Operation:
    """An operation of a document.

    Attributes:
        path: As the document has it, with its parameters in braces.
        query: The names of its query parameters.
        bodies: The JSON schema of its body, by media type.
    """

    method: str
    path: str
    query: frozenset[str]
    bodies: Mapping[str, dict[str, Any]]

    def query_faults(self, query: str) -> list[str]:
        """Parameters in the query that the document does not have."""
        names = dict.fromkeys(name for name, _ in parse_qsl(query, keep_blank_values=True))
        # A parameter that is an object is written name[field].
        unknown = [name for name in names if name not in self.query and name.partition("[")[0] not in self.query]
        return [f"query: {name} is no parameter of this" for name in unknown]

    def body_faults(self, content_type: str, body: bytes) -> list[str]:
        """How the body differs from what the document says; none where it says nothing about this media type."""
        schema = self.bodies.get(_media_type(content_type))
        if schema is None or not body:
            return []
        if _media_type(content_type) == FORM:
            given = _typed(nested(parse_qsl(body.decode(), keep_blank_values=True)), schema)
        else:
            given = json.loads(body)
        return [
            "body{}: {}".format("".join(f".{part}" for part in error.instance_path), _shortened(error.message))
            for error in jsonschema_rs.Draft202012Validator(schema).iter_errors(given)
        ]

    def judges(self, content_type: str) -> bool:
        """Whether the document says what a body of this media type must be."""
        return _media_type(content_type) in self.bodies


def operation(document: Document, method: str, path: str) -> Operation | None:
    """The operation that a request is; None if the document has none. A path without braces comes before one with."""
    for template, item in sorted(document["paths"].items(), key=lambda pair: pair[0].count("{")):
        if method.lower() in item and re.fullmatch(_pattern(template), path):
            return _read(document, method, template)
    return None


def nested(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A form's fields as the values they stand for.

    >>> nested([("a", "1"), ("b[c][d]", "2"), ("e[0][f]", "3"), ("g[]", "4"), ("g[]", "5")])
    {'a': '1', 'b': {'c': {'d': '2'}}, 'e': [{'f': '3'}], 'g': ['4', '5']}
    """
    root: dict[str, Any] = {}
    for name, value in pairs:
        first, *rest = [part.removesuffix("]") for part in name.split("[")]
        at, key = root, first
        for part in rest:
            at = at.setdefault(key, {})
            key = part or str(len(at))
        at[key] = value
    return {name: _listed(value) for name, value in root.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {name: _listed(each) for name, each in value.items()}
    return list(inner.values()) if inner and all(name.isdigit() for name in inner) else inner


def _typed(value: Any, schema: Mapping[str, Any]) -> Any:
    """A form's value with the type the schema gives it, where its text can be read so; everything in a form is text."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {name: _typed(each, properties.get(name, {})) for name, each in value.items()}
    if isinstance(value, list):
        return [_typed(each, schema.get("items", {})) for each in value]
    match schema.get("type"):
        case "integer" if re.fullmatch(r"-?\d+", value):
            return int(value)
        case "number" if re.fullmatch(r"-?\d+(\.\d+)?", value):
            return float(value)
        case "boolean" if value in ("true", "false"):
            return value == "true"
    return value


def _read(document: Document, method: str, template: str) -> Operation:
    item = document["paths"][template]
    found = item[method.lower()]
    parameters = [_target(document, each) for each in [*item.get("parameters", ()), *found.get("parameters", ())]]
    content = _target(document, found.get("requestBody", {})).get("content", {})
    return Operation(
        method=method,
        path=template,
        query=frozenset(each["name"] for each in parameters if each["in"] == "query"),
        bodies={type: closed(plain(document, body["schema"])) for type, body in content.items() if "schema" in body},
    )


def plain(document: Document, schema: Any, inside: tuple[str, ...] = ()) -> Any:
    """A schema of OpenAPI 3.0 or 3.1 as JSON Schema, its references followed; one that leads into itself takes any."""
    if isinstance(schema, list):
        return [plain(document, each, inside) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return {} if reference in inside else plain(document, _target(document, schema), (*inside, reference))
    left = {
        name: {key: plain(document, each, inside) for key, each in value.items()}
        # The names in there are the vendor's fields, not words of a schema.
        if name == "properties"
        else (value if name in ("enum", "const") else plain(document, value, inside))
        for name, value in schema.items()
        if name not in _NOT_JSON_SCHEMA and not name.startswith("x-")
    }
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        if isinstance(left.get(bound), bool):
            del left[bound]
    if schema.get("nullable") is True:
        if isinstance(left.get("type"), str):
            left["type"] = [left["type"], "null"]
        if "enum" in left:
            left["enum"] = [*left["enum"], None]
    return left


def closed(schema: Any, *, part: bool = False) -> Any:
    """A JSON schema that refuses fields it does not name, wherever it names some and does not speak of others.

    Args:
        part: It is one of several that are combined, and only together do they name everything.
    """
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    inner = {
        name: [closed(each, part=True) for each in value]
        if name in _COMBINERS
        else ({key: closed(each) for key, each in value.items()} if name == "properties" else closed(value))
        for name, value in schema.items()
    }
    if not part and _names_its_fields(schema):
        inner["unevaluatedProperties"] = False
    return inner


def _names_its_fields(schema: Mapping[str, Any]) -> bool:
    if "additionalProperties" in schema or "unevaluatedProperties" in schema:
        return False
    parts = [each for name in _COMBINERS for each in schema.get(name, ()) if isinstance(each, Mapping)]
    objects = [each for each in parts if each.get("type") == "object" or "properties" in each]
    if not all(_names_its_fields(each) for each in objects):
        return False
    return bool(schema.get("properties")) or bool(objects)


def _target(document: Document, node: Mapping[str, Any]) -> Mapping[str, Any]:
    while isinstance(reference := node.get("$ref"), str):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        node = found
    return node


def _pattern(template: str) -> str:
    return "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]+\})", template))


def _media_type(content_type: str) -> str:
    header = Message()
    header["content-type"] = content_type
    return header.get_content_type() if content_type else ""


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:140]} ... {text[-140:]}"
