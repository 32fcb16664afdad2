"""What the vendor publishes about signing, and a server that keeps what was signed."""

import hashlib
import hmac

import httpx

from threecommas_async.endpoint import Endpoint, Safety
from threecommas_async.models.user import ValidateResult

# From the vendor's page on HMAC signing.
API_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
BASE = "https://api.3commas.io/public/api"
PATH = b"/public/api/ver1/users/change_mode"
JSON_BODY = b'{"mode": "paper"}'

CHANGE_MODE = Endpoint("POST", "/ver1/users/change_mode", ValidateResult, Safety.UNSAFE)


class Server:
    """Keeps every request as it is sent."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, json={"valid": True})

    @property
    def target(self) -> bytes:
        return self.requests[-1].url.raw_path

    @property
    def body(self) -> bytes:
        return self.requests[-1].content

    @property
    def signature(self) -> str:
        return self.requests[-1].headers["Signature"]


def hmac_of(payload: bytes) -> str:
    return hmac.digest(SECRET.encode(), payload, hashlib.sha256).hex()
