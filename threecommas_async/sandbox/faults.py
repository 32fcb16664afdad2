"""What can go wrong on purpose, and the dice that decide it. Pure: faults are struck elsewhere."""

from __future__ import annotations

import enum
from itertools import accumulate

import attrs

from .chance import seeded


class Fault(enum.Enum):
    """A way to go wrong. The value is the name of its rate in `Faults`.

    The ones in `_before` leave the request undone; the other ones strike when it has been
    carried out. To the caller, most of them look the same, which is the point.
    """

    RESET_BEFORE = "reset_before"
    """The connection is reset."""
    SILENCE_BEFORE = "silence_before"
    """No answer comes until the caller gives up, or `Faults.silence` seconds are over."""
    STALE_BEFORE = "stale_before"
    """The server closes the kept-alive connection just as the request arrives."""
    UNAVAILABLE_BEFORE = "unavailable_before"
    """503 with a page of HTML."""
    BAD_GATEWAY_BEFORE = "bad_gateway_before"
    """502 with a page of HTML."""
    GATEWAY_TIMEOUT_BEFORE = "gateway_timeout_before"
    """504 with nothing."""
    GATEWAY_404_BEFORE = "gateway_404_before"
    """404 with a page of HTML: something in between has lost its way, and nothing is missing."""
    DRIP_BEFORE = "drip_before"
    """502 whose page comes byte by byte, one every `Faults.drip` seconds."""
    WRONG_ID_BEFORE = "wrong_id_before"
    """The right status with the answer that belongs to a request for another trade or deal."""

    RESET_AFTER = "reset_after"
    SILENCE_AFTER = "silence_after"
    UNAVAILABLE_AFTER = "unavailable_after"
    BAD_GATEWAY_AFTER = "bad_gateway_after"
    GATEWAY_TIMEOUT_AFTER = "gateway_timeout_after"
    GATEWAY_404_AFTER = "gateway_404_after"
    DRIP_AFTER = "drip_after"
    """The right answer byte by byte, one every `Faults.drip` seconds."""
    WRONG_ID_AFTER = "wrong_id_after"
    TRUNCATED_AFTER = "truncated_after"
    """Half the body, then the connection is closed."""
    GARBAGE_AFTER = "garbage_after"
    """The right status with a body that is not JSON."""
    WRONG_TYPE_AFTER = "wrong_type_after"
    """The right status with JSON of the wrong type."""
    SLOW_AFTER = "slow_after"
    """The right answer, `Faults.slow` seconds late."""
    STALE_AFTER = "stale_after"
    """The right answer, after which the connection is closed without having said so."""

    EARLY_429_TEXT = "early_429_text"
    """429 and a block of `Faults.block` seconds: another client has used up the quota."""
    EARLY_429_JSON = "early_429_json"
    EARLY_429_HTML = "early_429_html"
    PLAN_REFUSAL = "plan_refusal"
    """429 that says the subscription plan does not allow the request."""
    BAN = "ban"
    """418 and a ban of `Faults.ban_for` seconds."""

    READ_LAG = "read_lag"
    """A read that shows how things stood `Faults.read_lag` seconds ago, and not how they stand.

    The one fault without a rate: every read and list lags, also with `Faults.closes_only`.
    """

    @property
    def applied(self) -> bool:
        """True when the request is carried out before the fault strikes."""
        return self.value.endswith("_after")


_BY_NAME = ("gateway_404", "drip", "wrong_id")

MIXED = tuple(
    fault
    for fault in Fault
    if fault.value.endswith(("_before", "_after")) and not fault.value.startswith(_BY_NAME)
)
"""Faults a client can get through by itself, without waiting out a block or giving up."""


def _rate() -> float:
    return attrs.field(
        default=0.0,
        validator=(attrs.validators.ge(0.0), attrs.validators.le(1.0)),
    )


@attrs.frozen(kw_only=True)
class Faults:
    """How often each fault strikes, as the share (0 to 1) of the requests that may be hit."""

    reset_before: float = _rate()
    silence_before: float = _rate()
    stale_before: float = _rate()
    unavailable_before: float = _rate()
    bad_gateway_before: float = _rate()
    gateway_timeout_before: float = _rate()
    gateway_404_before: float = _rate()
    drip_before: float = _rate()
    wrong_id_before: float = _rate()
    reset_after: float = _rate()
    silence_after: float = _rate()
    unavailable_after: float = _rate()
    bad_gateway_after: float = _rate()
    gateway_timeout_after: float = _rate()
    gateway_404_after: float = _rate()
    drip_after: float = _rate()
    wrong_id_after: float = _rate()
    truncated_after: float = _rate()
    garbage_after: float = _rate()
    wrong_type_after: float = _rate()
    slow_after: float = _rate()
    stale_after: float = _rate()
    early_429_text: float = _rate()
    early_429_json: float = _rate()
    early_429_html: float = _rate()
    plan_refusal: float = _rate()
    ban: float = _rate()

    max_per_trade: int | None = 2
    """Faults that strike any one trade or deal at most; None for no end of them."""
    silence: float = 5.0
    """Real seconds after which the server drops a connection it left without an answer."""
    slow: float = 1.0
    """Real seconds that a slow answer is late."""
    drip: float = 1.0
    """Real seconds between two bytes of an answer that drips.

    With 1.0 a whole trade takes most of an hour, and yet no read timeout is ever exceeded.
    """
    read_lag: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))
    """Seconds on the sandbox's clock by which reads and lists lag behind what was carried out."""
    block: float = 2.0
    """Seconds on the sandbox's clock for which an early 429 blocks everything."""
    ban_for: float = 120.0
    """Seconds on the sandbox's clock for which an injected 418 bans the address."""
    closes_only: bool = True
    """False if reads may be hit as well, by the faults that leave a request undone."""

    def __attrs_post_init__(self) -> None:
        if sum(self.rates.values()) > 1 + 1e-9:  # a mixed rate of 1 may add up to a bit more
            raise ValueError("the rates of all faults together must not exceed 1")

    @classmethod
    def mixed(
        cls,
        rate: float,
        *,
        max_per_trade: int | None = 2,
        silence: float = 5.0,
        slow: float = 1.0,
        closes_only: bool = True,
    ) -> Faults:
        """Spread a total rate evenly over the faults that end neither in a block nor in a refusal.

        Left out are the early 429, the plan refusal and the ban, and what deceives a client that
        believes answers as they come: the 404 of a gateway, the answer that drips, the wrong id,
        reads that lag. Ask for these by name.
        """
        return cls(
            **{fault.value: rate / len(MIXED) for fault in MIXED},
            max_per_trade=max_per_trade,
            silence=silence,
            slow=slow,
            closes_only=closes_only,
        )

    @property
    def rates(self) -> dict[Fault, float]:
        """The rate of every fault that has one."""
        return {f: getattr(self, f.value) for f in Fault if f is not Fault.READ_LAG}


class Dice:
    """Decides which request is hit by which fault.

    The throws of a trade depend on the seed, the trade and the number of the request for it, and
    not on the order in which the requests of many tasks happen to arrive.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self.faults = faults
        self._seed = seed
        rates = {fault: rate for fault, rate in faults.rates.items() if rate}
        self._edges = tuple(zip(accumulate(rates.values()), rates, strict=True))
        self._throws: dict[int | None, int] = {}
        self._hits: dict[int | None, int] = {}

    def throw(self, trade_id: int | None, *, closes: bool) -> Fault | None:
        """Decide about one request for a trade, deal or bot; None for a list."""
        if not self._edges or (self.faults.closes_only and not closes):
            return None
        number = self._throws[trade_id] = self._throws.get(trade_id, 0) + 1
        fault = self._pick(seeded(self._seed, trade_id, number).random())
        if fault is None or (fault.applied and not closes) or self._spared(trade_id):
            return None
        self._hits[trade_id] = self._hits.get(trade_id, 0) + 1
        return fault

    def _pick(self, throw: float) -> Fault | None:
        return next((fault for edge, fault in self._edges if throw < edge), None)

    def _spared(self, trade_id: int | None) -> bool:
        most = self.faults.max_per_trade
        return most is not None and trade_id is not None and self._hits.get(trade_id, 0) >= most
