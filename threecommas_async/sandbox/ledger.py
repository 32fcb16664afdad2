"""Record of what reached the sandbox and what was really carried out.

Compare a client's report with it. All times are seconds on the sandbox's clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .lifecycle import Phase
from .limits import Cause

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .clock import Clock
    from .faults import Fault
    from .lifecycle import Lifecycle, Position


@attrs.frozen(kw_only=True)
class RequestRecord:
    """One request that reached the sandbox."""

    time: float
    """When it arrived."""
    method: str
    path: str
    """As received, with `/public/api`, without the query."""
    query: str
    operation: str
    """Name of the operation in the API description; empty for an unknown path."""
    closes: bool
    """Whether it requested a close at market."""
    trade_id: int | None
    """Id of the trade, deal or bot in the path."""
    status: int | None
    """Status of its answer; None if the connection was closed without one."""
    cause: Cause | None
    """Why it was refused before being authorized; None if it was not."""
    fault: Fault | None
    """The injected fault, if any."""
    applied: tuple[int, ...]
    """Ids of the trades and deals whose close it carried out."""
    request_id: str
    """Value of the header `X-Request-Id` of its answer."""


@attrs.frozen(kw_only=True)
class TradeRecord:
    """What has happened to one trade or deal so far."""

    id: int
    state: str
    """Current status code."""
    received: int
    """Number of requests to close it, including refused ones."""
    applied: int
    """Number of closes carried out: 0 or 1."""
    repeated: int
    """Number of requests to close it that came after the close had been carried out."""
    accepted_at: float | None
    """When the close (or the cancellation) was accepted."""
    ended_at: float | None
    """When it reached its final state: closed, cancelled or failed."""


class Ledger:
    """All requests that reached the sandbox, and all closes that it carried out."""

    def __init__(self, positions: Mapping[int, Position], clock: Clock) -> None:
        self._positions = positions
        self._clock = clock
        self._requests: list[RequestRecord] = []
        self._closes: dict[int, list[RequestRecord]] = {}
        self._connections = 0
        self.peak_connections: int = 0
        """Maximum number of connections open at the same time."""

    def __repr__(self) -> str:
        return f"<Ledger: {len(self._requests)} requests, {len(self.applied)} closes applied>"

    @property
    def requests(self) -> Sequence[RequestRecord]:
        """All requests, in order of arrival."""
        return self._requests

    @property
    def applied(self) -> frozenset[int]:
        """Ids of the trades and deals whose close was carried out."""
        return frozenset(id_ for record in self._requests for id_ in record.applied)

    @property
    def closed(self) -> frozenset[int]:
        """Ids of the trades and deals whose close at market has completed."""
        return frozenset(
            id_ for id_ in self._positions if self._advanced(id_).phase is Phase.CLOSED
        )

    @property
    def repeated(self) -> list[int]:
        """Ids of closes requested again after they had been accepted, once per request.

        A correct client leaves this empty, whatever goes wrong.
        """
        return [id_ for id_ in self._closes for _ in range(self.trade(id_).repeated)]

    @property
    def breaches(self) -> list[RequestRecord]:
        """Requests refused with 429 because of the limit, not because of a fault."""
        return [r for r in self._requests if r.cause in {Cause.LIMIT, Cause.PENALTY}]

    @property
    def offences(self) -> list[RequestRecord]:
        """Requests that arrived during a penalty, block or ban."""
        return [r for r in self._requests if r.cause not in {None, Cause.LIMIT}]

    @property
    def trades(self) -> dict[int, TradeRecord]:
        """The record of every trade and deal, by id."""
        return {id_: self.trade(id_) for id_ in self._positions}

    def trade(self, trade_id: int) -> TradeRecord:
        """Return the record of one trade or deal.

        Raises:
            KeyError: the id is unknown.
        """
        lifecycle = self._advanced(trade_id)
        closes = self._closes.get(trade_id, [])
        applied = [n for n, record in enumerate(closes) if trade_id in record.applied]
        return TradeRecord(
            id=trade_id,
            state=self._positions[trade_id].code,
            received=sum(record.closes for record in closes),
            applied=len(applied),
            repeated=len(closes) - 1 - applied[0] if applied else 0,
            accepted_at=lifecycle.accepted_at,
            ended_at=lifecycle.ended_at,
        )

    def count(
        self,
        *,
        operation: str | None = None,
        trade_id: int | None = None,
        status: int | None = None,
        fault: Fault | None = None,
        since: float = 0.0,
    ) -> int:
        """Return the number of requests from `since` on that match all given values."""
        wanted = {
            name: value
            for name, value in {
                "operation": operation,
                "trade_id": trade_id,
                "status": status,
                "fault": fault,
            }.items()
            if value is not None
        }
        return sum(
            record.time >= since
            and all(getattr(record, name) == value for name, value in wanted.items())
            for record in self._requests
        )

    def max_in_window(self, window: float) -> int:
        """Return the maximum number of requests in any rolling window of `window` seconds."""
        times = [record.time for record in self._requests]
        most = first = 0
        for last, time in enumerate(times):
            while times[first] <= time - window:
                first += 1
            most = max(most, last - first + 1)
        return most

    def record(self, record: RequestRecord) -> None:
        """Record a request."""
        self._requests.append(record)
        requested = (record.trade_id,) if record.closes else ()
        for id_ in self._positions.keys() & {*requested, *record.applied}:
            self._closes.setdefault(id_, []).append(record)

    def _advanced(self, trade_id: int) -> Lifecycle:
        lifecycle = self._positions[trade_id].lifecycle
        lifecycle.advance(self._clock.now())
        return lifecycle

    def connection_opened(self) -> None:
        """Record a new connection."""
        self._connections += 1
        self.peak_connections = max(self.peak_connections, self._connections)

    def connection_closed(self) -> None:
        """Record the end of a connection."""
        self._connections -= 1
