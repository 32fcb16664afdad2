"""What `close_all` is meant to close: listed page by page, and sorted by what can be done."""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import field, frozen

from ..errors import CloseFailedError, InvalidRequestError, RequestNotSentError, ThreeCommasError
from ..logs import log
from .phase import Phase
from .report import CloseOutcome, CloseState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from .target import Target

__all__ = ["Listed", "Listings", "Match", "Scope"]

T = TypeVar("T")

# How often a list that does not fit on a page is read, until it brings nothing new.
_PASSES = 5
# Places that a text about filters without a match names.
_NAMED = 10


class Match(Enum):
    """Whether an entity passes the filters of a listing. The server's word is not taken for it."""

    YES = "yes"
    NO = "no"
    UNCERTAIN = "uncertain"
    """The answer lacks what the filter is about."""


@frozen(kw_only=True)
class Scope(Generic[T]):
    """Which entities are meant.

    Attributes:
        listing: goes through all that is active and passes the filters, given the seconds that
            each request has; None for as long as it takes.
        everything: the same without filters; None where no filter is set.
        page_size: how many are on a full page.
        filters: the filters as text, for people.
        match: tells whether an entity passes the filters.
        place: where an entity is, as in "USDT_BTC on account 1".
    """

    listing: Callable[[float | None], AsyncIterator[Sequence[T]]]
    everything: Callable[[float | None], AsyncIterator[Sequence[T]]] | None
    page_size: int
    filters: str
    match: Callable[[T], Match]
    place: Callable[[T], str]


@frozen
class Listed(Generic[T]):
    """What one listing shows, by what is to be done about it."""

    closable: dict[int, T] = field(factory=dict[int, T])
    cancellable: dict[int, T] = field(factory=dict[int, T])
    left: dict[int, CloseOutcome[T]] = field(factory=dict[int, CloseOutcome[T]])
    """Active, to be closed, and nothing can be done about it."""
    skipped: dict[int, CloseOutcome[T]] = field(factory=dict[int, CloseOutcome[T]])

    def __bool__(self) -> bool:
        return bool(self.closable or self.cancellable or self.left or self.skipped)


class Listings(Generic[T]):
    """One listing after the other of what is active and meant.

    Args:
        target: the kind of entity, as something to close.
        cancel: the same, cancelled instead, for those whose entry is not filled; None leaves them.
        scope: which ones.
        deadline: seconds from `begin` within which they have to be made.
    """

    def __init__(
        self,
        target: Target[T],
        cancel: Target[T] | None,
        scope: Scope[T],
        deadline: float | None,
    ) -> None:
        self._target = target
        self._cancel = cancel
        self._scope = scope
        self._deadline = deadline
        self._ends: float | None = None
        self._seen: dict[int, T] = {}
        """What the last complete listing has shown."""
        self._arriving: dict[int, T] = {}
        """What the one under way has shown so far."""

    def begin(self) -> None:
        """Let the time begin within which everything has to be over."""
        if self._deadline is not None:
            self._ends = asyncio.get_running_loop().time() + self._deadline

    @property
    def left(self) -> float | None:
        """The seconds that are left of the deadline."""
        if self._ends is None:
            return None
        return max(0.0, self._ends - asyncio.get_running_loop().time())

    @property
    def listed(self) -> Listed[T]:
        """What is known of the listings so far, by what is to be done about it."""
        return self._sorted((self._seen | self._arriving).values())[0]

    def entity(self, entity_id: int) -> T | None:
        """Return an entity as listed last."""
        return self._arriving.get(entity_id, self._seen.get(entity_id))

    async def read(self) -> Listed[T]:
        """List afresh, and sort what is active by what is to be done about it.

        Raises:
            ThreeCommasError: the list could not be read to its end.
        """
        try:
            async with asyncio.timeout_at(self._ends):
                for _ in range(_PASSES):
                    fits_a_page, news = await self._go_through(self._arriving)
                    if fits_a_page or not news:
                        break
        except TimeoutError:
            raise self._too_late(None) from None
        except ThreeCommasError as error:
            if not self._is_late(error):
                raise
            raise self._too_late(error) from error
        self._seen, self._arriving = self._arriving, {}
        listed, strangers = self._sorted(self._seen.values())
        if strangers:
            text = "%d of those that the server lists do not pass the filters (%s): left alone"
            log.warning(text, strangers, self._scope.filters)
        return listed

    async def _go_through(self, seen: dict[int, T]) -> tuple[bool, bool]:
        """Go through the list once; return whether it fits on a page, and whether it brought news.

        Where something leaves the list while its pages are read, the others move forward by a
        place, and one of them may be on no page at all. So a longer list is read until it brings
        nothing new.
        """
        before, pages = len(seen), 0
        full = False
        async for page in self._scope.listing(self.left):
            pages += 1
            full |= len(page) >= self._scope.page_size
            seen.update((self._target.id_of(entity), entity) for entity in page)
        return pages <= 1 and not full, len(seen) > before

    def _is_late(self, error: ThreeCommasError) -> bool:
        """Return whether an error is that of a request which the deadline left no time for."""
        refused = isinstance(error, RequestNotSentError) and error.available_in is not None
        return self._ends is not None and (refused or not self.left)

    def _too_late(self, error: ThreeCommasError | None) -> RequestNotSentError:
        reason = f": {error}" if error else ""
        return RequestNotSentError(
            f"the list could not be read before the deadline of {self._deadline:g} s{reason}",
            available_in=getattr(error, "available_in", None),
        )

    def _sorted(self, entities: Iterable[T]) -> tuple[Listed[T], int]:
        """Sort entities, and count those that the server lists though they are not meant."""
        listed, strangers = Listed[T](), 0
        for entity in entities:
            match = self._scope.match(entity)
            strangers += match is Match.NO
            if match is not Match.NO:
                self._sort(entity, listed, certain=match is Match.YES)
        return listed, strangers

    def _sort(self, entity: T, listed: Listed[T], *, certain: bool) -> None:
        target, cancel = self._target, self._cancel
        entity_id, phase = target.id_of(entity), target.phase(entity)
        if not certain:
            why = f"the answer does not tell whether it passes the filters ({self._scope.filters})"
            listed.left[entity_id] = _left_alone(target.name(entity_id), entity_id, entity, why)
        elif target.is_closable(entity):
            listed.closable[entity_id] = entity
        elif phase is Phase.FAILED:
            error = CloseFailedError(entity_id, target.failure(entity), noun=target.noun)
            listed.left[entity_id] = CloseOutcome(entity_id, CloseState.FAILED, entity, error)
        elif phase in {Phase.CLOSING, Phase.CLOSED}:
            outcome = CloseOutcome(entity_id, CloseState.ALREADY_CLOSED, entity)
            listed.skipped[entity_id] = outcome
        elif cancel is not None and cancel.is_closable(entity):
            listed.cancellable[entity_id] = entity
        elif cancel is None and phase is Phase.NOT_ENTERED:
            why = "its entry is not filled, so there is nothing to close"
            listed.skipped[entity_id] = _left_alone(target.name(entity_id), entity_id, entity, why)
        else:
            why = f"it is {phase.value}, and the server says that it cannot be closed now"
            listed.left[entity_id] = _left_alone(target.name(entity_id), entity_id, entity, why)

    async def unmatched(self, listed: Listed[T]) -> InvalidRequestError | None:
        """Say what is open where nothing passes the filters; None where that is nothing."""
        if listed or self._scope.everything is None:
            return None
        places = Counter[str]()
        try:
            async with asyncio.timeout_at(self._ends):
                async for page in self._scope.everything(self.left):
                    places.update(self._scope.place(entity) for entity in page)
        except (TimeoutError, ThreeCommasError):
            return None  # what was asked for is known: nothing
        if not places:
            return None
        open_ones = ", ".join(f"{place} ({n})" for place, n in places.most_common(_NAMED))
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        return InvalidRequestError(
            f"nothing that is active passes the filters ({self._scope.filters}), so nothing was "
            f"sent; active are {open_ones}{more}"
        )


def _left_alone(name: str, entity_id: int, entity: T, why: str) -> CloseOutcome[T]:
    error = RequestNotSentError(f"{name}: left alone; {why}")
    return CloseOutcome(entity_id, CloseState.NOT_SENT, entity, error)
