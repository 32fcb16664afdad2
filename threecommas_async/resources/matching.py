"""Holding what a server lists against the filters that it was given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar, cast

from ..options import check_filter
from ..scope import Match, Scope
from .paging import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from ..call import QueryValue
    from ..options import CallOptions
    from .closable import ResourceTarget

__all__ = ["check_filters", "match_filters", "pair_facts", "scope_of"]

T = TypeVar("T")

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


def scope_of(
    target: ResourceTarget[T],
    filters: Mapping[str, QueryValue],
    facts: Callable[[T], Mapping[str, object]],
) -> Scope[T]:
    """Return which entities are meant by the filters of a `close_all`.

    Args:
        target: the kind of entity.
        filters: the filters that are set.
        facts: what an entity says of itself, under the names of the filters; `pair` and
            `account_id` among them.
    """

    def place(entity: T) -> str:
        told = facts(entity)
        return f"{told['pair']} on account {told['account_id']}"

    def pages(filters: Mapping[str, QueryValue], left: float | None) -> AsyncIterator[Sequence[T]]:
        options = cast("CallOptions", {**target.options, "deadline": left})
        return target.paged.pages({**filters, **target.active}, options)

    return Scope(
        listing=lambda left: pages(filters, left),
        everything=(lambda left: pages({}, left)) if filters else None,
        page_size=PAGE_SIZE,
        filters=", ".join(f"{name}={value!r}" for name, value in filters.items()),
        match=lambda entity: match_filters(filters, facts(entity)),
        place=place,
    )
