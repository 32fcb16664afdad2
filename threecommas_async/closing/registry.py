"""What the closes of one kind of entity have to know of each other, within one client.

An entity is *in doubt* while a close of it may have been carried out and nothing has shown yet
whether it was: its outcome is unknown. Three mistakes would close an entity twice although each
call is correct by itself, and the registry prevents them:

* Two calls for the same id at the same time: closes of one id take turns.
* A new call for an id that an earlier call left in doubt: an id is registered before its close is
  sent, and is removed only by an outcome that settles it. The next close reads the entity first.
* A read so soon after an accepted close that it still shows the entity open: an accepted close is
  remembered for `READS_MAY_LAG` seconds.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ..ownership import Owner
from .report import CloseOutcome, CloseState
from .turnstile import Turnstile

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["READS_MAY_LAG", "BulkClose", "CloseRegistry", "Turn"]

T = TypeVar("T")

READS_MAY_LAG: Final = 30.0
"""Seconds after an accepted close in which a read that still shows the entity open proves nothing.

How far reads lag behind writes is not documented.
"""

# Maximum number of closes that start in one event loop iteration; 1,000 would block it for 30 ms.
_STARTS_PER_ITERATION = 20

# States that are about the entity, so they settle every other close of it too. The remaining ones
# (not sent, rejected, unknown) are only about the close that ended in them.
_ENTITY_STATES = frozenset(
    {
        CloseState.ACCEPTED,
        CloseState.CLOSED,
        CloseState.ALREADY_CLOSED,
        CloseState.FAILED,
        CloseState.NOT_FOUND,
    }
)

# The states after which an entity cannot be open any more.
_FINAL_STATES = frozenset({CloseState.CLOSED, CloseState.FAILED, CloseState.NOT_FOUND})

_ACCEPTED = frozenset({CloseState.ACCEPTED, CloseState.CLOSED})


class Turn(Generic[T]):
    """The exclusive right to close one id, and the futures of the closes waiting for it."""

    __slots__ = ("entity_id", "waiters")

    def __init__(self, entity_id: int) -> None:
        self.entity_id: int = entity_id
        self.waiters: list[asyncio.Future[CloseOutcome[T] | None]] = []


class BulkClose:
    """One request that closes many entities at once."""

    def __init__(self) -> None:
        self.refused = False
        """Whether the request is known to have closed none of them."""


class CloseRegistry(Generic[T]):
    """The ids in doubt, the ids being closed now, and the ids whose close was just accepted."""

    def __init__(self) -> None:
        self._in_doubt: set[int] = set()
        """Ids that finished closes have left in doubt."""
        self._sent: set[int] = set()
        """Ids whose close has been sent, or is about to be, within the current turn."""
        self._in_bulk_closes = Counter[int]()
        """The number of bulk requests under way for each id."""
        self._accepted_at: dict[int, float] = {}
        """The event loop's time of the last accepted close of each id, oldest first."""
        self._turns: dict[int, Turn[T]] = {}
        self._turnstile = Turnstile(_STARTS_PER_ITERATION)
        self._owner = Owner("the client")

    def is_in_doubt(self, entity_id: int) -> bool:
        """Return whether a close of this id may have been carried out without anyone knowing."""
        return (
            entity_id in self._sent
            or entity_id in self._in_doubt
            or entity_id in self._in_bulk_closes
        )

    def is_being_closed(self, entity_id: int) -> bool:
        """Return whether a close of this id is under way, which others wait for."""
        return entity_id in self._turns

    def on_send(self, entity_id: int) -> None:
        """Register that the close whose turn it is is about to be sent."""
        self._sent.add(entity_id)

    def on_not_done(self, entity_id: int) -> None:
        """Register that this close was not carried out; doubt left by other closes remains."""
        self._sent.discard(entity_id)

    @contextmanager
    def bulk_close(self, entity_ids: Sequence[int]) -> Generator[BulkClose]:
        """Keep the ids in doubt while one request closes all of them.

        They remain in doubt afterwards, unless the request was refused. Single closes that finish
        meanwhile settle only themselves, not the bulk request.
        """
        request = BulkClose()
        self._in_bulk_closes.update(entity_ids)
        try:
            yield request
        finally:
            self._in_bulk_closes -= Counter(entity_ids)
            if not request.refused:
                self._in_doubt.update(entity_ids)

    def recently_accepted(self, entity_id: int) -> bool:
        """Return whether a close was accepted so recently that reads may not show it yet."""
        return self._reads_may_lag(self._accepted_at.get(entity_id, -math.inf))

    def may_be_closed(self, entity_id: int) -> bool:
        """Return whether a close of this id was, or may have been, carried out a moment ago."""
        return self.is_in_doubt(entity_id) or self.recently_accepted(entity_id)

    def mark_accepted(self, entity_id: int) -> None:
        """Remember for `READS_MAY_LAG` seconds that a close of this id was accepted."""
        self._accepted_at.pop(entity_id, None)  # reinserted below, to keep the oldest in front
        while self._accepted_at:
            oldest = next(iter(self._accepted_at))
            if self._reads_may_lag(self._accepted_at[oldest]):
                break
            del self._accepted_at[oldest]
        self._accepted_at[entity_id] = asyncio.get_running_loop().time()

    def mark_in_doubt(self, entity_id: int) -> None:
        """Put an id in doubt because its accepted close does not seem to have happened."""
        self._accepted_at.pop(entity_id, None)
        self._in_doubt.add(entity_id)

    def _reads_may_lag(self, accepted_at: float) -> bool:
        return asyncio.get_running_loop().time() < accepted_at + READS_MAY_LAG

    def bind_to_loop(self) -> None:
        """Bind the registry to the running event loop.

        If an earlier loop was closed, drop its turns: their waiters can never be woken.

        Raises:
            ConfigurationError: used in another process, or on a second event loop at a time.
        """
        if self._owner.enter():
            self._turns.clear()
            self._turnstile = Turnstile(_STARTS_PER_ITERATION)

    async def take_turn(self, entity_id: int) -> Turn[T] | CloseOutcome[T]:
        """Wait until no other close of this id is under way.

        Returns:
            The turn, which the caller must end with `end_turn`; or the outcome of the close before
            this one, if it settles this one too.
        """
        self.bind_to_loop()
        await self._turnstile.enter()
        while (current := self._turns.get(entity_id)) is not None:
            future: asyncio.Future[CloseOutcome[T] | None] = (
                asyncio.get_running_loop().create_future()
            )
            current.waiters.append(future)
            if (outcome := await future) is not None:
                return outcome
        turn: Turn[T] = Turn(entity_id)
        self._turns[entity_id] = turn
        return turn

    def end_turn(
        self, turn: Turn[T], outcome: CloseOutcome[T] | None, *, is_close: bool = True
    ) -> None:
        """Record the outcome of a close and wake those waiting to close the same id.

        Args:
            turn: the turn.
            outcome: the outcome of the close; None if it was interrupted, which leaves the id in
                doubt if the close had been sent.
            is_close: False if the entity was cancelled instead. An accepted cancel is not
                remembered: its entry may have been filled meanwhile, and a close must then be sent.
        """
        entity_id = turn.entity_id
        if outcome is not None and not outcome.attempts and entity_id in self._in_doubt:
            is_close = True  # nothing was sent: a read has settled what an earlier close left open
        self._record(entity_id, outcome, is_close=is_close)
        if self._turns.get(entity_id) is not turn:
            return  # its event loop was closed before it ended, and `bind_to_loop` dropped it
        del self._turns[entity_id]
        # After a cancel that was only accepted, a close must still be sent: see `is_close`.
        shareable = _ENTITY_STATES if is_close else _FINAL_STATES
        shared = outcome if outcome is not None and outcome.state in shareable else None
        for future in turn.waiters:
            if not future.done():
                future.set_result(shared)

    def _record(self, entity_id: int, outcome: CloseOutcome[T] | None, *, is_close: bool) -> None:
        """Record what the closes of this id that follow have to know."""
        was_sent = entity_id in self._sent
        self._sent.discard(entity_id)
        if outcome is None:
            if was_sent:
                self._in_doubt.add(entity_id)
        elif outcome.state is CloseState.UNKNOWN:
            # Without an attempt, an accepted close could only not be read: it is not in doubt.
            if outcome.attempts or not self.recently_accepted(entity_id):
                self._in_doubt.add(entity_id)
        elif outcome.state is CloseState.NOT_FOUND and self.recently_accepted(entity_id):
            self._in_doubt.add(entity_id)  # a lagging read may not know the entity either
        elif outcome.state in _ENTITY_STATES:
            self._in_doubt.discard(entity_id)
            if is_close and outcome.state in _ACCEPTED:
                self.mark_accepted(entity_id)
