"""What can go wrong when the outside world is asked for something.

The tree::

    ConnectorError            anything below; carries connector, reason, request_id
      TryAgain                it surely did not happen; asking again later may work; ``delay`` if the provider named one
      NeverAgain              it surely did not happen and never will like this; ``reason`` says why
        BadAddress            ... because the recipient's address takes no mail; it is suppressed
          OptedOut            ... by a word of the recipient's, which a later one of theirs takes back
        NobodyThere           ... because the system does not know the contact, and is not to: nothing is amiss
      Unknown                 the call ended without an answer: it may have happened

Reasons are for people and for logs: connectors never put a secret or a whole request into one.
"""

from datetime import timedelta


class ConnectorError(Exception):
    """Base of all connector errors.

    Attributes:
        connector: The connector's name.
        reason: What happened, in a few words, without secrets.
        request_id: The provider's id of the request, for its support desk.
    """

    def __init__(self, connector: str, reason: str, *, request_id: str | None = None) -> None:
        suffix = f" (request {request_id})" if request_id else ""
        super().__init__(f"{connector}: {reason}{suffix}")
        self.connector = connector
        self.reason = reason
        self.request_id = request_id


class TryAgain(ConnectorError):
    """It surely did not happen. ``delay`` is the provider's own word on when to ask again."""

    def __init__(
        self, connector: str, reason: str, *, delay: timedelta | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(connector, reason, request_id=request_id)
        self.delay = delay


class NeverAgain(ConnectorError):
    """It surely did not happen, and the same request never will."""


class BadAddress(NeverAgain):
    """The recipient's address takes no messages."""


class OptedOut(BadAddress):
    """The recipient has told the provider or the carrier to stop: that is no bounce, but a consent withdrawn."""


class NobodyThere(NeverAgain):
    """The system has nobody by any of the contact's names, and nobody is made known to it by this."""


class Unknown(ConnectorError):
    """The call ended with no answer: it may or may not have happened."""
