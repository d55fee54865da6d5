"""The connectors of this installation, made from their own settings.

In development a recording connector stands in where credentials are missing; production refuses to start without them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from connectors import errands
from connectors.base import Alert, Crm, Directory, LiveFacts, Poller, Sender, Sink, Source
from connectors.hubspot import HubSpot, HubSpotSettings
from connectors.live import Live, LiveSettings
from connectors.recording import Recording
from connectors.slack import Slack, SlackSettings
from connectors.smtp import Smtp, SmtpSettings
from connectors.stripe import Stripe, StripeSettings
from connectors.zendesk import Zendesk, ZendeskSettings


class MissingCredentials(Exception):
    """A connector that production needs has no credentials, or wrong ones; the message names the variable."""


@dataclass(frozen=True)
class Outlets:
    """What the worker reaches the world through.

    Attributes:
        senders: By channel.
        directory: Where the address of a contact without one may be found; None where there is no such system.
        live: Where values are fetched that messages want as of now; None: they use their fallbacks.
        sinks: Who is told what happened, by the name that the policy gives them.
        pollers: Who is asked what happened, by name.
        stand_ins: What a recording connector does because credentials are missing, by variable.
    """

    senders: Mapping[str, Sender]
    crm: Crm
    alert: Alert
    directory: Directory | None = None
    live: LiveFacts | None = None
    sinks: Mapping[str, Sink] = field(default_factory=dict)
    pollers: Mapping[str, Poller] = field(default_factory=dict)
    stand_ins: tuple[str, ...] = ()


def sources() -> dict[str, Source]:
    """Every system that may send webhooks, by the name in its path. One without a secret refuses everything."""
    try:
        found: list[Source] = [Stripe(StripeSettings()), HubSpot(HubSpotSettings()), Zendesk(ZendeskSettings())]
    except ValidationError as error:
        raise _wrong(error) from None
    return {source.name: source for source in found}


def outlets(*, mail_from: str, production: bool) -> Outlets:
    """The senders, the CRM and the alert of this installation.

    Raises:
        MissingCredentials: In production, when one has none; anywhere, when one has wrong ones.
    """
    try:
        smtp, hubspot, slack, stripe = SmtpSettings(), HubSpotSettings(), SlackSettings(), StripeSettings()
        live = LiveSettings()
    except ValidationError as error:
        raise _wrong(error) from None
    missing = tuple(
        variable
        for variable, value in (
            ("SMTP_HOST", smtp.host),
            ("HUBSPOT_ACCESS_TOKEN", hubspot.access_token),
            ("SLACK_BOT_TOKEN", slack.bot_token),
            ("SLACK_CHANNEL", slack.channel),
        )
        if value is None
    )
    if missing and production:
        raise MissingCredentials(f"{missing[0]}: is required in production")
    recording = Recording()
    crm = HubSpot(hubspot) if hubspot.access_token else recording
    by_machine = {"email": Smtp(smtp, mail_from) if smtp.host else recording}
    if not production:
        # No SMS provider is connected yet.
        by_machine["sms"] = recording
    return Outlets(
        senders={**by_machine, **dict.fromkeys(errands.CHANNELS, errands.Errands(crm))},
        crm=crm,
        alert=Slack(slack) if slack.bot_token and slack.channel else recording,
        directory=Stripe(stripe) if stripe.api_key else None,
        live=Live(live) if live.url else None,
        stand_ins=missing,
    )


def _wrong(error: ValidationError) -> MissingCredentials:
    first = error.errors(include_url=False, include_input=False)[0]
    prefix = error.title.removesuffix("Settings").upper()
    field = "_".join([prefix, *(str(part).upper() for part in first["loc"])])
    return MissingCredentials(f"{field}: {first['msg'].removeprefix('Value error, ')}")
