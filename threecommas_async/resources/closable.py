"""The closing verbs, the same for every kind of entity that can be closed at market."""

from __future__ import annotations

import asyncio
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

from attrs import frozen

from ..closing import (
    CloseBatch,
    CloseMany,
    CloseOutcome,
    CloseRegistry,
    CloseReport,
    Scope,
    Target,
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
from .filters import match_filters
from .listing import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from typing import Unpack

    from ..closing import Phase
    from ..http import Pipeline, QueryValue
    from .listing import PagedList

__all__ = ["ClosableKind", "ClosableResource", "split_filters"]

T = TypeVar("T")

# Maximum number of characters of a pair that a message shows; those of futures have some thirty.
_LONGEST_PAIR: Final = 60


@frozen(kw_only=True, eq=False)
class ClosableKind(Generic[T]):
    """How the API speaks of one kind of entity that can be closed.

    Attributes:
        noun: what people call one, as in "trade".
        id_name: the name of the id in the paths.
        close: the operation that closes one.
        get: the operation that reads one.
        recent: filters of the listing that shows first what has just been closed.
        active: filters of the listing of what is not over.
        phase: returns where an entity stands.
        is_closable: returns whether an entity is open and can be closed now.
        failure: returns the server's text about why an entity failed.
    """

    noun: str
    id_name: str
    close: Endpoint[T]
    get: Endpoint[T]
    recent: Mapping[str, QueryValue]
    active: Mapping[str, QueryValue]
    phase: Callable[[T], Phase]
    is_closable: Callable[[T], bool]
    failure: Callable[[T], str | None]


class ClosableResource(Generic[T]):
    """A resource whose entities can be closed at market."""

    def __init__(self, pipeline: Pipeline, kind: ClosableKind[T], paged: PagedList[T]) -> None:
        self._pipeline = pipeline
        self._kind = kind
        self._paged = paged
        self._registry = CloseRegistry[T]()

    def _target(self, options: CallOptions) -> Target[T]:
        """Return the entities as something to close, each request with these options."""
        # A thousand closes that are gathered need it a thousand times.
        return self._new_target(options) if options else self._plain_target

    @cached_property
    def _plain_target(self) -> Target[T]:
        return self._new_target({})

    def _new_target(self, options: CallOptions) -> Target[T]:
        kind, paged = self._kind, self._paged
        return Target(
            noun=kind.noun,
            registry=self._registry,
            close=partial(self._close, options),
            read=partial(self._read, options),
            # What was closed was updated just now; what was not is still active.
            listings=lambda priority, trace: (
                partial(paged.pages, kind.recent, options, priority, trace),
                partial(paged.pages, kind.active, options, priority, trace),
            ),
            id_of=paged.identity,
            phase=kind.phase,
            is_closable=kind.is_closable,
            failure=self._failure,
        )

    async def _close(self, options: CallOptions, entity_id: int, trace: Trace) -> T:
        answer = await self._pipeline.send(
            self._kind.close,
            path={self._kind.id_name: entity_id},
            options=options,
            trace=trace,
            # One that may have been carried out is not put off behind hundreds that have not begun.
            priority=Priority.IN_QUESTION if trace.unknown else None,
            entity_id=entity_id,
        )
        return answer.data

    async def _read(self, options: CallOptions, entity_id: int, priority: Priority) -> T:
        answer = await self._pipeline.send(
            self._kind.get,
            path={self._kind.id_name: entity_id},
            options=options,
            priority=priority,
            entity_id=entity_id,
        )
        return answer.data

    def _failure(self, entity: T) -> str | None:
        text = self._kind.failure(entity)
        return text and one_line(self._pipeline.redact(text))

    def _scope(
        self,
        filters: Mapping[str, QueryValue],
        facts: Callable[[T], Mapping[str, object]],
        options: CallOptions,
    ) -> Scope[T]:
        """Return which active entities pass the filters of a `close_all`.

        `facts` returns what an entity says of itself, under the names of the filters; `pair` and
        `account_id` among them.
        """

        def place(entity: T) -> str:
            said = facts(entity)
            pair = one_line(self._pipeline.redact(str(said["pair"])), _LONGEST_PAIR)
            return f"{pair} on account {said['account_id']}"

        def pages(
            filters: Mapping[str, QueryValue], left: float | None
        ) -> AsyncIterator[Sequence[T]]:
            within = cast("CallOptions", {**options, "deadline": left})
            return self._paged.pages({**filters, **self._kind.active}, within)

        return Scope(
            listing=lambda left: pages(filters, left),
            everything=(lambda left: pages({}, left)) if filters else None,
            page_size=PAGE_SIZE,
            filters=", ".join(f"{name}={value!r}" for name, value in filters.items()),
            match=lambda entity: match_filters(filters, facts(entity)),
            place=place,
        )

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
            read=lambda entity_id: target.read(entity_id, Priority.IN_QUESTION),
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
        raise error_of(target, outcome)

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
        target_of: Callable[[CallOptions], Target[T]],
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
