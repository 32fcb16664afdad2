"""Lists what `close_all` is to close, and classifies it by what can be done about it.

A `Scope` describes the entities that the filters select. A `Lister` reads all pages of them until
nothing new appears, checks each entity against the filters itself instead of trusting the server,
and sorts them into a `Listing`: closable, cancellable, blocked, or skipped on purpose.
"""

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

__all__ = ["Lister", "Listing", "Match", "Scope"]

T = TypeVar("T")

# Maximum number of times that a list of several pages is read until it shows nothing new.
_MAX_PASSES = 5
# Maximum number of places that the text about filters without a match names.
_MAX_PLACES = 10


class Match(Enum):
    """Whether an entity passes the filters, judged by its own fields."""

    YES = "yes"
    NO = "no"
    UNCERTAIN = "uncertain"
    """The answer lacks the fields that a filter compares."""


@frozen(kw_only=True)
class Scope(Generic[T]):
    """The entities that the filters of a `close_all` select.

    Attributes:
        list_active: yields pages of the active entities that pass the filters. Its argument is the
            deadline of each request in seconds; None for no limit.
        list_unfiltered: the same without filters; None if no filter is set.
        page_size: number of entities on a full page.
        filters: the filters as text for messages.
        match: returns whether an entity passes the filters.
        place: returns where an entity is, such as "USDT_BTC on account 1".
    """

    list_active: Callable[[float | None], AsyncIterator[Sequence[T]]]
    list_unfiltered: Callable[[float | None], AsyncIterator[Sequence[T]]] | None
    page_size: int
    filters: str
    match: Callable[[T], Match]
    place: Callable[[T], str]


@frozen
class Listing(Generic[T]):
    """The entities of one listing by id, classified by what can be done about them."""

    closable: dict[int, T] = field(factory=dict[int, T])
    cancellable: dict[int, T] = field(factory=dict[int, T])
    blocked: dict[int, CloseOutcome[T]] = field(factory=dict[int, CloseOutcome[T]])
    """Active, and can be neither closed nor cancelled now."""
    skipped: dict[int, CloseOutcome[T]] = field(factory=dict[int, CloseOutcome[T]])
    """Left unchanged on purpose, see `CloseReport.skipped`."""

    def __bool__(self) -> bool:
        return bool(self.closable or self.cancellable or self.blocked or self.skipped)


class Lister(Generic[T]):
    """Lists the active entities of a scope, as often as it is asked to, within one deadline.

    Args:
        target: the kind of entity, to be closed.
        cancel: the same kind, to be cancelled where its entry is not filled; None to skip those.
        scope: the entities to list.
        deadline: seconds after `start` until which they may be listed; None for no limit.
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
        self._ends_at: float | None = None
        self._complete: dict[int, T] = {}
        """The entities that the last complete listing has shown."""
        self._partial: dict[int, T] = {}
        """The entities that the listing under way, or interrupted, has shown so far."""

    def start(self) -> None:
        """Start the deadline."""
        if self._deadline is not None:
            self._ends_at = asyncio.get_running_loop().time() + self._deadline

    @property
    def time_left(self) -> float | None:
        """Seconds until the deadline, at least 0; None without one."""
        if self._ends_at is None:
            return None
        return max(0.0, self._ends_at - asyncio.get_running_loop().time())

    @property
    def known(self) -> Listing[T]:
        """What is known so far, also while a listing is under way."""
        return self._classify_all((self._complete | self._partial).values())[0]

    def entity(self, entity_id: int) -> T | None:
        """Return an entity as it was listed last."""
        return self._partial.get(entity_id, self._complete.get(entity_id))

    async def read(self) -> Listing[T]:
        """List the active entities afresh.

        Raises:
            ThreeCommasError: the list could not be read to its end.
        """
        try:
            async with asyncio.timeout_at(self._ends_at):
                for _ in range(_MAX_PASSES):
                    one_page, something_new = await self._read_pages()
                    if one_page or not something_new:
                        break
        except TimeoutError:
            raise self._too_late(None) from None
        except ThreeCommasError as error:
            if not self._is_too_late(error):
                raise
            raise self._too_late(error) from error
        self._complete, self._partial = self._partial, {}
        listing, unrequested = self._classify_all(self._complete.values())
        if unrequested:
            text = "%d of those that the server lists do not pass the filters (%s): left unchanged"
            log.warning(text, unrequested, self._scope.filters)
        return listing

    async def _read_pages(self) -> tuple[bool, bool]:
        """Read all pages once; return whether they were one page, and whether they add anything.

        When an entity leaves the list while its pages are read, those behind it move forward by a
        place, and one may skip from a page not yet read to one already read. So a list of several
        pages is read again until it shows nothing new.
        """
        before, pages, full_pages = len(self._partial), 0, 0
        async for page in self._scope.list_active(self.time_left):
            pages += 1
            full_pages += len(page) >= self._scope.page_size
            self._partial.update((self._target.id_of(entity), entity) for entity in page)
        return pages <= 1 and not full_pages, len(self._partial) > before

    def _is_too_late(self, error: ThreeCommasError) -> bool:
        """Return whether a request failed because the deadline left too little time for it."""
        no_slot_in_time = isinstance(error, RequestNotSentError) and error.available_in is not None
        return self._ends_at is not None and (no_slot_in_time or not self.time_left)

    def _too_late(self, error: ThreeCommasError | None) -> RequestNotSentError:
        reason = f": {error}" if error else ""
        return RequestNotSentError(
            f"the list could not be read before the deadline of {self._deadline:g} s{reason}",
            available_in=getattr(error, "available_in", None),
        )

    def _classify_all(self, entities: Iterable[T]) -> tuple[Listing[T], int]:
        """Classify entities; also return how many of them do not pass the filters."""
        listing, unrequested = Listing[T](), 0
        for entity in entities:
            match = self._scope.match(entity)
            if match is Match.NO:
                unrequested += 1
            else:
                self._classify(entity, listing, certain=match is Match.YES)
        return listing, unrequested

    def _classify(self, entity: T, listing: Listing[T], *, certain: bool) -> None:
        target, cancel = self._target, self._cancel
        entity_id, phase = target.id_of(entity), target.phase(entity)
        if not certain:
            why = f"the answer does not show whether it passes the filters ({self._scope.filters})"
            listing.blocked[entity_id] = self._not_sent(entity, why)
        elif target.is_closable(entity):
            listing.closable[entity_id] = entity
        elif phase is Phase.FAILED:
            error = CloseFailedError(entity_id, target.failure(entity), noun=target.noun)
            listing.blocked[entity_id] = CloseOutcome(entity_id, CloseState.FAILED, entity, error)
        elif phase in {Phase.CLOSING, Phase.CLOSED}:
            outcome = CloseOutcome(entity_id, CloseState.ALREADY_CLOSED, entity)
            listing.skipped[entity_id] = outcome
        elif cancel is not None and cancel.is_closable(entity):
            listing.cancellable[entity_id] = entity
        elif cancel is None and phase is Phase.NOT_ENTERED:
            why = "its entry is not filled, so there is nothing to close"
            listing.skipped[entity_id] = self._not_sent(entity, why)
        else:
            why = f"it is {phase.value}, and the server says that it cannot be closed now"
            listing.blocked[entity_id] = self._not_sent(entity, why)

    def _not_sent(self, entity: T, why: str) -> CloseOutcome[T]:
        entity_id = self._target.id_of(entity)
        error = RequestNotSentError(f"{self._target.name(entity_id)}: left unchanged; {why}")
        return CloseOutcome(entity_id, CloseState.NOT_SENT, entity, error)

    async def explain_no_match(self, listing: Listing[T]) -> InvalidRequestError | None:
        """Return an error that names what is active if nothing passes the filters.

        Return None if the listing is not empty, no filter is set, or nothing at all is active.
        """
        if listing or self._scope.list_unfiltered is None:
            return None
        places = Counter[str]()
        try:
            async with asyncio.timeout_at(self._ends_at):
                async for page in self._scope.list_unfiltered(self.time_left):
                    places.update(self._scope.place(entity) for entity in page)
        except (TimeoutError, ThreeCommasError):
            return None  # only the explanation failed: the listing itself is complete
        if not places:
            return None
        open_ones = ", ".join(f"{place} ({n})" for place, n in places.most_common(_MAX_PLACES))
        more = f" and {len(places) - _MAX_PLACES} more" if len(places) > _MAX_PLACES else ""
        return InvalidRequestError(
            f"nothing that is active passes the filters ({self._scope.filters}), so nothing was "
            f"sent; active are {open_ones}{more}"
        )
