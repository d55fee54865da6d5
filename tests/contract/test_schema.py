"""A request is held against what the document says, and a field it does not know is a fault."""

import json
from typing import Any

import pytest

from contract import schema
from contract.schema import FORM

VENDORS_OWN = "application/vnd.api+json"
NAME = {"type": "string", "maxLength": 5}
DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.1",
    "paths": {
        "/people/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True}],
            "get": {"parameters": [{"$ref": "#/components/parameters/fields"}, {"name": "page[size]", "in": "query"}]},
        },
        "/people/search": {"get": {}},
        "/people": {"post": {"requestBody": {"$ref": "#/components/requestBodies/Person"}}},
        "/forms": {
            "post": {
                "requestBody": {
                    "content": {
                        FORM: {
                            "schema": {
                                "type": "object",
                                "required": ["To"],
                                "properties": {
                                    "To": {"type": "string"},
                                    "Seconds": {"type": "integer"},
                                    "Share": {"type": "number"},
                                    "Urgent": {"type": "boolean"},
                                    "flow": {"type": "object", "properties": {"type": {"enum": ["card"]}}},
                                    "items": {
                                        "type": "array",
                                        "items": {"type": "object", "properties": {"count": {"type": "integer"}}},
                                    },
                                },
                            }
                        }
                    }
                }
            }
        },
    },
    "components": {
        "parameters": {"fields": {"name": "fields", "in": "query"}},
        "requestBodies": {"Person": {"content": {VENDORS_OWN: {"schema": {"$ref": "#/components/schemas/Person"}}}}},
        "schemas": {
            "Named": {"type": "object", "required": ["name"], "properties": {"name": NAME}},
            "Aged": {"type": "object", "properties": {"age": {"type": "integer", "exclusiveMinimum": True}}},
            "Person": {
                "type": "object",
                "allOf": [{"$ref": "#/components/schemas/Named"}, {"$ref": "#/components/schemas/Aged"}],
                "properties": {
                    "kind": {"type": "string", "nullable": True, "enum": ["lead", "user"]},
                    "friend": {"$ref": "#/components/schemas/Person"},
                    "address": {"type": "object", "properties": {"city": {"type": "string"}}, "example": None},
                    "traits": {"type": "object"},
                    "own": {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "string"}},
                    "either": {
                        "anyOf": [
                            {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
                            {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]},
                        ]
                    },
                    "open": {"anyOf": [{"type": "object", "properties": {"id": {}}}, {"type": "object"}]},
                },
            },
        },
    },
}  # fmt: skip


def found(method: str, path: str) -> schema.Operation:
    operation = schema.operation(DOCUMENT, method, path)
    assert operation is not None
    return operation


def faults(body: object) -> list[str]:
    content = json.dumps(body).encode()
    return found("POST", "/people").body_faults(f"{VENDORS_OWN}; charset=utf-8", content)


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("GET", "/people/search", "/people/search"),
        ("GET", "/people/a%2Fb", "/people/{id}"),
        ("GET", "/people", None),
        ("DELETE", "/people/1", None),
        ("GET", "/people/1/notes", None),
        ("GET", "/v2/people/1", None),
    ],
)
def test_a_request_is_one_operation_or_none(method: str, path: str, template: str | None) -> None:
    operation = schema.operation(DOCUMENT, method, path)
    assert (operation.path if operation else None) == template


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Zoë"},
        {"name": "Ann", "age": 3, "kind": None},
        {"name": "Ann", "address": {"city": "X"}, "traits": {"any": [1]}, "own": {"b": "c"}},
        {"name": "Ann", "either": {"key": "k"}, "open": {"whatever": 1}},
        {"name": "Ann", "friend": {"name": "Bo", "friend": {"anything": "goes this deep"}}},
    ],
)
def test_what_the_document_allows_is_no_fault(body: object) -> None:
    assert faults(body) == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"age": 3}, '"name" is a required property'),
        ({"name": 5}, "body.name: 5 is not of type"),
        ({"name": "Ann", "age": "3"}, "body.age"),
        ({"name": "Ann", "age": None}, "body.age"),
        ({"name": "Annabel"}, "body.name"),
        ({"name": "Ann", "kind": "guest"}, "body.kind"),
        ({"name": "Ann", "nam": "x"}, "'nam' was unexpected"),
        ({"name": "Ann", "address": {"town": "X"}}, "body.address"),
        ({"name": "Ann", "own": {"b": 1}}, "body.own.b"),
        ({"name": "Ann", "either": {"value": "k"}}, "body.either"),
        ({"name": "Ann", "either": {"key": "k", "more": 1}}, "body.either"),
        (["Ann"], 'body: ["Ann"] is not of type'),
    ],
)
def test_each_fault_is_found_and_named(body: object, said: str) -> None:
    assert any(said in fault for fault in faults(body))


def test_a_body_of_a_type_the_document_does_not_have_is_not_judged_here() -> None:
    operation = found("POST", "/people")
    assert not operation.judges("application/json")
    assert operation.judges(VENDORS_OWN)
    assert operation.body_faults("application/json", b"{}") == []
    assert operation.body_faults("", b"{}") == []


def test_a_parameter_the_document_does_not_have_is_a_fault() -> None:
    operation = found("GET", "/people/1")
    assert operation.query_faults("fields=a&fields=b&page%5Bsize%5D=1&fields[person]=x") == []
    assert operation.query_faults("feilds=a&size=1") == [
        "query: feilds is no parameter of this",
        "query: size is no parameter of this",
    ]


def test_a_form_is_read_as_the_values_it_stands_for() -> None:
    form = b"To=1&Seconds=60&Share=0.5&Urgent=true&flow%5Btype%5D=card&items[0][count]=2&items[1][count]=3"
    assert found("POST", "/forms").body_faults(FORM, form) == []


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (b"Seconds=60", '"To" is a required property'),
        (b"to=1", '"To" is a required property'),
        (b"To=1&Seconds=60s", "body.Seconds"),
        (b"To=1&Share=half", "body.Share"),
        (b"To=1&Urgent=yes", "body.Urgent"),
        (b"To=1&Body=x", "'Body' was unexpected"),
        (b"To=1&flow%5Btype%5D=cash", "body.flow.type"),
        (b"To=1&flow%5Bkind%5D=card", "body.flow"),
        (b"To=1&items[0][count]=two", "body.items.0.count"),
    ],
)
def test_each_fault_of_a_form_is_found_and_named(form: bytes, said: str) -> None:
    assert any(said in fault for fault in found("POST", "/forms").body_faults(FORM, form))
