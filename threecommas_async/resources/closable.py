"""The closing methods that smart trades and deals share.

A resource describes its kind of entity in a `ClosableKind`. `ClosableResource` turns that into a
`Target` for the `closing` package, which makes all decisions, and checks the arguments.
"""

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
    error_to_raise,
    interrupted_outcome,
    wait_closed,
)
from ..endpoint import Endpoint, Priority
from ..errors import InvalidRequestError, ThreeCommasError
from ..options import (
    CallOptions,
    check_callback,
    check_id,
    check_ids,
    check_options,
    check_seconds,
)
from ..retry import Trace
from ..text import one_line
from .filters import match_filters
from .listing import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
    from typing import Unpack

    from ..closing import Phase
    from ..http import Pipeline, QueryValue
    from .listing import PagedList

__all__ = ["ClosableKind", "ClosableResource"]

T = TypeVar("T")

# Maximum number of characters of a pair in a message; pairs of futures have about thirty.
_MAX_PAIR_LENGTH: Final = 60


@frozen(kw_only=True, eq=False)
class ClosableKind(Generic[T]):
    """What the API calls one kind of entity that can be closed, and its endpoints.

    Attributes:
        noun: the word for one entity in messages, such as "trade".
        id_name: the name of the path parameter for its id.
        close: the endpoint that closes one entity.
        get: the endpoint that reads one entity.
        recent: the query that lists the most recently changed entities first.
        active: the query that lists the active entities.
        phase: returns the phase of an entity.
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
        """Return the target of closes whose requests take these options."""
        # Cached without options: a thousand gathered closes ask for it a thousand times.
        return self._new_target(options) if options else self._default_target

    @cached_property
    def _default_target(self) -> Target[T]:
        return self._new_target({})

    def _new_target(self, options: CallOptions) -> Target[T]:
        kind, paged = self._kind, self._paged
        return Target(
            noun=kind.noun,
            registry=self._registry,
            close=partial(self._close, options),
            read=partial(self._read, options),
            # An entity that was closed has just been updated; one that was not is still active.
            listings=lambda priority, trace: (
                partial(paged.pages, kind.recent, options, priority, trace),
                partial(paged.pages, kind.active, options, priority, trace),
            ),
            id_of=paged.id_of,
            phase=kind.phase,
            is_closable=kind.is_closable,
            failure=self._failure,
            blocked_for=self._pipeline.blocked_for,
        )

    async def _close(self, options: CallOptions, entity_id: int, trace: Trace) -> T:
        answer = await self._pipeline.send(
            self._kind.close,
            path={self._kind.id_name: entity_id},
            options=options,
            trace=trace,
            # A close in doubt must not wait behind hundreds that have not been sent yet.
            priority=Priority.IN_DOUBT if trace.unknown else None,
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
        values_of: Callable[[T], Mapping[str, object]],
        options: CallOptions,
    ) -> Scope[T]:
        """Return the active entities that pass the filters of a `close_all`.

        Args:
            filters: the filters that are set.
            values_of: returns the entity's own values under the names of the filters, `pair` and
                `account_id` among them.
            options: the options of each request.
        """

        def place(entity: T) -> str:
            values = values_of(entity)
            pair = one_line(self._pipeline.redact(str(values["pair"])), _MAX_PAIR_LENGTH)
            return f"{pair} on account {values['account_id']}"

        def pages(
            filters: Mapping[str, QueryValue], deadline: float | None
        ) -> AsyncIterator[Sequence[T]]:
            timed = cast("CallOptions", {**options, "deadline": deadline})
            return self._paged.pages({**filters, **self._kind.active}, timed)

        return Scope(
            list_active=lambda deadline: pages(filters, deadline),
            list_unfiltered=(lambda deadline: pages({}, deadline)) if filters else None,
            page_size=PAGE_SIZE,
            filters=", ".join(f"{name}={value!r}" for name, value in filters.items()),
            match=lambda entity: match_filters(filters, values_of(entity)),
            place=place,
        )

    async def close_by_market(self, trade_id: int, **options: Unpack[CallOptions]) -> T:
        """Close one position at market price, exactly once.

        Any number of calls can be gathered: they are paced by the rate limit, and none times out
        waiting for a connection. After an ambiguous answer the trade is read before the close is
        sent again, and the call returns as soon as the trade is known to be closing or closed,
        whoever closed it.

        Returns:
            The trade as last seen, normally with status `panic_sell_pending`: the exchange closes
            it after this returns.

        Raises:
            InvalidRequestError: `trade_id` is not a positive int below 2^63.
            RequestNotSentError: nothing was sent; `available_in` is the number of seconds until the
                rate limit has a slot, if that is why.
            NotFoundError: there is no such trade.
            CloseFailedError: the trade ended in failure.
            OutcomeUnknownError: the close may have been carried out; read the trade before closing
                it again.
            APIStatusError: the server refused the close, see the subclasses.

        Source: POST /v2/smart_trades/{id}/close_by_market, POST /ver1/deals/{id}/panic_sell.
        """
        check_id(trade_id, self._kind.id_name)
        check_seconds(deadline := options.get("deadline"), "deadline")
        target, trace = self._target(options), Trace()
        closing = close_one(
            target,
            trade_id,
            policy=self._pipeline.retry,
            read=lambda entity_id: target.read(entity_id, Priority.IN_DOUBT),
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
            outcome = interrupted_outcome(target, trade_id, trace, None, deadline or 0.0)
        if outcome.ok and outcome.trade is not None:
            return outcome.trade
        raise error_to_raise(target, outcome)

    def close_many(
        self,
        trade_ids: Iterable[int],
        *,
        confirm: bool = False,
        on_outcome: Callable[[CloseOutcome[T]], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> CloseBatch[T]:
        """Close many positions, each exactly once, and report the outcome of every one.

        Args:
            trade_ids: the ids to close; duplicates are closed once, and the order is kept.
            confirm: wait until each trade is seen closed or failed, not just closing.
            on_outcome: called with each outcome as it becomes known. Exceptions it raises are
                logged.
            options: `deadline` applies to the whole batch, in seconds from when it is awaited; the
                batch then ends with a report, not with an exception. The other options apply to
                each request.

        Returns:
            A handle to await or to iterate over, see `CloseBatch`. Errors of single trades are not
            raised; they are in the report.

        Raises:
            InvalidRequestError: an id is not a positive int below 2^63.

        Source: POST /v2/smart_trades/{id}/close_by_market, POST /ver1/deals/{id}/panic_sell.
        """
        return self._new_batch(self._target, trade_ids, confirm, on_outcome, options)

    def _new_batch(
        self,
        target_of: Callable[[CallOptions], Target[T]],
        trade_ids: Iterable[int],
        confirm: bool,  # noqa: FBT001 - passed through
        on_outcome: Callable[[CloseOutcome[T]], object] | None,
        options: CallOptions,
    ) -> CloseBatch[T]:
        """Return the handle of a batch; `target_of` returns its target for the given options."""
        ids = check_ids(trade_ids, f"{self._kind.id_name}s")
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

        The trades are read from list pages with growing pauses, at a lower priority than closes.

        Args:
            trade_ids: the ids to wait for.
            timeout: maximum seconds to wait, after which the report is returned; None for no limit.

        Returns:
            A report with CLOSED, FAILED or NOT_FOUND for trades that are over. The others have the
            state in which they were last seen: ACCEPTED if closing, NOT_SENT if open, UNKNOWN if
            they could not be read.

        Raises:
            InvalidRequestError: an id is not a positive int below 2^63.
        """
        ids = check_ids(trade_ids, f"{self._kind.id_name}s")
        check_seconds(timeout, "timeout")
        return CloseReport(await wait_closed(self._target({}), ids, timeout))

    def watch(
        self,
        trade_ids: Iterable[int],
        *,
        every: float = 5.0,
        on_error: Callable[[int, ThreeCommasError], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncGenerator[T, None]:
        """Yield positions as they change, whoever changes them, until all are over.

        Each trade is yielded when it is first read, and then whenever any of its fields (status,
        profit, …) differs from the last read. Watching ends when each trade is closed, failed or
        not found. The trades are read from list pages, at a lower priority than closes. A read
        that fails is repeated the next time.

        Args:
            trade_ids: the ids to watch.
            every: maximum seconds between two reads; the first pauses are 1, 2, 4 … seconds.
            on_error: called with an id and the error each time that a trade cannot be read. A trade
                that is not found twice in a row is no longer read.
            options: `deadline` applies to the whole watch, in seconds; it then ends as if all
                trades were over. The other options apply to each request.

        Raises:
            InvalidRequestError: an id is not a positive int below 2^63.
            ThreeCommasError: the key, the address or the client is refused, so no read can
                succeed.
        """
        ids = check_ids(trade_ids, f"{self._kind.id_name}s")
        check_callback(on_error, "on_error")
        check_options(options)
        if not check_seconds(every, "every"):
            msg = "every must be longer than 0 seconds; nothing was sent"
            raise InvalidRequestError(msg)
        deadline = options.pop("deadline", None)
        target = self._target(options)
        watch = Watch(target, ids, every=every, deadline=deadline, on_error=on_error)
        return watch.changes()
