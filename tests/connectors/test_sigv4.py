"""AWS Signature Version 4: AWS's own library signs the same."""

from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from connectors.sigv4 import AccessKey, sign

NOW = datetime(2026, 3, 2, 9, 0, 5, tzinfo=UTC)
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


def aws(url: str, headers: dict[str, str], body: bytes, key: AccessKey, region: str, service: str) -> dict[str, str]:
    request = AWSRequest("POST", url, headers=headers, data=body)
    with patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        SigV4Auth(Credentials(key.id, key.secret, key.session_token), service, region).add_auth(request)
    return dict(request.headers.items())


@given(
    body=st.binary(max_size=200),
    secret=PRINTABLE,
    token=st.none() | PRINTABLE,
    host=st.sampled_from(["email.eu-central-1.amazonaws.com", "localhost:8080"]),
    path=st.sampled_from(["", "/", "/v2/email/outbound-emails"]),
    media_type=st.sampled_from(["application/json", "  two  spaces  "]),
    region=st.sampled_from(["eu-central-1", "us-gov-west-1"]),
)
def test_it_signs_as_aws_does(
    body: bytes, secret: str, token: str | None, host: str, path: str, media_type: str, region: str
) -> None:
    key, url, headers = AccessKey("AKIDEXAMPLE", secret, token), f"https://{host}{path}", {"Content-Type": media_type}
    ours = sign("POST", url, headers, body, key=key, region=region, service="ses", now=NOW)
    theirs = aws(url, headers, body, key, region, "ses")
    assert {**theirs, "Host": host} == ours


@pytest.mark.parametrize("changed", ["body", "secret", "token", "region", "service", "now"])
def test_everything_is_signed(changed: str) -> None:
    def made(what: str) -> str:
        return sign(
            "POST",
            "https://email.eu-central-1.amazonaws.com/",
            {},
            b"{ }" if what == "body" else b"{}",
            key=AccessKey("AKIDEXAMPLE", "s2" if what == "secret" else "s1", "t2" if what == "token" else "t1"),
            region="eu-west-1" if what == "region" else "eu-central-1",
            service="sns" if what == "service" else "ses",
            now=NOW.replace(second=6) if what == "now" else NOW,
        )["Authorization"].rpartition("=")[2]

    assert made(changed) != made("nothing")
