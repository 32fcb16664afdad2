"""What the commands need to know of what they close: SmartTrades and deals share all the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

from attrs import frozen

from .. import SmartTrade
from ..closing import (
    Phase,
    deal_is_closable,
    deal_phase,
    smart_trade_is_cancellable,
    smart_trade_is_closable,
)
from ..models.deal import Deal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from .. import AsyncClient, CloseBatch, CloseOutcome

__all__ = [
    "CANCEL",
    "CANCELLED_TRADES",
    "CLOSE",
    "DEALS",
    "TRADES",
    "Deed",
    "Entity",
    "Kind",
    "SweepCall",
]

Entity: TypeAlias = SmartTrade | Deal
T = TypeVar("T", bound=Entity)


@frozen
class Deed:
    """What is done to each, in the words for it."""

    verb: str
    done: str
    manner: str
    known: str
    """What all are known to be when all went well."""


CLOSE = Deed("close", "closed", " at market", "closing or closed")
CANCEL = Deed("cancel", "cancelled", "", "being cancelled or over")


class BatchCall(Protocol[T]):
    """`close_many` and its like."""

    def __call__(
        self,
        trade_ids: Iterable[int],
        *,
        confirm: bool,
        deadline: float | None,
        on_outcome: Callable[[CloseOutcome[T]], object],
    ) -> CloseBatch[T]:
        """Begin."""
        ...


class SweepCall(Protocol[T]):
    """`close_all`, with its filters given."""

    def __call__(
        self,
        *,
        confirm: bool = ...,
        deadline: float | None = ...,
        dry_run: bool = ...,
        on_outcome: Callable[[CloseOutcome[T]], object] | None = ...,
    ) -> CloseBatch[T]:
        """Begin."""
        ...


@frozen(kw_only=True)
class Kind(Generic[T]):
    """A kind of entity, and what is done to it."""

    name: str
    command: str
    """The first word of its commands."""
    deed: Deed
    batch: Callable[[AsyncClient], BatchCall[T]]
    """Does it to many."""
    open_ones: Callable[[AsyncClient], AsyncIterator[T]]
    """Lists those that it could be done to."""
    why_not: Callable[[T], str | None]
    """Tells why it would not be done to one; None if it would."""

    def count(self, number: int) -> str:
        """Name so many of them."""
        return f"{number} {self.name}{'' if number == 1 else 's'}"

    @property
    def hint(self) -> str:
        """What to type when no filter matches."""
        return (
            f"threecommas {self.command} list shows what is open. A pair is written with the quote "
            "currency first, as in USDT_BTC."
        )


_BUSY = "already closing, or its state does not allow it"


def _trade_stays_open(trade: SmartTrade) -> str | None:
    if smart_trade_is_closable(trade):
        return None
    if smart_trade_is_cancellable(trade):
        return "its entry is not filled; it can be cancelled"
    return _BUSY


def _trade_stays(trade: SmartTrade) -> str | None:
    if smart_trade_is_cancellable(trade):
        return None
    return "its entry is filled; it can be closed" if smart_trade_is_closable(trade) else _BUSY


def _deal_stays_open(deal: Deal) -> str | None:
    if deal_is_closable(deal):
        return None
    return "its entry is not filled" if deal_phase(deal) is Phase.NOT_ENTERED else _BUSY


TRADES = Kind[SmartTrade](
    name="SmartTrade",
    command="trades",
    deed=CLOSE,
    batch=lambda client: client.smart_trades.close_many,
    open_ones=lambda client: client.smart_trades.list(status="active"),
    why_not=_trade_stays_open,
)
CANCELLED_TRADES = Kind[SmartTrade](
    name=TRADES.name,
    command=TRADES.command,
    deed=CANCEL,
    batch=lambda client: client.smart_trades.cancel_many,
    open_ones=TRADES.open_ones,
    why_not=_trade_stays,
)
DEALS = Kind[Deal](
    name="deal",
    command="deals",
    deed=CLOSE,
    batch=lambda client: client.deals.close_many,
    open_ones=lambda client: client.deals.list(scope="active"),
    why_not=_deal_stays_open,
)
