"""A vendor's file is made fit for a mock, and what requests are held against stays as it was."""

from copy import deepcopy
from typing import Any

import pytest

from contract import preparation


def document(**paths: Any) -> dict[str, Any]:
    return {"openapi": "3.0.1", "info": {"title": "t", "version": "1"}, "paths": {f"/{n}": p for n, p in paths.items()}}


def test_examples_that_are_null_go_and_others_stay() -> None:
    before = document(things={"post": {"example": None, "requestBody": [{"example": 0, "nullable": True}]}})
    kept = deepcopy(before)
    after = preparation.without_null_examples(before)
    assert after["paths"]["/things"]["post"] == {"requestBody": [{"example": 0, "nullable": True}]}
    assert before == kept


def test_an_answer_of_any_type_is_json() -> None:
    answer = {"content": {"*/*": {"schema": {"type": "object"}}}}
    plain = {"content": {"text/plain": {}}}
    after = preparation.with_json_answers(
        {**document(), "components": {"responses": {"Error": answer, "Plain": plain}}}
    )
    responses = after["components"]["responses"]
    assert responses == {"Error": {"content": {"application/json": {"schema": {"type": "object"}}}}, "Plain": plain}


def test_a_bearer_token_is_the_one_way_in() -> None:
    before = document(things={"parameters": [], "get": {"security": [{"odd": []}]}, "post": {}})
    before["components"] = {"securitySchemes": {"odd": {"type": "apiKey"}}, "schemas": {"Kept": {}}}
    after = preparation.with_bearer(before)
    assert after["components"] == {
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        "schemas": {"Kept": {}},
    }
    assert [after["paths"]["/things"][m]["security"] for m in ("get", "post")] == [[{"bearer": []}]] * 2
    assert after["paths"]["/things"]["parameters"] == []


def test_errors_are_said_where_only_a_default_is() -> None:
    default, own = {"description": "any"}, {"description": "own"}
    before = document(
        a={"get": {"responses": {"200": {}, "400": own, "default": default}}}, b={"get": {"responses": {}}}
    )
    paths = preparation.with_said_errors(before)["paths"]
    assert paths["/a"]["get"]["responses"] == {
        "200": {}, "400": own, "401": default, "429": default, "default": default,
    }  # fmt: skip
    assert paths["/b"]["get"]["responses"] == {}


def test_a_type_has_its_name_in_paths() -> None:
    before = document(**{"objects/0-3/{id}": {}, "lists": {}})
    assert list(preparation.with_path(before, "/objects/0-3", "/objects/deals")["paths"]) == [
        "/objects/deals/{id}", "/lists",
    ]  # fmt: skip


def test_what_kept_paths_do_not_need_goes() -> None:
    before = document(
        kept={"post": {"requestBody": {"$ref": "#/components/requestBodies/One"}}},
        gone={"get": {"schema": {"$ref": "#/components/schemas/Deep"}}},
    )
    loop = {"properties": {"again": {"$ref": "#/components/schemas/Loop"}}}
    before["components"] = {
        "requestBodies": {"One": {"content": [{"schema": {"$ref": "#/components/schemas/Loop"}}]}},
        "schemas": {"Loop": loop, "Deep": {}},
        "securitySchemes": {"bearer": {}},
    }
    after = preparation.with_paths_like(before, "^/kept")
    assert list(after["paths"]) == ["/kept"]
    assert after["components"] == {**before["components"], "schemas": {"Loop": loop}}


def test_the_components_of_several_files_stay_apart() -> None:
    def file(name: str, type: str) -> dict[str, Any]:
        one = {"schema": {"$ref": "#/components/schemas/Thing"}}
        choice = {"discriminator": {"propertyName": "kind", "mapping": {"a": "#/components/schemas/Thing"}}}
        parts = {"schemas": {"Thing": {"type": type}, "Choice": choice}, "securitySchemes": {"bearer": {}}}
        return {**document(**{name: {"get": one}}), "components": parts}

    after = preparation.merged([file("a", "string"), file("b", "object")])
    for path, type in (("/a", "string"), ("/b", "object")):
        name = after["paths"][path]["get"]["schema"]["$ref"].rpartition("/")[2]
        assert after["components"]["schemas"][name] == {"type": type}
    targets = {c["discriminator"]["mapping"]["a"] for n, c in after["components"]["schemas"].items() if "Choice" in n}
    assert targets == {after["paths"][path]["get"]["schema"]["$ref"] for path in ("/a", "/b")}
    assert after["components"]["securitySchemes"] == {"bearer": {}}


def test_two_files_may_not_describe_one_path() -> None:
    with pytest.raises(ValueError, match="two files describe /a"):
        preparation.merged([document(a={}), document(a={})])


def test_edits_come_after_the_files_are_one() -> None:
    after = preparation.prepared([document(a={"get": {}}), document(b={"get": {}})], [preparation.with_bearer])
    assert all(after["paths"][path]["get"]["security"] == [{"bearer": []}] for path in ("/a", "/b"))
