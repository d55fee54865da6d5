import pytest
from hypothesis import given
from hypothesis import strategies as st

from templates.money import money


@pytest.mark.parametrize(
    ("minor", "currency", "shown"),
    [
        (123450, "EUR", "€1,234.50"),
        (5, "USD", "$0.05"),
        (0, "GBP", "£0.00"),
        (15800, "JPY", "¥15,800"),
        (100000000, "KRW", "KRW 100,000,000"),
        (1250, "KWD", "KWD 1.250"),
        (9900, "CHF", "CHF 99.00"),
        (-990, "EUR", "-€9.90"),
    ],
)
def test_shown_as_people_read_it(minor, currency, shown):
    assert money(minor, currency) == shown


@given(st.integers(), st.sampled_from(["EUR", "JPY", "KWD", "CLF"]))
def test_no_digit_is_lost(minor, currency):
    digits = "".join(c for c in money(minor, currency) if c.isdigit())
    assert int(digits) == abs(minor)
