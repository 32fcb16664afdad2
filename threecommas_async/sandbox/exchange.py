"""The state of the sandbox: its smart trades, its deals and their bot."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

from .deals import Bot, Deal
from .lifecycle import Lifecycle, Phase
from .markets import PRICES, Market
from .rng import seeded_rng
from .trades import SmartTrade

if TYPE_CHECKING:
    from .clock import Clock
    from .lifecycle import Position

T = TypeVar("T", SmartTrade, Deal)


def _count() -> int:
    return attrs.field(validator=attrs.validators.ge(0))


@attrs.frozen(kw_only=True)
class Population:
    """Initial numbers of trades and deals.

    Raises:
        ValueError: a number is negative, or more trades fail than are open.
    """

    trades: int = _count()
    pending: int = _count()
    failing: int = _count()
    deals: int = _count()
    close_delay: tuple[float, float]
    """Minimum and maximum duration of a close, in seconds on the sandbox's clock."""

    def __attrs_post_init__(self) -> None:
        if self.failing > self.trades:
            raise ValueError("no more trades can fail than there are open ones")


def as_of(position: T, time: float) -> T:
    """Return a position as of an earlier time; the position itself if it has not changed since."""
    lifecycle = position.lifecycle.at(time)
    return (
        position if lifecycle is position.lifecycle else attrs.evolve(position, lifecycle=lifecycle)
    )


class Exchange:
    """The state behind the API; the same seed gives the same initial state."""

    def __init__(self, clock: Clock, population: Population, seed: int) -> None:
        self.clock = clock
        self.bot: Bot = Bot()
        random = seeded_rng(seed, "positions")
        markets = [Market(pair, seed) for pair in PRICES]
        self.trades: dict[int, SmartTrade] = {}
        failing = set(random.sample(range(population.trades), population.failing))
        for number in range(population.trades + population.pending):
            lifecycle = Lifecycle(
                delay=random.uniform(*population.close_delay),
                fails=number in failing,
                phase=Phase.OPEN if number < population.trades else Phase.PENDING,
            )
            trade = SmartTrade.generate(number, random.choice(markets), lifecycle, random)
            self.trades[trade.id] = trade
        self.deals: dict[int, Deal] = {}
        for number in range(population.deals):
            lifecycle = Lifecycle(delay=random.uniform(*population.close_delay))
            deal = Deal.generate(number, random.choice(markets), lifecycle, random)
            self.deals[deal.id] = deal

    @property
    def positions(self) -> dict[int, Position]:
        """Trades and deals by id; their ids are disjoint."""
        return {**self.trades, **self.deals}

    def advance(self, now: float) -> None:
        """Apply all state changes due by now."""
        for trade in self.trades.values():
            trade.lifecycle.advance(now)
        for deal in self.deals.values():
            deal.lifecycle.advance(now)
