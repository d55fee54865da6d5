"""AWS Signature Version 4, for a call whose path needs no escaping and that has no query."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit


@dataclass(frozen=True)
class AccessKey:
    """Who calls. ``session_token`` comes with keys that are lent for a while."""

    id: str
    secret: str
    session_token: str | None = None


def sign(
    method: str, url: str, headers: Mapping[str, str], body: bytes, *, key: AccessKey, region: str, service: str,
    now: datetime,
) -> dict[str, str]:  # fmt: skip
    """The call's headers with those that sign it.

    Args:
        method: Upper case.
        url: Scheme, host and path.
        headers: All of them are signed.
        body: As it goes over the wire.
        key: Who calls.
        region: Where the service is.
        service: Its name as AWS signs it, such as ``ses``.
        now: The machine's time (UTC); AWS takes five minutes' difference from its own.
    """
    parts = urlsplit(url)
    at = now.strftime("%Y%m%dT%H%M%SZ")
    token = {"X-Amz-Security-Token": key.session_token} if key.session_token else {}
    given = {**headers, "Host": parts.netloc, "X-Amz-Date": at, **token}
    lines = sorted((name.lower(), " ".join(value.split())) for name, value in given.items())
    names = ";".join(name for name, _ in lines)
    fields = "".join(f"{name}:{value}\n" for name, value in lines)
    asked = f"{method}\n{parts.path or '/'}\n\n{fields}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{at[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
    signing_key = f"AWS4{key.secret}".encode()
    for part in scope.split("/"):
        signing_key = _mac(signing_key, part).digest()
    signature = _mac(signing_key, text).hexdigest()
    word = f"AWS4-HMAC-SHA256 Credential={key.id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**given, "Authorization": word}


def _mac(key: bytes, text: str) -> hmac.HMAC:
    return hmac.new(key, text.encode(), hashlib.sha256)
