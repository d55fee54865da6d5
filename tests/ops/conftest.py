"""What tests of the whole proof need: the whole road."""

from tests.road.conftest import road

__all__ = ["road"]
