"""What it takes to tell a person who works here of a contact."""

from collections.abc import Awaitable
from datetime import timedelta

from temporalio.exceptions import ApplicationError

from connectors.errors import ConnectorError, NeverAgain, TryAgain
from contacts.facts import Facts


def who(facts: Facts) -> str:
    """How a person knows the contact: by name and address, as far as we have them."""
    name = " ".join(str(facts.get(n)) for n in ("first_name", "last_name") if facts.get(n)) or facts.get("name")
    address = facts.address("email") or facts.address("sms") or facts.contact_id
    return f"{name} <{address}>" if name else str(address)


async def call(asking: Awaitable[str]) -> str:
    """Asks a connector; its errors become Temporal's."""
    try:
        answer = await asking
    except TryAgain as error:
        raise ApplicationError(str(error), type="TryAgain", next_retry_delay=error.delay) from None
    except NeverAgain as error:
        # A person must look at it either way; the activity shows the reason and goes on once it is mended.
        raise ApplicationError(str(error), type=type(error).__name__, next_retry_delay=timedelta(minutes=5)) from None
    except ConnectorError as error:
        raise ApplicationError(str(error), type=type(error).__name__) from None
    return answer
