"""The truth: what reached the sandbox and what was really carried out.

A report of a client can be held against it. All times are seconds on the sandbox's clock.
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
    from .lifecycle import Life, Position


@attrs.frozen(kw_only=True)
class RequestRecord:
    """One request that reached the sandbox."""

    time: float
    """When it arrived."""
    method: str
    path: str
    """As it came over the wire, `/public/api` included, without the query."""
    query: str
    operation: str
    """The operation's name in the API description; empty for an address nobody knows."""
    closes: bool
    """Whether it asked for a close at market."""
    trade_id: int | None
    """The trade, deal or bot it named."""
    status: int | None
    """The status decided for its answer; None when the connection was cut instead."""
    cause: Cause | None
    """Why it was turned away unread, if it was."""
    fault: Fault | None
    """The fault that was injected, if one was."""
    applied: tuple[int, ...]
    """Trades and deals whose close it carried out."""
    request_id: str
    """What its answer says in `X-Request-Id`."""


@attrs.frozen(kw_only=True)
class TradeRecord:
    """What really happened to one trade or deal so far."""

    id: int
    state: str
    """Its status code now."""
    received: int
    """Requests that asked for this close, refused ones included."""
    applied: int
    """How often the close was carried out: 0 or 1."""
    repeated: int
    """Requests for this close that came after it had been carried out."""
    accepted_at: float | None
    """When the close (or the cancellation) was accepted."""
    ended_at: float | None
    """When it was over: closed, cancelled or failed."""


class Ledger:
    """Everything that reached the sandbox and everything it did."""

    def __init__(self, positions: Mapping[int, Position], clock: Clock) -> None:
        self._positions = positions
        self._clock = clock
        self._requests: list[RequestRecord] = []
        self._closes: dict[int, list[RequestRecord]] = {}
        self._connections = 0
        self.peak_connections = 0
        """The most connections that were open at one moment."""

    def __repr__(self) -> str:
        return f"<Ledger: {len(self._requests)} requests, {len(self.applied)} closes applied>"

    @property
    def requests(self) -> Sequence[RequestRecord]:
        """Every request, in the order of arrival."""
        return self._requests

    @property
    def applied(self) -> frozenset[int]:
        """Ids of the trades and deals whose close was carried out."""
        return frozenset(id_ for record in self._requests for id_ in record.applied)

    @property
    def closed(self) -> frozenset[int]:
        """Ids of the trades and deals that have been closed at market by now."""
        return frozenset(id_ for id_ in self._positions if self._settled(id_).phase is Phase.CLOSED)

    @property
    def repeated(self) -> list[int]:
        """One id for every request to close what had already been accepted for closing.

        The right client leaves this empty, whatever goes wrong.
        """
        return [id_ for id_ in self._closes for _ in range(self.trade(id_).repeated)]

    @property
    def breaches(self) -> list[RequestRecord]:
        """Requests refused with 429 because of the limit, not because of a fault."""
        return [r for r in self._requests if r.cause in {Cause.LIMIT, Cause.PENALTY}]

    @property
    def offences(self) -> list[RequestRecord]:
        """Requests that came while everything was being refused, by penalty, block or ban."""
        return [r for r in self._requests if r.cause not in {None, Cause.LIMIT}]

    @property
    def trades(self) -> dict[int, TradeRecord]:
        """The record of every trade and deal, by id."""
        return {id_: self.trade(id_) for id_ in self._positions}

    def trade(self, trade_id: int) -> TradeRecord:
        """Tell what happened to one trade or deal; KeyError if there is none of that id."""
        life = self._settled(trade_id)
        closes = self._closes.get(trade_id, [])
        applied = [n for n, record in enumerate(closes) if trade_id in record.applied]
        return TradeRecord(
            id=trade_id,
            state=self._positions[trade_id].code,
            received=sum(record.closes for record in closes),
            applied=len(applied),
            repeated=len(closes) - 1 - applied[0] if applied else 0,
            accepted_at=life.accepted_at,
            ended_at=life.ended_at,
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
        """Count the requests since a time that match everything given."""
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
        """Tell the largest number of requests in any rolling window of that many seconds."""
        times = [record.time for record in self._requests]
        most = first = 0
        for last, time in enumerate(times):
            while times[first] <= time - window:
                first += 1
            most = max(most, last - first + 1)
        return most

    def record(self, record: RequestRecord) -> None:
        """Write down a request and what came of it."""
        self._requests.append(record)
        asked_for = (record.trade_id,) if record.closes else ()
        for id_ in self._positions.keys() & {*asked_for, *record.applied}:
            self._closes.setdefault(id_, []).append(record)

    def _settled(self, trade_id: int) -> Life:
        life = self._positions[trade_id].life
        life.settle(self._clock.now())
        return life

    def connection_opened(self) -> None:
        """Write down a new connection."""
        self._connections += 1
        self.peak_connections = max(self.peak_connections, self._connections)

    def connection_closed(self) -> None:
        """Write down the end of a connection."""
        self._connections -= 1
