"""Where a letter or a parcel goes: what the senders of things on paper and in boxes share."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from connectors.errors import NeverAgain

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class PostalAddress(BaseModel):
    """A postal address.

    Attributes:
        name: Of the person, as it stands on the envelope.
        region: State, province or county, where the country's addresses have one; two letters in the US.
        country: ISO 3166, two letters.
        phone: With country, for couriers that want one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Line
    company: Line | None = None
    line1: Line
    line2: Line | None = None
    city: Line
    region: Line | None = None
    postal_code: Line | None = None
    country: Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True, pattern=r"^[A-Za-z]{2}$")] = "US"
    phone: Annotated[str, Field(pattern=r"^\+[0-9 ]{6,20}$")] | None = None


def address_in(metadata: Mapping[str, str], connector: str) -> PostalAddress:
    """The address under ``address`` in a message's metadata, as JSON.

    Raises:
        NeverAgain: There is none, or it is none; the reason names the field and not its value.
    """
    text = metadata.get("address")
    if not text:
        raise NeverAgain(connector, "metadata.address: there is no postal address")
    try:
        return PostalAddress.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in ("metadata.address", *first["loc"]))
        raise NeverAgain(connector, f"{where}: {first['msg']}") from None
