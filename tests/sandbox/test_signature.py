"""Verification of signatures: published vectors, both JSON forms, RSA, raw bytes."""

import base64

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.sandbox.harness import running_sandbox, sign
from threecommas_async.sandbox.signature import hmac_verifier, payloads, rsa_verifier

PUBLISHED_SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
PATH = b"/public/api/ver1/users/change_mode"
JSON_BODY = b'{"mode": "paper"}'


@pytest.mark.parametrize(
    ("payload", "signature"),
    [
        (
            PATH + b"?mode=paper",
            "bca8d8c10acfbe8e76c5335d3efbe0a550487170a8bb7aaea0a13efabab55316",
        ),
        (
            PATH + b"?" + JSON_BODY,
            "0475b407ba6f2388d213134e478b330f74073388a232737837f79018694ae373",
        ),
        (PATH, "2bedfe2a6b037b92c45a224103f4016da5df07149f34fa04e80f8e919b9a2103"),
        (
            PATH + JSON_BODY,
            "a04435bdb0e7fc06450833a1e26d385c56ad3495c10cf3a36d432787591f5edb",
        ),
    ],
)
def test_published_signatures_are_accepted_in_upper_and_lower_case(
    payload: bytes, signature: str
) -> None:
    verify = hmac_verifier(PUBLISHED_SECRET)
    assert verify(payload, signature)
    assert verify(payload, signature.upper())
    assert not verify(payload + b" ", signature)


@pytest.mark.parametrize("signature", ["", "0" * 64, "é", "\udcff"])
def test_any_text_in_the_header_is_handled(signature: str) -> None:
    assert not hmac_verifier("secret")(b"payload", signature)


def test_json_may_be_signed_with_or_without_the_question_mark() -> None:
    assert payloads(b"/a", b"{}", is_json=True) == (b"/a?{}", b"/a{}")


def test_a_form_is_signed_with_the_question_mark_only() -> None:
    assert payloads(b"/a", b"x=1", is_json=False) == (b"/a?x=1",)


def test_without_a_body_the_target_is_signed() -> None:
    assert payloads(b"/a?b=%20c", b"", is_json=False) == (b"/a?b=%20c",)


def test_query_and_body_share_one_question_mark() -> None:
    assert payloads(b"/a?b=1", b"{}", is_json=True) == (b"/a?b=1{}",)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_rsa_signatures_are_checked_against_the_public_key(rsa_key: rsa.RSAPrivateKey) -> None:
    verify = rsa_verifier(public_pem(rsa_key))
    raw = rsa_key.sign(b"payload", padding.PKCS1v15(), hashes.SHA256())
    signature = base64.b64encode(raw).decode()
    assert verify(b"payload", signature)
    assert not verify(b"other", signature)
    assert not verify(b"payload", "not base64")
    assert not verify(b"payload", "é")


def test_only_rsa_keys_are_accepted() -> None:
    with pytest.raises(TypeError, match="RSA"):
        rsa_verifier(public_pem(ec.generate_private_key(ec.SECP256R1())))


async def test_with_a_public_key_rsa_signatures_are_accepted_and_hmac_refused(
    rsa_key: rsa.RSAPrivateKey,
) -> None:
    async with running_sandbox(public_key=public_pem(rsa_key).decode()) as env:
        raw = rsa_key.sign(b"/public/api/ver1/validate", padding.PKCS1v15(), hashes.SHA256())
        signed = {"Signature": base64.b64encode(raw).decode()}
        right = await env.call("GET", "/ver1/validate", headers=signed)
        wrong = await env.call("GET", "/ver1/validate")
    assert (right.status_code, wrong.status_code) == (200, 401)


async def test_a_signature_must_match_the_query_byte_for_byte() -> None:
    async with running_sandbox() as env:
        signature_of_other = sign(
            env.sandbox.secret, b"/public/api/v2/smart_trades?pair=USDT_BTC&page=1"
        )
        headers = {"Signature": signature_of_other}
        answer = await env.call("GET", "/v2/smart_trades?pair=USDT%5FBTC&page=1", headers=headers)
        encoded = await env.call("GET", "/v2/smart_trades?pair=USDT%5FBTC&page=1")
    assert answer.status_code == 401
    assert answer.json() == {
        "error": "signature_invalid",
        "error_description": "Provided signature is invalid",
    }
    assert encoded.status_code == 200


async def test_a_json_body_may_be_signed_in_both_forms_but_must_be_signed() -> None:
    target, body = b"/public/api/ver1/users/change_mode", b'{"mode":"paper"}'
    async with running_sandbox() as env:
        statuses = [
            (
                await env.call(
                    "POST",
                    "/ver1/users/change_mode",
                    content=body,
                    headers={
                        "Content-Type": "application/json",
                        "Signature": sign(env.sandbox.secret, payload),
                    },
                )
            ).status_code
            for payload in (target + b"?" + body, target + body, target)
        ]
    assert statuses == [201, 201, 401]


async def test_a_signature_is_checked_against_the_body_without_decompressing_it() -> None:
    async with running_sandbox() as env:
        answer = await env.call(
            "POST",
            "/ver1/users/change_mode",
            content=b"mode=paper",
            headers={
                "Content-Encoding": "gzip"
            },  # not true, to show that the body is not decompressed
        )
    assert answer.status_code == 201
