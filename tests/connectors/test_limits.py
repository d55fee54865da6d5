"""How a connector says what its own system takes. What each of them takes is in ``test_too_long``."""

from typing import Any

import pytest

from connectors.errors import NeverAgain
from connectors.limits import Limits


def test_a_limit_is_the_last_length_that_fits() -> None:
    limits = Limits("x", each=5, named={"name": 3})
    for fits in ({"name": "abc", "other": "abcde"}, {"name": 123, "other": None}, {}):
        assert limits.check(fits) is fits
    for wrong, reason in (
        ({"name": "abcd"}, "name: is longer than 3 characters"),
        ({"other": "abcdef"}, "other: is longer than 5 characters"),
        ({"other": ["abcd"]}, "other: is longer than 5 characters"),
        ({"other": 123456}, "other: is longer than 5 characters"),
    ):
        with pytest.raises(NeverAgain) as caught:
            limits.check(wrong)
        assert (caught.value.connector, caught.value.reason) == ("x", reason)
    assert Limits("x", named={"name": 3}).check({"other": "abcdef"})


def test_names_and_number_of_fields_have_limits_too() -> None:
    limits = Limits("x", name=4, fields=2, unit="bytes")
    assert limits.check({"éé": "a" * 1_000, "b": 1})
    with pytest.raises(NeverAgain, match=r"^x: the name of a field is longer than 4 bytes$"):
        limits.check({"ééa": 1})
    with pytest.raises(NeverAgain, match=r"^x: 3 fields are more than 2$"):
        limits.check({"a": 1, "b": 2, "c": 3})


@pytest.mark.parametrize(("unit", "length"), [("characters", 1), ("characters of UTF-16", 2), ("bytes", 4)])
def test_a_system_counts_in_its_own_way(unit: Any, length: int) -> None:
    assert Limits("x", each=length, unit=unit).check({"a": "😀"})
    with pytest.raises(NeverAgain, match=f"^x: a: is longer than {length - 1} {unit}$"):
        Limits("x", each=length - 1, unit=unit).check({"a": "😀"})
