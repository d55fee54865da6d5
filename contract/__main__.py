"""``python -m contract``: the contract checks at the command line."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import to_json

from contract import prism
from contract.cases import VENDORS
from contract.peer import MockFailed, Vendor, judge
from contract.preparation import Document, prepared
from contract.verdict import Verdict, counts, table
from ops.engines import EngineFailed
from ops.processes import DidNotStart

CACHE = Path(".perennial/contract")

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None)


class BadSpecs(Exception):
    """The directory does not hold what was asked for; the message is one line."""


@app.command()
def main(
    specs: Annotated[Path, typer.Argument(help="A directory with the vendors' OpenAPI files.")],
    only: Annotated[list[str] | None, typer.Option(help="A connector; may be given several times.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
) -> None:
    """Hold every request of our connectors against the vendors' OpenAPI files. Exits 1 if one breaks a contract.

    Prism serves the files on the loopback address; it is fetched once by npm, into .perennial/contract.
    """
    try:
        verdicts = asyncio.run(check(specs, only or ()))
    except (BadSpecs, prism.NoPrism, MockFailed, DidNotStart, EngineFailed) as problem:
        print(f"contract: {problem}", file=sys.stderr)
        raise SystemExit(2) from None
    if as_json:
        print(
            to_json(
                [{**asdict(v), "counts": counts(v), "violations": v.violations} for v in verdicts], indent=2
            ).decode()
        )
    else:
        print("\n".join(told(verdicts)))
    raise SystemExit(1 if any(verdict.violations for verdict in verdicts) else 0)


async def check(specs: Path, only: Sequence[str]) -> list[Verdict]:
    """Judges every vendor whose files are there.

    Args:
        only: Names of connectors; all if empty.

    Raises:
        BadSpecs: There is no such directory or connector, or its files are not there.
        NoPrism, DidNotStart, EngineFailed, MockFailed: see ``prism`` and ``peer``.
    """
    chosen = _chosen(specs, only)
    program: Path | None = None
    verdicts: list[Verdict] = []
    for vendor in chosen:
        try:
            files = vendor.found(specs)
        except FileNotFoundError as missing:
            verdicts.append(Verdict(vendor.name, left_out=f"{missing} is not in {specs}"))
            continue
        program = program or await prism.fetched(CACHE)
        document = read(vendor, files)
        print(f"contract: {vendor.name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="contract-") as scratch:
            async with prism.serving(program, document, Path(scratch), CACHE) as base_url:
                verdicts.append(await judge(vendor, document, base_url))
    return verdicts


def _chosen(specs: Path, only: Sequence[str]) -> list[Vendor]:
    if not specs.is_dir():
        raise BadSpecs(f"{specs} is not a directory")
    names = [vendor.name for vendor in VENDORS]
    for name in only:
        if name not in names:
            raise BadSpecs(f"{name} is not a connector that can be checked: {', '.join(names)}")
    chosen = [vendor for vendor in VENDORS if not only or vendor.name in only]
    there = [vendor for vendor in chosen if _is_there(vendor, specs)]
    if not there or (only and there != chosen):
        wanted = next(vendor for vendor in chosen if vendor not in there)
        patterns = ", ".join(file.pattern for file in wanted.files)
        raise BadSpecs(f"{specs} does not hold the files of {wanted.name}: {patterns}")
    return chosen


def _is_there(vendor: Vendor, specs: Path) -> bool:
    try:
        vendor.found(specs)
    except FileNotFoundError:
        return False
    return True


def read(vendor: Vendor, files: Sequence[Path]) -> Document:
    """A vendor's files as one document that can be served.

    Raises:
        BadSpecs: One of them is not an OpenAPI document in JSON.
    """
    documents: list[Document] = []
    for file, path in zip(vendor.files, files, strict=True):
        try:
            document = json.loads(path.read_bytes())
        except ValueError:
            document = None
        if not isinstance(document, dict) or not isinstance(document.get("paths"), dict) or "openapi" not in document:
            raise BadSpecs(f"{path} is not an OpenAPI document in JSON")
        for edit in file.edits:
            document = edit(document)
        documents.append(document)
    return prepared(documents, vendor.edits)


def told(verdicts: Sequence[Verdict]) -> list[str]:
    """The verdicts for people."""
    unjudged = [line for verdict in verdicts for line in verdict.unjudged]
    violations = [line for verdict in verdicts for line in verdict.violations]
    return [
        *(["Not judged, or by one judge only:", *(f"  {line}" for line in unjudged), ""] if unjudged else []),
        *(["Violations:", *(f"  {line}" for line in violations), ""] if violations else []),
        *table(verdicts),
    ]


if __name__ == "__main__":
    app(prog_name="contract")
