"""Starts the HTTP front door: webhooks, tracking API, CloudEvents, preference pages. ``python -m gateway``."""

import asyncio
import signal
import socket
import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

import uvicorn
from temporalio.service import RPCError

from connectors.cloudevents import CloudEvents
from connectors.configured import MissingCredentials, alert_of, card_pages, sources
from connectors.mailbox import Letters, Mailbox
from connectors.track import Track
from contacts import policy
from contacts.database import connect
from contacts.inbox import Inbox
from contacts.intake import Intake
from contacts.relay import Relay
from door.app import create_app
from door.door import Door
from ops import retry, temporal
from ops.monitor.watch import Monitor
from ops.wiring import wiring
from settings import Settings, WrongSetting, load
from workflows.registry import CARDS


async def compose(settings: Settings) -> Door:
    """The front door of this process: the one place where its parts meet.

    Raises:
        WrongSetting: A setting cannot be used.
    """
    if settings.database_url is None:
        raise WrongSetting("PERENNIAL_DATABASE_URL", "is required; `perennial up` brings a PostgreSQL of its own")
    bearer_keys = settings.write_keys if settings.environment == "development" else ()
    try:
        cloudevents = CloudEvents(settings.events_secret, bearer_keys)
    except ValueError as error:
        raise WrongSetting("PERENNIAL_EVENTS_SECRET", str(error)) from None
    try:
        rules = policy.load(settings.policy_file)
    except policy.PolicyError as error:
        raise WrongSetting("PERENNIAL_POLICY_FILE", str(error)) from None
    intake = Intake(connect(settings.database_url.get_secret_value()), CARDS, rules)
    client = await temporal.connect(lazy=True)
    production = settings.environment == "production"
    alert = alert_of(wiring(rules), production=production)

    async def temporal_answers() -> bool:
        try:
            return await client.service_client.check_health(timeout=timedelta(seconds=1))
        except (RPCError, RuntimeError):  # a client that never connected says so by the latter
            return False

    track, webhooks = Track(settings.write_keys), sources()
    relay = Relay(intake.engine, temporal.TemporalRuns(client, settings.clock, settings.task_queue))
    readers = {**webhooks, track.name: track, cloudevents.name: cloudevents}
    left = partial(retry.read_what_is_left, Inbox(intake), readers, settings.clock)
    return Door(
        settings=settings,
        intake=intake,
        track=track,
        cloudevents=cloudevents,
        sources=webhooks,
        chores={"relay": relay.run, "reader": left},
        monitor=Monitor(intake.engine, settings.clock, alert),
        card_pages=card_pages(production=production),
        temporal=temporal_answers,
        letters=Letters(settings.mailbox_dir) if settings.mailbox_dir else None,
        temporal_ui=settings.temporal_ui,
    )


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(f"gateway: ready on http://{self.config.host}:{self.config.port}", flush=True)


async def serve(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM, then lets open requests finish.

    Raises:
        WrongSetting: A setting cannot be used.
    """
    door = await compose(settings)
    config = uvicorn.Config(
        create_app(door),
        host=settings.gateway_host,
        port=settings.gateway_port,
        log_level="warning",
        access_log=False,  # the paths of preference pages are keys
        proxy_headers=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=10,
    )
    # uvicorn raises the signal again after its own shutdown; by then there is nothing left to stop.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(door.intake.engine.dispose)
        if settings.mailbox_dir is not None:
            await stack.enter_async_context(Mailbox(settings.mailbox_dir, settings.mailbox_port))
        await _Server(config).serve()


def main() -> None:
    """Runs the gateway. A wrong setting is one line and exit status 2, a port in use one line and 1."""
    try:
        asyncio.run(serve(load()))
    except (WrongSetting, MissingCredentials) as error:
        print(f"gateway: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"gateway: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
