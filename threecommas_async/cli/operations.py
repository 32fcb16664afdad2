"""The bulk operations of the commands: close SmartTrades, cancel SmartTrades, close deals."""

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
    "CANCEL_TRADES",
    "CLOSE",
    "CLOSE_DEALS",
    "CLOSE_TRADES",
    "Action",
    "CloseAllCall",
    "Entity",
    "Operation",
]

Entity: TypeAlias = SmartTrade | Deal
T = TypeVar("T", bound=Entity)


@frozen
class Action:
    """Close or cancel, with the words for it in messages."""

    verb: str
    participle: str
    manner: str
    """How it is done, to be appended to the question; empty if there is nothing to say."""
    success: str
    """State of an entity after the action has succeeded."""


CLOSE = Action("close", "closed", " at market", "closing or closed")
CANCEL = Action("cancel", "cancelled", "", "being cancelled or over")


class CloseManyCall(Protocol[T]):
    """Signature of `close_many` and `cancel_many`."""

    def __call__(
        self,
        entity_ids: Iterable[int],
        /,
        *,
        confirm: bool,
        deadline: float | None,
        on_outcome: Callable[[CloseOutcome[T]], object],
    ) -> CloseBatch[T]:
        """Start the batch."""
        ...


class CloseAllCall(Protocol[T]):
    """Signature of `close_all` with its filters bound."""

    def __call__(
        self,
        *,
        confirm: bool = ...,
        deadline: float | None = ...,
        dry_run: bool = ...,
        on_outcome: Callable[[CloseOutcome[T]], object] | None = ...,
    ) -> CloseBatch[T]:
        """Start the batch."""
        ...


@frozen(kw_only=True)
class Operation(Generic[T]):
    """An action on one type of entity."""

    entity_name: str
    command_group: str
    """First word of the entity's commands."""
    action: Action
    bulk_method: Callable[[AsyncClient], CloseManyCall[T]]
    """Returns the client's method that does it to many ids."""
    list_open: Callable[[AsyncClient], AsyncIterator[T]]
    """Lists the entities that the action could apply to."""
    obstacle: Callable[[T], str | None]
    """Returns why the action does not apply to an entity; None if it does."""

    def counted(self, number: int) -> str:
        """Return a number of entities in words, as in "3 deals"."""
        return f"{number} {self.entity_name}{'' if number == 1 else 's'}"

    @property
    def filter_hint(self) -> str:
        """Advice for filters that match nothing."""
        return (
            f"threecommas {self.command_group} list shows what is open. A pair is written with "
            "the quote currency first, as in USDT_BTC."
        )


_NOT_ALLOWED = "already closing, or its state does not allow it"


def _obstacle_to_closing_trade(trade: SmartTrade) -> str | None:
    if smart_trade_is_closable(trade):
        return None
    if smart_trade_is_cancellable(trade):
        return "its entry is not filled; it can be cancelled"
    return _NOT_ALLOWED


def _obstacle_to_cancelling_trade(trade: SmartTrade) -> str | None:
    if smart_trade_is_cancellable(trade):
        return None
    if smart_trade_is_closable(trade):
        return "its entry is filled; it can be closed"
    return _NOT_ALLOWED


def _obstacle_to_closing_deal(deal: Deal) -> str | None:
    if deal_is_closable(deal):
        return None
    return "its entry is not filled" if deal_phase(deal) is Phase.NOT_ENTERED else _NOT_ALLOWED


CLOSE_TRADES = Operation[SmartTrade](
    entity_name="SmartTrade",
    command_group="trades",
    action=CLOSE,
    bulk_method=lambda client: client.smart_trades.close_many,
    list_open=lambda client: client.smart_trades.list(status="active"),
    obstacle=_obstacle_to_closing_trade,
)
CANCEL_TRADES = Operation[SmartTrade](
    entity_name=CLOSE_TRADES.entity_name,
    command_group=CLOSE_TRADES.command_group,
    action=CANCEL,
    bulk_method=lambda client: client.smart_trades.cancel_many,
    list_open=CLOSE_TRADES.list_open,
    obstacle=_obstacle_to_cancelling_trade,
)
CLOSE_DEALS = Operation[Deal](
    entity_name="deal",
    command_group="deals",
    action=CLOSE,
    bulk_method=lambda client: client.deals.close_many,
    list_open=lambda client: client.deals.list(scope="active"),
    obstacle=_obstacle_to_closing_deal,
)
