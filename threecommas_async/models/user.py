"""The user and the credentials."""

from __future__ import annotations

from attrs import frozen

__all__ = ["ValidateResult"]


@frozen(kw_only=True)
class ValidateResult:
    """Answer of the credentials check."""

    valid: bool
