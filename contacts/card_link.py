"""The link in a billing message behind which a customer puts in another card.

A page at the payment provider lets whoever has its address act for the customer, and is soon closed: it is made when
somebody clicks, and never stands in a mail. The link stands for the contact and nothing else.
"""

from hashlib import sha256

from itsdangerous import BadData, URLSafeSerializer
from pydantic import SecretStr

from contacts.preferences import LONGEST, BadToken


def url(secret: SecretStr, public_url: str, contact_id: str) -> str:
    """The link of one contact. It never expires: what lies behind it is made anew at each click."""
    return f"{public_url}/card/{_serializer(secret).dumps(contact_id)}"


def read(secret: SecretStr, token: str) -> str:
    """The contact's id.

    Raises:
        BadToken: It is not one of ours.
    """
    try:
        contact_id = _serializer(secret).loads(token) if len(token) <= LONGEST else None
    except BadData:
        contact_id = None
    if not isinstance(contact_id, str):
        raise BadToken("not a link of ours")
    return contact_id


def _serializer(secret: SecretStr) -> URLSafeSerializer:
    signing = {"digest_method": sha256, "key_derivation": "hmac"}
    return URLSafeSerializer(secret.get_secret_value(), salt="perennial.card", signer_kwargs=signing)
