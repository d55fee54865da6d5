"""Every connector there is, and those of this installation, made from their own settings.

Which system does what is said by the policy; it comes in here as ``Wiring``. In development a recording connector
stands in where credentials are missing; production refuses to start without them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError
from pydantic_settings import SettingsError

from connectors import errands, http
from connectors.activecampaign import ActiveCampaign, ActiveCampaignSettings
from connectors.base import Alert, CardPages, Crm, Directory, LiveFacts, Poller, Sender, Sink, Source
from connectors.calendly import Calendly, CalendlySettings
from connectors.chatbase import Chatbase, ChatbaseSettings
from connectors.clickfunnels import ClickFunnels, ClickFunnelsSettings
from connectors.credentials import Credentials
from connectors.customerio import CustomerIo, CustomerIoSettings
from connectors.endpoint import Endpoint, EndpointSettings
from connectors.fillout import Fillout, FilloutSettings
from connectors.gohighlevel import GoHighLevel, GoHighLevelSettings
from connectors.hubspot import HubSpot, HubSpotSettings
from connectors.intercom import Intercom, IntercomSettings
from connectors.klaviyo import Klaviyo, KlaviyoSettings
from connectors.live import Live, LiveSettings
from connectors.lob import Lob, LobSettings
from connectors.mailgun import Mailgun, MailgunSettings
from connectors.make import Make, MakeSettings
from connectors.manychat import ManyChat, ManyChatSettings
from connectors.postmark import Postmark, PostmarkSettings
from connectors.recording import Recording
from connectors.resend import Resend, ResendSettings
from connectors.salesforce import Salesforce, SalesforceSettings
from connectors.sendgrid import SendGrid, SendGridSettings
from connectors.sendoso import Sendoso, SendosoSettings
from connectors.ses import Ses, SesSettings
from connectors.slack import Slack, SlackSettings
from connectors.smtp import Smtp, SmtpSettings
from connectors.stripe import Stripe, StripeSettings
from connectors.tremendous import Tremendous, TremendousSettings
from connectors.twilio import Twilio, TwilioSettings
from connectors.zendesk import Zendesk, ZendeskSettings

S = TypeVar("S", bound=Credentials)


class MissingCredentials(Exception):
    """A connector that production needs has no credentials, or wrong ones; the message names the variable."""


@dataclass(frozen=True)
class Place:
    """What a connector is made with besides its own settings.

    Attributes:
        mail_from: The sender of mail.
        client: What it calls out with; None for one of its own.
    """

    pace: http.Pace | None = None
    mail_from: str = ""
    client: httpx.AsyncClient | None = None

    @property
    def outside(self) -> httpx.AsyncClient:
        """What the connector calls out with."""
        return self.client or http.new_client(self.pace)


@dataclass(frozen=True)
class Known:
    """A connector, and what it cannot call out without.

    Attributes:
        settings: Its own; the prefix of its variables is its ``env_prefix``.
        make: Makes it; connects to nothing.
        needs: Names of settings; any one of these sets is enough to call out.
    """

    name: str
    settings: type[Credentials]
    make: Callable[[Any, Place], Any]
    needs: tuple[tuple[str, ...], ...] = ()

    def missing(self, given: Credentials) -> str | None:
        """The first variable that is missing to call out; None where nothing is."""
        lacking = [[name for name in some if getattr(given, name) is None] for some in self.needs]
        if not lacking or [] in lacking:
            return None
        return f"{self.settings.model_config.get('env_prefix', '')}{lacking[0][0].upper()}"


def _plain(connector: Callable[..., Any]) -> Callable[[Any, Place], Any]:
    return lambda settings, place: connector(settings, place.outside)


def _mail(connector: Callable[..., Any]) -> Callable[[Any, Place], Any]:
    return lambda settings, place: connector(settings, place.outside, from_address=place.mail_from)


def _smtp(settings: SmtpSettings, place: Place) -> Smtp:
    return Smtp(settings, place.mail_from, place.pace)


CONNECTORS: Mapping[str, Known] = {
    known.name: known
    for known in (
        Known("activecampaign", ActiveCampaignSettings, _plain(ActiveCampaign), (("base_url", "api_token"),)),
        Known("calendly", CalendlySettings, _plain(Calendly), (("access_token",),)),
        Known("chatbase", ChatbaseSettings, _plain(Chatbase), (("api_key",),)),
        Known("clickfunnels", ClickFunnelsSettings, _plain(ClickFunnels), (("base_url", "access_token"),)),
        Known("customerio", CustomerIoSettings, _plain(CustomerIo), (("site_id", "api_key"),)),
        Known("fillout", FilloutSettings, _plain(Fillout), (("api_key",),)),
        Known("gohighlevel", GoHighLevelSettings, _plain(GoHighLevel), (("access_token", "location_id"),)),
        Known("hubspot", HubSpotSettings, _plain(HubSpot), (("access_token",),)),
        Known("intercom", IntercomSettings, _plain(Intercom), (("access_token",),)),
        Known("klaviyo", KlaviyoSettings, _plain(Klaviyo), (("api_key",),)),
        Known("lob", LobSettings, _plain(Lob), (("api_key",),)),
        Known("mailgun", MailgunSettings, _mail(Mailgun), (("api_key", "domain"),)),
        Known("make", MakeSettings, _plain(Make), (("hook_url",),)),
        Known("manychat", ManyChatSettings, _plain(ManyChat), (("api_key",),)),
        Known("postmark", PostmarkSettings, _mail(Postmark), (("server_token",),)),
        Known("resend", ResendSettings, _mail(Resend), (("api_key",),)),
        Known(
            "salesforce",
            SalesforceSettings,
            _plain(Salesforce),
            (("instance_url", "client_id", "client_secret"),),
        ),
        Known("sendgrid", SendGridSettings, _mail(SendGrid), (("api_key",),)),
        Known("sendoso", SendosoSettings, _plain(Sendoso), (("client_id", "client_secret", "refresh_token"),)),
        Known("ses", SesSettings, _mail(Ses), (("region", "access_key_id", "secret_access_key"),)),
        Known("slack", SlackSettings, _plain(Slack), (("bot_token", "channel"), ("webhook_url",))),
        Known("smtp", SmtpSettings, _smtp, (("host",),)),
        Known("stripe", StripeSettings, _plain(Stripe), (("api_key",),)),
        Known("tremendous", TremendousSettings, _plain(Tremendous), (("api_key", "funding_source"),)),
        Known(
            "twilio",
            TwilioSettings,
            _plain(Twilio),
            (("account_sid", "auth_token"), ("account_sid", "api_key", "api_key_secret")),
        ),
        Known(
            "zendesk",
            ZendeskSettings,
            _plain(Zendesk),
            (("subdomain", "oauth_token"), ("subdomain", "email", "api_token")),
        ),
    )
}
"""Every connector, by name."""

SOURCES = tuple(name for name in CONNECTORS if name != "smtp")
"""Those that may send webhooks: all but a relay, which has nothing to say."""

ERRANDS = "errands"
"""The name, among the providers of a channel, of a colleague who is given a task in the CRM."""


@dataclass(frozen=True)
class Wiring:
    """Which system does what.

    Attributes:
        providers: By channel, who carries its messages: the first, and who stands in for it.
        told: Who is told what happened: connectors, and ``webhook/<name>``.
        endpoints: The addresses of these, by name.
        asked: Who is asked what happened.
    """

    providers: Mapping[str, Sequence[str]]
    crm: str = "hubspot"
    alert: str = "slack"
    told: Sequence[str] = ()
    endpoints: Mapping[str, str] = field(default_factory=dict)
    asked: Sequence[str] = ()


@dataclass(frozen=True)
class Outlets:
    """What the worker reaches the world through.

    Attributes:
        senders: By channel.
        directory: Where the address of a contact without one may be found; None where there is no such system.
        live: Where values are fetched that messages want as of now: the first that knows a value is asked for it.
        fallbacks: By channel, who carries its messages while the first cannot.
        card_pages: Where customers change their card; None where there is no such system.
        sinks: Who is told what happened, by the name that the policy gives them.
        pollers: Who is asked what happened, by name.
        stand_ins: What a recording connector does, or nobody, because credentials are missing, by variable.
    """

    senders: Mapping[str, Sender]
    crm: Crm
    alert: Alert
    directory: Directory | None = None
    live: Sequence[LiveFacts] = ()
    fallbacks: Mapping[str, Sender] = field(default_factory=dict)
    card_pages: CardPages | None = None
    sinks: Mapping[str, Sink] = field(default_factory=dict)
    pollers: Mapping[str, Poller] = field(default_factory=dict)
    stand_ins: tuple[str, ...] = ()


def sources() -> dict[str, Source]:
    """Every system that may send webhooks, by the name in its path. One without a secret refuses everything.

    Raises:
        MissingCredentials: A connector has wrong settings.
    """
    return {name: CONNECTORS[name].make(_settings(CONNECTORS[name].settings), Place()) for name in SOURCES}


def outlets(
    wiring: Wiring,
    *,
    mail_from: str,
    production: bool,
    pace: Callable[[str, float | None], http.Pace | None] = lambda name, per_second: None,
) -> Outlets:
    """The connectors of this installation that act, each calling out at the pace that its system allows.

    Args:
        pace: Makes the pace of a connector, from its name and how many calls a second its system allows.

    Raises:
        MissingCredentials: In production, when one has none; anywhere, when one has wrong ones, or cannot do what it
            is to do.
    """
    return _Installation(wiring, mail_from, production, pace).outlets()


def alert_of(wiring: Wiring, *, production: bool) -> Alert:
    """Only what tells the people who work here, for a process that does nothing else of all this.

    Raises:
        MissingCredentials: As ``outlets``.
    """
    return _Installation(wiring, "", production, lambda name, per_second: None).alert()


def card_pages(*, production: bool) -> CardPages | None:
    """Where customers change their card; None where there is no such system."""
    stripe = CONNECTORS["stripe"]
    if stripe.missing(_settings(stripe.settings)) is not None:
        return None
    made = _Installation(Wiring({}), "", production, lambda name, per_second: None)
    found: CardPages = made.able("stripe", CardPages, "have customers change their card")
    return found


class _Installation:
    """Makes each connector once, however much it does."""

    def __init__(
        self, wiring: Wiring, mail_from: str, production: bool, pace: Callable[[str, float | None], http.Pace | None]
    ) -> None:
        self._wiring = wiring
        self._mail_from = mail_from
        self._production = production
        self._pace = pace
        self._made: dict[str, Any] = {}
        self._missing: dict[str, None] = {}
        self._recording = Recording()

    def outlets(self) -> Outlets:
        wiring = self._wiring
        crm = self.able(wiring.crm, Crm, "be the CRM") or self._recording
        senders = {channel: self._sender(names[0], channel, crm) for channel, names in wiring.providers.items()}
        fallbacks = {c: self._sender(names[1], c, crm) for c, names in wiring.providers.items() if len(names) > 1}
        if not self._production:
            senders.setdefault("sms", self._recording)
        sinks = {name: self._sink(name) for name in wiring.told}
        pollers = {name: self.able(name, Poller, "be asked what happened") for name in wiring.asked}
        own = _settings(LiveSettings)
        stripe = CONNECTORS["stripe"]
        knows_customers = stripe.missing(_settings(stripe.settings)) is None
        live: list[LiveFacts] = [self.able("stripe", LiveFacts, "say what is open")] if knows_customers else []
        return Outlets(
            senders=senders,
            crm=crm,
            alert=self.alert(),
            directory=self.able("stripe", Directory, "look addresses up") if knows_customers else None,
            live=(*live, *([Live(own)] if own.url else [])),
            fallbacks=fallbacks,
            card_pages=self.able("stripe", CardPages, "have customers change their card") if knows_customers else None,
            sinks={name: sink for name, sink in sinks.items() if sink is not None},
            pollers={name: poller for name, poller in pollers.items() if poller is not None},
            stand_ins=tuple(self._missing),
        )

    def alert(self) -> Alert:
        alert: Alert | None = self.able(self._wiring.alert, Alert, "alert anybody")
        return alert or self._recording

    def _sender(self, name: str, channel: str, crm: Crm) -> Sender:
        if name == ERRANDS:
            if channel not in errands.CHANNELS:
                raise MissingCredentials(f"providers.{channel}: a colleague carries out {', '.join(errands.CHANNELS)}")
            return errands.Errands(crm)
        return self.able(name, Sender, f"send on {channel}") or self._recording

    def _sink(self, name: str) -> Sink | None:
        if not name.startswith("webhook/"):
            told: Sink | None = self.able(name, Sink, "be told what happened")
            return told
        endpoint = name.removeprefix("webhook/")
        prefix = f"WEBHOOK_{endpoint.upper()}_"
        settings = _settings(EndpointSettings, _env_prefix=prefix)
        if settings.secret is None:
            self._lack(f"{prefix}SECRET")
            return None
        client = http.new_client(self._pace(name, settings.calls_per_second))
        try:
            return Endpoint(endpoint, self._wiring.endpoints[endpoint], settings, client, private=not self._production)
        except ValueError as error:
            raise MissingCredentials(f"{prefix}SECRET: {error}") from None

    def able(self, name: str, ability: Any, what: str) -> Any:
        """The connector of this name, which has an ability (a Protocol of ``base``).

        None where it lacks credentials and this is not production.
        """
        known = CONNECTORS.get(name)
        if known is None:
            raise MissingCredentials(f"there is no connector {name!r}: {', '.join(CONNECTORS)}")
        if name not in self._made:
            settings = _settings(known.settings)
            if variable := known.missing(settings):
                self._lack(variable)
                return None
            place = Place(self._pace(name, settings.calls_per_second), self._mail_from)
            try:
                self._made[name] = known.make(settings, place)
            except ValueError as error:
                raise MissingCredentials(f"{name}: {error}") from None
        found = self._made[name]
        if not isinstance(found, ability):
            raise MissingCredentials(f"{name} cannot {what}")
        return found

    def _lack(self, variable: str) -> None:
        if self._production:
            raise MissingCredentials(f"{variable}: is required in production")
        self._missing[variable] = None


def _settings(kind: type[S], **given: Any) -> S:
    prefix = given.get("_env_prefix") or kind.model_config.get("env_prefix", "")
    try:
        return kind(**given)
    except SettingsError as error:
        # pydantic-settings words it: error parsing value for field "subscriptions" from source "..."
        field = str(error).split('"')[1]
        raise MissingCredentials(f"{prefix}{field.upper()}: must be JSON") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        variable = prefix + "_".join(str(part).upper() for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise MissingCredentials(f"{variable}: {reason}") from None
