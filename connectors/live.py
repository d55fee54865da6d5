"""The business's own endpoint: what only its systems know of a person, asked for as a message goes out."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

import httpx
from pydantic import AfterValidator, Field, HttpUrl, RootModel, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from connectors import http
from connectors.credentials import Credentials
from connectors.errors import NeverAgain
from connectors.fields import checked
from contacts.events import Identity

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def _plain(value: HttpUrl) -> HttpUrl:
    if value.scheme != "https" and value.host not in _LOOPBACK:
        raise ValueError("must be https, for a secret and an e-mail address go there")
    if value.username or value.password or value.query or value.fragment:
        raise ValueError("must have no user, query or fragment")
    return value


class LiveSettings(Credentials):
    """``LIVE_*``. A name is asked for at ``url``/name; ``secret`` goes with every request, as a bearer token."""

    model_config = SettingsConfigDict(env_prefix="LIVE_")

    url: Annotated[HttpUrl, AfterValidator(_plain)] | None = None
    secret: Annotated[SecretStr | None, Field(validate_default=True)] = None

    @field_validator("secret")
    @classmethod
    def _goes_with_the_url(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("url") is not None:
            raise ValueError("is required where LIVE_URL is set")
        return value


@checked
class Live:
    """The ``LiveFacts`` of the business's own systems."""

    name: ClassVar[str] = "live"

    def __init__(self, settings: LiveSettings, client: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._client = client or http.new_client()

    def knows(self, name: str) -> bool:
        """See ``LiveFacts.knows``: of what it does not have it says so itself."""
        return True

    async def fetch(self, name: str, person: Sequence[Identity], about: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """See ``LiveFacts.fetch``. 404, and ``null``, say that nothing is known."""
        if self._settings.url is None or self._settings.secret is None:
            raise NeverAgain(self.name, "no endpoint is set (LIVE_URL, LIVE_SECRET)")
        known_as: dict[str, list[str]] = {}
        for identity in person:
            if identity.kind != "anonymous":
                known_as.setdefault(identity.kind, []).append(identity.value)
        if not known_as:
            return None
        things = {field: str(id) for field, id in about.items() if field.endswith("_id") and isinstance(id, str | int)}
        request = self._client.build_request(
            "GET",
            f"{str(self._settings.url).rstrip('/')}/{quote(name, safe='')}",
            params={**things, **known_as},
            headers={"Authorization": f"Bearer {self._settings.secret.get_secret_value().strip()}"},
        )
        try:
            return (await http.call(self._client, _PROVIDER, request, _Answer, idempotent=True)).root
        except http.Rejected as error:
            if error.status != 404:
                raise
            return None


class _Answer(RootModel[dict[str, Any] | None]):
    pass


_PROVIDER = http.Provider("live", busy=frozenset({429, 503}), read=lambda _: http.Refusal())
