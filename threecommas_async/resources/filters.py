"""Checks that what the server lists passes the filters that it was given.

A filter that the server ignores would list, and then close, everything. So each listed entity is
compared with the filters by its own fields.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..closing import Match
from ..options import check_filter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..http import QueryValue

__all__ = ["filter_query", "match_filters", "pair_values"]

_PARTS: Final = re.compile("[_-]")
# Quote currencies that may follow the base currency in the first part of a futures symbol.
_QUOTES: Final = frozenset({"usd", "usdt", "usdc", "busd"})


def match_filters(filters: Mapping[str, object], values: Mapping[str, object]) -> Match:
    """Return whether an entity passes the filters.

    Args:
        filters: the filters.
        values: the entity's own values under the same names; None where it has none.
    """
    matches = {_compare(name, wanted, values[name]) for name, wanted in filters.items()}
    if Match.NO in matches:
        return Match.NO
    return Match.UNCERTAIN if Match.UNCERTAIN in matches else Match.YES


def _compare(name: str, wanted: object, value: object) -> Match:
    if value is None:
        return Match.UNCERTAIN
    if not isinstance(wanted, str):
        return Match.YES if wanted == value else Match.NO
    # How the server compares is not documented, but no two pairs differ in letter case only.
    wanted, value = wanted.casefold(), str(value).casefold()
    if name == "base" and value.startswith(wanted):
        # The base part of a futures pair has more than the base currency: BTCUSDT_UMCBL, BTC_USDT,
        # BTC-USD-SWAP, BTCUSD_PERP.
        first, *more = _PARTS.split(value)
        rest = first.removeprefix(wanted)
        return Match.YES if not rest or (more and rest in _QUOTES) else Match.UNCERTAIN
    return Match.YES if wanted == value else Match.NO


def pair_values(pair: str | None) -> dict[str, object]:
    """Return a pair with its quote and base, which its first underscore separates (QUOTE_BASE)."""
    quote, _, base = (pair or "").partition("_")
    return {"pair": pair, "base": base or None, "quote": quote or None}


def filter_query(**filters: QueryValue) -> dict[str, QueryValue]:
    """Return the query of the filters that are set; `from_` stands for the API's `from`.

    Raises:
        InvalidRequestError: a filter is empty or has the wrong type.
    """
    return {
        name.rstrip("_"): check_filter(name, value)
        for name, value in sorted(filters.items())
        if value is not None
    }
