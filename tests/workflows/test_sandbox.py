"""A journey that reaches for the outside world is refused before it can run."""

from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

import worker

IMPURE = '''
from datetime import date
{imports}
from workflows.base import PROMOTIONAL, Journey, always, days, journey, on


@journey(
    trigger=on("form.submitted"), audience="nobody", goal="none", success=on("a.b"), exits=[on("c.d")], owner="tests",
    purpose=PROMOTIONAL, reentry=always(), max_run=days(1), review_by=date(2030, 1, 1),
)
class Impure(Journey):
    """Would call the network from a workflow."""

    async def only(self) -> None:
        await self.send("hello")
'''


@pytest.fixture
def journey_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, imports: str) -> type:
        (tmp_path / f"{name}.py").write_text(IMPURE.format(imports=imports))
        found: type = __import__(name).Impure
        return found

    return make


async def test_an_impure_import_is_refused(temporal: Client, journey_with, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(worker, "JOURNEYS", [journey_with("impure_journey", "import httpx")])
    with pytest.raises(RuntimeError, match="Failed validating workflow impure"):
        worker.worker(temporal, "sandbox", [])


async def test_a_pure_one_is_taken(temporal: Client, journey_with, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(worker, "JOURNEYS", [journey_with("pure_journey", "import math")])
    assert isinstance(worker.worker(temporal, "sandbox", []), Worker)
