"""Standard Webhooks: the reference library signs ``v1``, a key pair of our own signs ``v1a``."""

import hashlib
import hmac
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from standardwebhooks import Webhook

from connectors import standard_webhooks
from connectors.base import Refused, Request
from contacts.events import InvalidEvent

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SENT = str(int(NOW.timestamp()))
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = "whpk_" + b64encode(PRIVATE.public_key().public_bytes_raw()).decode()
BODY = '{"name": "Zoë"}'.encode()


def keys(*texts: str) -> standard_webhooks.Keys:
    return standard_webhooks.keys_in(SecretStr(",".join(texts)))


def symmetric(id: str = "msg_1", at: datetime = NOW, body: bytes = BODY, secret: str = SECRET) -> str:
    return Webhook(secret).sign(id, at, body.decode())


def asymmetric(id: str = "msg_1", sent: str = SENT, body: bytes = BODY) -> str:
    return "v1a," + b64encode(PRIVATE.sign(f"{id}.{sent}.".encode() + body)).decode()


def request(
    signature: str, *, id: str = "msg_1", sent: str = SENT, body: bytes = BODY, family: str = "webhook"
) -> Request:
    headers = {f"{family}-id": id, f"{family}-timestamp": sent, f"{family}-signature": signature}
    return Request("POST", "https://hub.example.com/webhooks/any", headers, body)


def refusal(given: Request, held: standard_webhooks.Keys) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        standard_webhooks.verify(held, given, NOW)
    return caught.value.status, caught.value.reason


@pytest.mark.parametrize("family", ["webhook", "svix"])
@pytest.mark.parametrize(("key", "signature"), [(SECRET, symmetric()), (PUBLIC, asymmetric())])
def test_both_versions_in_both_families_of_headers(family: str, key: str, signature: str) -> None:
    arriving = request(signature, family=family)
    standard_webhooks.verify(keys(key), arriving, NOW)
    assert standard_webhooks.message_id(arriving) == "msg_1"


def test_a_vector_worked_out_apart_from_this_code() -> None:
    # printf %s 'msg_1.1772442000.{}' | openssl dgst -sha256 -mac HMAC -macopt hexkey:<24 times 61> -binary | base64
    arriving = request("v1,AgyKqviGzJScIYNR3iFOey7jA4+SGpuM0x69P72K7F4=", body=b"{}")
    standard_webhooks.verify(keys("whsec_" + b64encode(b"a" * 24).decode()), arriving, NOW)


def test_of_two_families_the_whole_one_counts() -> None:
    svix = request(symmetric(), family="svix")
    half = Request(svix.method, svix.url, {**svix.headers, "webhook-id": "msg_2"}, svix.body)
    standard_webhooks.verify(keys(SECRET), half, NOW)
    assert standard_webhooks.message_id(half) == "msg_1"


def test_the_id_is_of_the_family_that_was_verified() -> None:
    both = {**request(symmetric(), family="svix").headers, **request("v1,AAAA", id="msg_2").headers}
    assert refusal(Request("POST", "https://hub.example.com/", both, BODY), keys(SECRET)) == (
        401, "the signature does not match",
    )  # fmt: skip


@pytest.mark.parametrize("part", ["webhook-id", "webhook-timestamp", "body"])
@pytest.mark.parametrize(("key", "signature"), [(SECRET, symmetric()), (PUBLIC, asymmetric())])
def test_nothing_signed_can_be_changed(key: str, signature: str, part: str) -> None:
    good = request(signature)
    changed = {"webhook-id": "msg_2", "webhook-timestamp": str(int(SENT) + 1)}
    headers = {**good.headers, **{name: value for name, value in changed.items() if name == part}}
    body = BODY + b" " if part == "body" else BODY
    assert refusal(Request(good.method, good.url, headers, body), keys(key))[0] == 401


@pytest.mark.parametrize(("seconds", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_age_counts_both_ways(seconds: int, taken: bool) -> None:
    at = NOW + timedelta(seconds=seconds)
    sent = str(int(at.timestamp()))
    for key, signature in ((SECRET, symmetric(at=at)), (PUBLIC, asymmetric(sent=sent))):
        if taken:
            standard_webhooks.verify(keys(key), request(signature, sent=sent), NOW)
        else:
            assert refusal(request(signature, sent=sent), keys(key))[0] == 401


def test_any_key_and_any_signature_will_do() -> None:
    listed = f"v2,xyz nonsense v1a,AAAA v1,AAAA {symmetric()} {asymmetric()}"
    for held in (keys(SECRET), keys(PUBLIC), keys(SECRET, PUBLIC), keys("whsec_" + "A" * 32, SECRET)):
        standard_webhooks.verify(held, request(listed), NOW)
    other = "whpk_" + b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
    assert refusal(request(asymmetric()), keys(other, SECRET))[0] == 401


def test_a_public_key_is_no_secret() -> None:
    # Everybody knows the public key: an HMAC made with it must prove nothing, and a v1 says nothing about a v1a.
    public = PRIVATE.public_key().public_bytes_raw()
    mac = b64encode(hmac.new(public, f"msg_1.{SENT}.".encode() + BODY, hashlib.sha256).digest()).decode()
    for forged in (f"v1,{mac}", f"v1a,{mac}", asymmetric().replace("v1a,", "v1,")):
        assert refusal(request(forged), keys(PUBLIC)) == (401, "the signature does not match")
    assert refusal(request(symmetric().replace("v1,", "v1a,")), keys(SECRET)) == (401, "the signature does not match")


def test_a_secret_may_lack_its_padding_or_prefix() -> None:
    padded = "whsec_" + b64encode(b"a" * 25).decode()
    assert padded.endswith("==")
    for text in (padded, padded.rstrip("="), padded.removeprefix("whsec_")):
        standard_webhooks.verify(keys(text), request(symmetric(secret=padded)), NOW)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("whsec_", "whsec_ and the secret in base64"),
        ("whsec_a", "whsec_ and the secret in base64"),
        ("whsec_a$b=", "whsec_ and the secret in base64"),
        ("whsec_é", "whsec_ and the secret in base64"),
        ("whpk_" + "A" * 42, "whpk_ and the 32 bytes"),
        ("whpk_*", "whpk_ and the 32 bytes"),
        ("whsk_" + "A" * 44, "private key"),
    ],
)
def test_what_is_no_key_is_said_without_it(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        keys(SECRET, text)
    assert text not in str(caught.value) or text == "whsec_"


def test_without_a_key_everything_is_refused() -> None:
    for setting in (None, SecretStr(""), SecretStr(" , ")):
        held = standard_webhooks.keys_in(setting)
        status, reason = refusal(request(symmetric()), held)
        assert (status, "no signing secret" in reason) == (401, True)


@pytest.mark.parametrize("missing", ["id", "timestamp", "signature"])
def test_all_three_headers_are_needed(missing: str) -> None:
    whole = request(symmetric())
    partly = Request(whole.method, whole.url, {**whole.headers, f"webhook-{missing}": ""}, BODY)
    assert refusal(partly, keys(SECRET))[0] == 401
    with pytest.raises(InvalidEvent, match="webhook-id: is missing"):
        standard_webhooks.message_id(partly)


@pytest.mark.parametrize("sent", ["now", "-1", "1e9", "²", "٢", "9" * 400, "1772442000.0"])
def test_a_timestamp_that_is_none(sent: str) -> None:
    assert refusal(request(symmetric(), sent=sent), keys(SECRET))[0] == 400


def test_a_dot_would_let_id_and_timestamp_be_read_in_two_ways() -> None:
    assert refusal(request(symmetric(id="msg.1"), id="msg.1"), keys(SECRET)) == (400, "Webhook-Id holds a dot")


@given(st.text(), st.text() | st.integers().map(str), st.text(), st.binary(), st.sampled_from(["webhook", "svix"]))
def test_junk_is_refused(id: str, sent: str, signature: str, body: bytes, family: str) -> None:
    arriving = request(signature, id=id, sent=sent, body=body, family=family)
    for held in (keys(SECRET), keys(PUBLIC), keys(SECRET, PUBLIC)):
        with pytest.raises(Refused):
            standard_webhooks.verify(held, arriving, NOW)


@given(
    st.lists(st.sampled_from(["v1", "v1a", "v2", ""]).flatmap(lambda v: st.text(max_size=90).map(lambda t: f"{v},{t}")))
)
def test_junk_signatures_are_refused(offered: list[str]) -> None:
    refusal(request(" ".join(offered)), keys(SECRET, PUBLIC))
