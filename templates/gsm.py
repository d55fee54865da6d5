"""The alphabet of an SMS (GSM 03.38). One character outside it, and a part holds 70 characters instead of 160."""

import unicodedata

ALPHABET = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà^{}\\[~]|€"
)

_PLAIN = str.maketrans({
    "‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-", "‑": "-", "…": "...", "×": "x", "·": "-",
    "\u00a0": " ", "\u202f": " ", "\u200b": "",
})  # fmt: skip


def fold(text: str) -> str:
    """The text with typographic signs made plain and foreign accents taken off.

    A letter that has no form in the alphabet stays: a name in its own script is worth the shorter parts.

    >>> fold("“María” – Jürgen…"), fold("प्रिया")
    ('"Maria" - Jürgen...', 'प्रिया')
    """
    return "".join(c if c in ALPHABET else _bare(c) for c in unicodedata.normalize("NFC", text).translate(_PLAIN))


def _bare(letter: str) -> str:
    base = unicodedata.normalize("NFD", letter)[0]
    return base if base in ALPHABET else letter
