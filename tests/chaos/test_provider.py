"""The drill's provider misbehaves in each of its ways, and remembers what it did; couriers say what that means."""

from collections.abc import AsyncIterator

import httpx
import pytest

from chaos import provider as module
from chaos.couriers import Asked, Courier, Keyed
from chaos.provider import MISHAPS, Mishap, Provider
from connectors.base import Message, Sender
from connectors.errors import ConnectorError, NeverAgain, TryAgain, Unknown

MESSAGE = Message("k", "ada@example.com", "s", "t", metadata={"template": "welcome", "journey": "welcome"})


class Chosen(Provider):
    """Goes wrong as it is told, once."""

    next: Mishap | None = None

    def mishap(self, what: str) -> Mishap | None:
        chosen, self.next = self.next, None
        return chosen


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Chosen:
    monkeypatch.setattr(module, "_SILENCE", 0.6)
    return Chosen(1, 0)


@pytest.fixture
async def url(provider: Chosen) -> AsyncIterator[str]:
    async with provider.serving() as url:
        yield url


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=httpx.Timeout(0.3, connect=5), trust_env=False)


@pytest.mark.parametrize("kind", [Courier, Keyed, Asked])
def test_they_are_senders(kind: type[Courier]) -> None:
    assert isinstance(kind("http://127.0.0.1:1", "email"), Sender)


@pytest.mark.parametrize(
    ("mishap", "error", "done"),
    [
        ("busy", TryAgain, 0),
        ("broken", Unknown, 0),
        ("broken_after", Unknown, 1),
        ("silent", Unknown, 0),
        ("silent_after", Unknown, 1),
        ("dropped", Unknown, 1),
    ],
)
async def test_what_a_mishap_means(
    url: str, provider: Chosen, mishap: Mishap, error: type[ConnectorError], done: int
) -> None:
    async with client() as http:
        for kind in (Courier, Keyed):
            provider.next = mishap
            with pytest.raises(error):
                await kind(url, "sms", http).send(MESSAGE)
        assert len(provider.delivered) == 2 * done
        assert (await Courier(url, "sms", http).send(MESSAGE)).provider_id == "plain-k"
    assert len(provider.delivered) == 2 * done + 1


async def test_a_key_is_honoured_and_asked_for(url: str, provider: Chosen) -> None:
    async with client() as http:
        keyed, asked = Keyed(url, "note", http), Asked(url, "email", http)
        assert await keyed.send(MESSAGE) == await keyed.send(MESSAGE)
        assert (len(provider.delivered), provider.repeats_dropped) == (1, 1)
        assert await asked.look_up("k") is None
        accepted = await asked.send(MESSAGE)
        assert await asked.look_up("k") == accepted
        provider.next = "broken"
        with pytest.raises(TryAgain):
            await asked.look_up("k")
        with pytest.raises(NeverAgain):
            await Courier(url, "sms", http).look_up("k")


def test_mishaps_follow_from_the_seed_and_end_when_it_is_well() -> None:
    def drawn(seed: int) -> list[Mishap | None]:
        provider = Provider(seed, 0.5)
        return [provider.mishap("k") for _ in range(200)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert set(drawn(1)) == {None, *MISHAPS}
    provider = Provider(1, 0.5, well=True)
    assert not any(provider.mishap("k") for _ in range(100))
