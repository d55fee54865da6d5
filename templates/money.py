"""Amounts as people read them, from integer minor units and an ISO 4217 code."""

from contacts.events import minor_digits

_SYMBOLS = {"EUR": "€", "GBP": "£", "USD": "$", "JPY": "¥"}


def money(minor: int, currency: str) -> str:
    """The amount for an English text; currencies without a sign everyone knows carry their code.

    >>> money(123450, "EUR"), money(5000, "JPY"), money(-990, "GBP"), money(1250, "KWD")
    ('€1,234.50', '¥5,000', '-£9.90', 'KWD 1.250')
    """
    decimals = minor_digits(currency)
    whole, rest = divmod(abs(minor), 10**decimals)
    digits = f"{whole:,}" + (f".{rest:0{decimals}d}" if decimals else "")
    return ("-" if minor < 0 else "") + _SYMBOLS.get(currency, f"{currency} ") + digits
