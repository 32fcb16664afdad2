"""The user and the API key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..endpoint import Endpoint, Safety
from ..models.user import ValidateResult

if TYPE_CHECKING:
    from typing import Unpack

    from ..http import Pipeline
    from ..options import CallOptions

__all__ = ["VALIDATE", "Users"]

VALIDATE: Final = Endpoint("GET", "/ver1/validate", ValidateResult, Safety.SAFE)


class Users:
    """`client.users`."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def validate(self, **options: Unpack[CallOptions]) -> ValidateResult:
        """Check that the server accepts the key and the signature.

        Raises:
            AuthenticationError: the key or the signature was refused.

        Source: GET /ver1/validate.
        """
        return (await self._pipeline.send(VALIDATE, options=options)).data
