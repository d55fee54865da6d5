"""``/metrics``: what there is and what is overdue, for Prometheus. Numbers and names of ours only, nobody's data.

A scrape asks no database: it shows what the monitor found when it last looked, and when that was.
"""

from collections.abc import Iterable, Iterator, Mapping
from hmac import compare_digest
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.exceptions import HTTPException

from door.door import Door
from door.errors import documented
from ops.monitor.counts import Counts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def routes(door: Door) -> APIRouter:
    """The routes of this part."""
    router = APIRouter(tags=["Health"])
    registry = CollectorRegistry()
    registry.register(_Found(door))

    @router.get(
        "/metrics",
        summary="What is there, and what is overdue?",
        response_class=PlainTextResponse,
        responses=documented(401),
    )
    async def metrics(authorization: Annotated[str | None, Header()] = None) -> PlainTextResponse:
        """In the text format of Prometheus, as of the last look (`perennial_monitor_looked_timestamp_seconds`).

        With `PERENNIAL_METRICS_KEY` as bearer token; in production it is closed while that is not set.
        """
        _admit(door, authorization)
        return PlainTextResponse(generate_latest(registry), media_type=CONTENT_TYPE)

    return router


def _admit(door: Door, authorization: str | None) -> None:
    key = door.settings.metrics_key
    if key is None:
        if door.settings.environment == "production":
            raise HTTPException(401, "closed: PERENNIAL_METRICS_KEY is not set")
    elif not compare_digest((authorization or "").encode(), f"Bearer {key.get_secret_value()}".encode()):
        raise HTTPException(401, "the key is not known", {"WWW-Authenticate": "Bearer"})


class _Found(Collector):
    def __init__(self, door: Door) -> None:
        self._door = door

    def collect(self) -> Iterable[Metric]:
        refused = CounterMetricFamily(
            "perennial_requests_refused", "Requests that were turned away", labels=["source", "status"]
        )
        for (source, status), number in sorted(self._door.refused.items()):
            refused.add_metric([source, str(status)], number)
        yield refused
        monitor = self._door.monitor
        if monitor is None:
            return
        yield GaugeMetricFamily(
            "perennial_monitor_up", "Whether the monitor's last look came to an end", value=float(monitor.works)
        )
        if monitor.counts is not None and monitor.looked_at is not None:
            looked_at = "perennial_monitor_looked_timestamp_seconds"
            yield GaugeMetricFamily(looked_at, "When everything else was counted", monitor.looked_at.timestamp())
            yield from _counted(monitor.counts, monitor.clock.rate)


def _counted(counts: Counts, rate: float) -> Iterator[Metric]:
    late: dict[str, float] = {kind: one.count for kind, one in counts.late.items()}
    yield _gauge("overdue", "What should have happened by now and has not", "what", late)
    since = {kind: one.since for kind, one in counts.late.items() if one.since is not None}
    ages: dict[str, float] = {kind: (counts.at - at).total_seconds() / rate for kind, at in since.items()}
    yield _gauge("overdue_oldest_seconds", "For how long the first of them is due", "what", ages)
    done = {name: (counts.at - at).total_seconds() / rate for name, at in counts.chores.items()}
    yield _gauge("chore_age_seconds", "How long ago each chore was done", "chore", done)
    yield _gauge("inbox", "Requests that wait to be read or understood", "status", counts.inbox)
    yield _gauge("inbox_last_day", "Requests of the last day", "status", counts.inbox_day)
    yield _gauge("touches", "Touches that are not settled", "status", counts.touches)
    yield _gauge("touches_last_day", "Touches settled within the last day", "status", counts.touches_day)
    yield _gauge("runs_open", "Runs that go on", "journey", counts.runs)
    yield _gauge("halts", "Halts in force", "scope", counts.halts)
    untold = "Halts of the breaker that nobody was told of"
    yield GaugeMetricFamily("perennial_halts_untold", untold, value=counts.untold)


def _gauge(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"perennial_{name}", about, labels=[label])
    for value, number in sorted(values.items()):
        family.add_metric([value], number)
    return family
