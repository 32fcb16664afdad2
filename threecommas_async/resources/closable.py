"""The closing verbs, the same for every kind of entity that can be closed at market."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from attrs import field, frozen

from ..closing import (
    CloseBatch,
    CloseMany,
    CloseOutcome,
    CloseRegistry,
    CloseReport,
    Watch,
    close_one,
    error_of,
    interrupted,
    wait_closed,
)
from ..endpoint import Endpoint, Priority
from ..error_body import one_line
from ..errors import InvalidRequestError, ThreeCommasError
from ..options import (
    CallOptions,
    check_callback,
    check_filter,
    check_id,
    check_ids,
    check_options,
    check_seconds,
)
from ..retry import Trace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from typing import Unpack

    from ..closing import Phase
    from ..http import Pipeline, QueryValue
    from .listing import PagedList

__all__ = ["ClosableResource", "ResourceTarget", "split_filters"]

T = TypeVar("T")


@frozen(kw_only=True, eq=False)
class ResourceTarget(Generic[T]):
    """The entities of one resource as something to close, see `closing.Target`."""

    pipeline: Pipeline
    registry: CloseRegistry[T]
    options: CallOptions = field(repr=False)
    id_name: str
    """The name of the id in the paths."""
    closes: Endpoint[T]
    reads: Endpoint[T]
    paged: PagedList[T]
    recent: Mapping[str, QueryValue]
    """Filters of the listing that shows first what has just been closed."""
    active: Mapping[str, QueryValue]
    """Filters of the listing of what is not over."""
    phase: Callable[[T], Phase]
    is_closable: Callable[[T], bool]
    failure_text: Callable[[T], str | None]
    """Returns the server's text about why an entity failed, as it came."""
    cancels: bool = False

    async def close(self, entity_id: int, trace: Trace) -> T:
        """POST the close and return the entity as answered."""
        answer = await self.pipeline.send(
            self.closes,
            path={self.id_name: entity_id},
            options=self.options,
            trace=trace,
            # One that may have been carried out is not put off behind hundreds that have not begun.
            priority=Priority.IN_QUESTION if trace.unknown else None,
            entity_id=entity_id,
        )
        return answer.data

    async def read(self, entity_id: int, priority: Priority) -> T:
        """Read one entity."""
        answer = await self.pipeline.send(
            self.reads,
            path={self.id_name: entity_id},
            options=self.options,
            priority=priority,
            entity_id=entity_id,
        )
        return answer.data

    async def look_up(self, entity_id: int) -> T:
        """Read one entity on which a close depends."""
        return await self.read(entity_id, Priority.IN_QUESTION)

    def listings(
        self, priority: Priority, trace: Trace
    ) -> Sequence[Callable[[], AsyncIterator[Sequence[T]]]]:
        """Return the listings to look through for many entities, the most promising first."""
        # What was closed was updated just now; what was not is still active.
        return (
            lambda: self.paged.pages(self.recent, self.options, priority, trace),
            lambda: self.paged.pages(self.active, self.options, priority, trace),
        )

    def id_of(self, entity: T) -> int:
        """Return the entity's id."""
        return self.paged.identity(entity)

    def failure(self, entity: T) -> str | None:
        """Return the server's text about why the entity failed, fit to be shown."""
        text = self.failure_text(entity)
        return text and one_line(self.pipeline.redact(text))


class ClosableResource(ABC, Generic[T]):
    """A resource whose entities can be closed at market."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._registry = CloseRegistry[T]()

    @abstractmethod
    def _new_target(self, options: CallOptions) -> ResourceTarget[T]:
        """Return the entities as something to close, each request with these options."""

    def _target(self, options: CallOptions) -> ResourceTarget[T]:
        # A thousand closes that are gathered need it a thousand times.
        return self._new_target(options) if options else self._plain_target

    @cached_property
    def _plain_target(self) -> ResourceTarget[T]:
        return self._new_target({})

    async def close_by_market(self, trade_id: int, **options: Unpack[CallOptions]) -> T:
        """Close one position at market price, exactly once.

        Gather as many as you like: they are paced, and none starves for a connection. After
        anything ambiguous the trade is read before the close is made again, so this returns as
        soon as the trade is known to be closing or closed, whoever closed it.

        Returns:
            The trade as last seen, normally with status `panic_sell_pending`: closing goes on at
            the exchange after this.

        Raises:
            InvalidRequestError: `trade_id` is not a positive int below 2^63.
            RequestNotSentError: nothing was sent; `available_in` says when a slot comes free.
            NotFoundError: there is no such trade.
            CloseFailedError: the trade ended in failure.
            OutcomeUnknownError: it may have happened; read the trade before closing it again.
            APIStatusError: the server refused, see the subclasses.

        Source: POST /v2/smart_trades/{id}/close_by_market, POST /ver1/deals/{id}/panic_sell.
        """
        check_id(trade_id)
        check_seconds(deadline := options.get("deadline"), "deadline")
        target, trace = self._target(options), Trace()
        closing = close_one(
            target,
            trade_id,
            policy=self._pipeline.retry,
            read=target.look_up,
            trace=trace,
        )
        outcome: CloseOutcome[T]
        try:
            if deadline is None:
                outcome = await closing
            else:
                async with asyncio.timeout(deadline):
                    outcome = await closing
        except TimeoutError:
            outcome = interrupted(target, trade_id, trace, None, deadline or 0.0)
        if outcome.ok and outcome.trade is not None:
            return outcome.trade
        raise error_of(outcome)

    def close_many(
        self,
        trade_ids: Iterable[int],
        *,
        confirm: bool = False,
        on_outcome: Callable[[CloseOutcome[T]], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> CloseBatch[T]:
        """Close many positions, each exactly once, and tell what became of every one.

        Args:
            trade_ids: which ones; duplicates are closed once, the order is kept.
            confirm: wait until each is seen closed or failed, not just closing.
            on_outcome: called with each outcome as it becomes known. What it raises is logged.
            options: `deadline` is for the whole batch, in seconds from when it is awaited; it ends
                in a report, not in an exception. The other options are for each request.

        Returns:
            A handle to await, to iterate over, and to look at, see `CloseBatch`. No error of a
            single trade is raised, all are in the report.

        Raises:
            InvalidRequestError: an id is not a positive int below 2^63.

        Source: POST /v2/smart_trades/{id}/close_by_market, POST /ver1/deals/{id}/panic_sell.
        """
        return self._many(self._target, trade_ids, confirm, on_outcome, options)

    def _many(
        self,
        target_of: Callable[[CallOptions], ResourceTarget[T]],
        trade_ids: Iterable[int],
        confirm: bool,  # noqa: FBT001 - handed on as it came
        on_outcome: Callable[[CloseOutcome[T]], object] | None,
        options: CallOptions,
    ) -> CloseBatch[T]:
        """Return the handle of closing many, whatever `target_of` makes of closing."""
        ids = check_ids(trade_ids)
        check_callback(on_outcome)
        check_options(options)
        deadline = options.pop("deadline", None)
        work = CloseMany(
            target_of(options),
            ids,
            policy=self._pipeline.retry,
            confirm=confirm,
            deadline=deadline,
        )
        return CloseBatch(work, on_outcome=on_outcome)

    async def wait_until_closed(
        self, trade_ids: Iterable[int], *, timeout: float | None = None
    ) -> CloseReport[T]:
        """Wait until positions are closed, whoever closes them; close nothing.

        They are read by list pages at read priority, with growing pauses, so that closes which are
        under way go first.

        Args:
            trade_ids: which ones.
            timeout: seconds to wait at most; None waits as long as it takes. It ends in a report.

        Returns:
            CLOSED, FAILED or NOT_FOUND for what is over; for the rest as it was last seen: ACCEPTED
            where it is closing, NOT_SENT where it is open, UNKNOWN where it could not be read.

        Raises:
            InvalidRequestError: an id is not a positive int below 2^63.
        """
        ids = check_ids(trade_ids)
        check_seconds(timeout, "timeout")
        return CloseReport(await wait_closed(self._target({}), ids, timeout))

    def watch(
        self,
        trade_ids: Iterable[int],
        *,
        every: float = 5.0,
        on_error: Callable[[int, ThreeCommasError], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncIterator[T]:
        """Go through the changes of positions, whoever changes them, until all are over.

        Each is yielded when it is first read and whenever it reads differently: its status, its
        profit, any field. Ends when each is closed, failed or not found. They are read by list
        pages at read priority, so that closes which are under way go first. What cannot be read is
        read again at the next look.

        Args:
            trade_ids: which ones.
            every: seconds between two looks at most; the first ones come after 1, 2, 4 ….
            on_error: called with an id and the error, each time that one cannot be read. One that
                the API does not find twice in a row is not looked at any more.
            options: `deadline` is for the whole of it, in seconds; it then ends as if all were
                over. The other options are for each request.

        Raises:
            InvalidRequestError: an id is not a positive int below 2^63.
            ThreeCommasError: key, address or client is refused, so that no read can pass.
        """
        ids = check_ids(trade_ids)
        check_callback(on_error, "on_error")
        check_options(options)
        if not check_seconds(every, "every"):
            msg = "every must be longer than 0 seconds; nothing was sent"
            raise InvalidRequestError(msg)
        deadline = options.pop("deadline", None)
        target = self._target(options)
        watch = Watch(target, ids, every=every, deadline=deadline, on_error=on_error)
        return watch.changes()


def split_filters(
    filters: CallOptions, kind: type[CallOptions]
) -> tuple[dict[str, QueryValue], CallOptions]:
    """Part the filters, which go into the query, from the options of the call."""
    given = cast("Mapping[str, QueryValue]", filters)
    names = kind.__annotations__.keys() - CallOptions.__annotations__.keys()
    query = {
        name.rstrip("_"): check_filter(name, given[name])
        for name in sorted(names & given.keys())
        if given[name] is not None
    }
    options = {name: value for name, value in given.items() if name not in names}
    return query, cast("CallOptions", options)
