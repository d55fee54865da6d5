"""Amounts as people read them, from integer minor units and an ISO 4217 code."""

_DECIMALS = {
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0,
    "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
    "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
    "CLF": 4, "UYW": 4,
}  # fmt: skip
"""ISO 4217's minor units where they are not two. (CLDR's, which locale libraries carry, say how many digits are
customary to show, for some currencies fewer than the minor unit has: they cannot place the decimal point.)"""

_SYMBOLS = {"EUR": "€", "GBP": "£", "USD": "$", "JPY": "¥"}


def money(minor: int, currency: str) -> str:
    """The amount for an English text; currencies without a sign everyone knows carry their code.

    >>> money(123450, "EUR"), money(5000, "JPY"), money(-990, "GBP"), money(1250, "KWD")
    ('€1,234.50', '¥5,000', '-£9.90', 'KWD 1.250')
    """
    decimals = _DECIMALS.get(currency, 2)
    whole, rest = divmod(abs(minor), 10**decimals)
    digits = f"{whole:,}" + (f".{rest:0{decimals}d}" if decimals else "")
    return ("-" if minor < 0 else "") + _SYMBOLS.get(currency, f"{currency} ") + digits
