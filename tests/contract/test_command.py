"""The command says in one line why nothing can be judged, and reads only what is a document."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contract import __main__ as command
from contract import prism
from contract.cases import hubspot, resend
from contract.preparation import Document
from contract.verdict import Asked, Verdict

RESEND: Document = {"openapi": "3.1.0", "info": {}, "paths": {"/emails": {"post": {}}}}


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    (tmp_path / "resend-1.json").write_text(json.dumps(RESEND))
    return tmp_path


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(command.app, list(arguments))
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_what_is_missing_is_said_in_one_line(specs: Path, tmp_path: Path) -> None:
    assert "nowhere is not a directory" in refused(str(tmp_path / "nowhere"))
    assert "acme is not a connector that can be checked: gohighlevel, hubspot" in refused(str(specs), "--only", "acme")
    both = ("--only", "resend", "--only", "klaviyo")
    assert "does not hold the files of klaviyo: klaviyo-*.json" in refused(str(specs), *both)
    (specs / "resend-1.json").unlink()
    assert "does not hold the files of gohighlevel" in refused(str(specs))


@pytest.mark.parametrize("text", ["", "[]", '{"paths": {}}', '{"openapi": "3.0.1", "paths": []}', "openapi: 3.0.1"])
def test_a_file_that_is_no_document_is_named(specs: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    async def there(cache: Path) -> Path:
        return cache

    monkeypatch.setattr(prism, "fetched", there)
    (specs / "resend-1.json").write_text(text)
    assert "resend-1.json is not an OpenAPI document in JSON" in refused(str(specs), "--only", "resend")


def test_without_node_it_says_so(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(specs))
    assert "node and npm not found" in refused(str(specs), "--only", "resend")


def test_npm_that_fails_leaves_no_half_a_program(specs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("node", "npm"):
        (specs / name).write_text('#!/bin/sh\n/bin/mkdir -p "$6/node_modules"\necho no such package\nexit 1\n')
        (specs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(specs))
    monkeypatch.setattr(command, "CACHE", tmp_path / "cache")
    result = CliRunner().invoke(command.app, [str(specs), "--only", "resend"])
    assert (result.exit_code, "npm could not install Prism: no such package" in result.stderr) == (2, True)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["npm.log"]


def test_a_mock_that_does_not_start_is_said(specs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("node", "npm"):
        (specs / name).write_text("#!/bin/sh\necho out of memory\nexit 1\n")
        (specs / name).chmod(0o755)
    program = tmp_path / "cache" / f"prism-{prism.VERSION}" / "node_modules/@stoplight/prism-cli/dist/index.js"
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.setenv("PATH", str(specs))
    monkeypatch.setattr(command, "CACHE", tmp_path / "cache")
    result = CliRunner().invoke(command.app, [str(specs), "--only", "resend"])
    log = tmp_path / "cache/prism.log"
    assert result.exit_code == 2
    assert f"contract: Prism did not start: out of memory (log: {log})\n" in result.stderr
    assert log.read_text() == "out of memory\n"


def test_the_newest_of_several_files_is_read(specs: Path) -> None:
    (specs / "resend-2.json").touch()
    assert resend.VENDOR.found(specs) == [specs / "resend-2.json"]


def test_all_files_of_a_vendor_are_needed(specs: Path) -> None:
    (specs / "hubspot-contacts-v3.json").touch()
    with pytest.raises(FileNotFoundError, match=r"hubspot-tasks-v3\.json"):
        hubspot.VENDOR.found(specs)


def test_the_verdicts_are_told_with_what_was_left_out() -> None:
    good = Verdict("acme", asked=[Asked("a", "static", "GET /a", judges=["mock"])])
    bad = Verdict("emca", asked=[Asked("a", "static", "GET /a", ["body: no"], ["mock"])], remarks=["a gap"])
    lines = command.told([good, bad, Verdict("none", left_out="none-*.json is not in specs")])
    assert lines[:5] == [
        "Not judged, or by one judge only:",
        "  emca: a gap",
        "",
        "Violations:",
        "  emca: GET /a: body: no (a; once)",
    ]
    assert [line.split() for line in lines[-3:-1]] == [
        ["acme", "1", "1", "0", "0", "0"],
        ["emca", "1", "1", "0", "0", "1"],
    ]
    assert lines[-1].split(maxsplit=1) == ["none", "left out: none-*.json is not in specs"]
