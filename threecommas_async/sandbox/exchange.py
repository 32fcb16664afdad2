"""Everything the sandbox holds: accounts, markets, smart trades, deals, and how they are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

from .chance import seeded
from .deals import Bot, Deal
from .lifecycle import Life, Phase
from .markets import PRICES, Market
from .trades import SmartTrade

if TYPE_CHECKING:
    from .clock import Clock
    from .lifecycle import Position

T = TypeVar("T", SmartTrade, Deal)


def _count() -> int:
    return attrs.field(validator=attrs.validators.ge(0))


@attrs.frozen(kw_only=True)
class Population:
    """How many of what there is in the beginning."""

    trades: int = _count()
    pending: int = _count()
    failing: int = _count()
    deals: int = _count()
    close_delay: tuple[float, float]
    """Shortest and longest time, on the sandbox's clock, that closing takes."""

    def __attrs_post_init__(self) -> None:
        if self.failing > self.trades:
            raise ValueError("no more trades can fail than there are open ones")


def as_of(position: T, time: float) -> T:
    """Return a position as it stood at a time that is past; itself if that is how it stands."""
    life = position.life.at(time)
    return position if life is position.life else attrs.evolve(position, life=life)


class Exchange:
    """The state behind the API, the same for the same seed."""

    def __init__(self, clock: Clock, population: Population, seed: int) -> None:
        self.clock = clock
        self.bot = Bot()
        random = seeded(seed, "positions")
        markets = [Market(pair, seed) for pair in PRICES]
        self.trades: dict[int, SmartTrade] = {}
        failing = set(random.sample(range(population.trades), population.failing))
        for number in range(population.trades + population.pending):
            life = Life(
                delay=random.uniform(*population.close_delay),
                fails=number in failing,
                phase=Phase.OPEN if number < population.trades else Phase.PENDING,
            )
            trade = SmartTrade.invent(number, random.choice(markets), life, random)
            self.trades[trade.id] = trade
        self.deals: dict[int, Deal] = {}
        for number in range(population.deals):
            life = Life(delay=random.uniform(*population.close_delay))
            deal = Deal.invent(number, random.choice(markets), life, random)
            self.deals[deal.id] = deal

    @property
    def positions(self) -> dict[int, Position]:
        """Trades and deals together; their ids never meet."""
        return {**self.trades, **self.deals}

    def settle(self, now: float) -> None:
        """Let happen, to everything, what was due by now."""
        for trade in self.trades.values():
            trade.life.settle(now)
        for deal in self.deals.values():
            deal.life.settle(now)
