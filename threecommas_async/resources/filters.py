"""Holding what a server lists against the filters that it was given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..closing import Match
from ..options import check_filter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..http import QueryValue

__all__ = ["check_filters", "match_filters", "pair_facts"]

_PARTS: Final = re.compile("[_-]")
# What may follow a base currency before the first part of a futures symbol ends.
_QUOTES: Final = frozenset({"usd", "usdt", "usdc", "busd"})


def match_filters(filters: Mapping[str, object], facts: Mapping[str, object]) -> Match:
    """Return whether an entity passes the filters.

    Args:
        filters: what was asked for.
        facts: the same names with what the entity says of itself; None where it says nothing.
    """
    found = {_compare(name, wanted, facts[name]) for name, wanted in filters.items()}
    if Match.NO in found:
        return Match.NO
    return Match.UNCERTAIN if Match.UNCERTAIN in found else Match.YES


def _compare(name: str, wanted: object, fact: object) -> Match:
    if fact is None:
        return Match.UNCERTAIN
    if not isinstance(wanted, str):
        return Match.YES if wanted == fact else Match.NO
    # How the server compares is not documented; letter case tells no two pairs apart.
    wanted, fact = wanted.casefold(), str(fact).casefold()
    if name == "base" and fact.startswith(wanted):
        # On futures the base part holds more: BTCUSDT_UMCBL, BTC_USDT, BTC-USD-SWAP, BTCUSD_PERP.
        first, *more = _PARTS.split(fact)
        rest = first.removeprefix(wanted)
        return Match.YES if not rest or (more and rest in _QUOTES) else Match.UNCERTAIN
    return Match.YES if wanted == fact else Match.NO


def pair_facts(pair: str | None) -> dict[str, object]:
    """Return what a pair says of base and quote: the first underscore of QUOTE_BASE parts them."""
    quote, _, base = (pair or "").partition("_")
    return {"pair": pair, "base": base or None, "quote": quote or None}


def check_filters(given: Mapping[str, QueryValue]) -> dict[str, QueryValue]:
    """Return the filters that are set.

    Raises:
        InvalidRequestError: one that is empty or of a wrong type.
    """
    return {name: check_filter(name, value) for name, value in given.items() if value is not None}
