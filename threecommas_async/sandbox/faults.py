"""Faults to inject, and the seeded decision which request gets which. Pure: no I/O.

`gateway.py` and `delivery.py` carry the faults out.
"""

from __future__ import annotations

import enum
from itertools import accumulate

import attrs

from .rng import seeded_rng


class Fault(enum.Enum):
    """A kind of fault. The value is the name of its rate in `Faults`.

    With those ending in `_before` the request is not carried out; with those ending in `_after` it
    is. On purpose, most pairs look the same to the client.
    """

    RESET_BEFORE = "reset_before"
    """The connection is reset."""
    SILENCE_BEFORE = "silence_before"
    """No answer; the connection is reset after `Faults.silence` seconds."""
    STALE_BEFORE = "stale_before"
    """The server closes the kept-alive connection as the request arrives."""
    UNAVAILABLE_BEFORE = "unavailable_before"
    """503 with an HTML page."""
    BAD_GATEWAY_BEFORE = "bad_gateway_before"
    """502 with an HTML page."""
    GATEWAY_TIMEOUT_BEFORE = "gateway_timeout_before"
    """504 with an empty body."""
    GATEWAY_404_BEFORE = "gateway_404_before"
    """404 with an HTML page from a proxy, although the trade or deal exists."""
    DRIP_BEFORE = "drip_before"
    """502 whose HTML page is sent byte by byte, one every `Faults.drip` seconds."""
    WRONG_ID_BEFORE = "wrong_id_before"
    """The right status with the body of another trade or deal."""

    RESET_AFTER = "reset_after"
    SILENCE_AFTER = "silence_after"
    UNAVAILABLE_AFTER = "unavailable_after"
    BAD_GATEWAY_AFTER = "bad_gateway_after"
    GATEWAY_TIMEOUT_AFTER = "gateway_timeout_after"
    GATEWAY_404_AFTER = "gateway_404_after"
    DRIP_AFTER = "drip_after"
    """The right answer, sent byte by byte, one every `Faults.drip` seconds."""
    WRONG_ID_AFTER = "wrong_id_after"
    TRUNCATED_AFTER = "truncated_after"
    """Half of the body, then the connection is closed."""
    GARBAGE_AFTER = "garbage_after"
    """The right status with a body that is not JSON."""
    WRONG_TYPE_AFTER = "wrong_type_after"
    """The right status with JSON of the wrong type."""
    SLOW_AFTER = "slow_after"
    """The right answer, `Faults.slow` seconds late."""
    STALE_AFTER = "stale_after"
    """The right answer, then the connection is closed without having announced it."""

    EARLY_429_TEXT = "early_429_text"
    """429 and a block of `Faults.block` seconds, as if another client had used up the limit."""
    EARLY_429_JSON = "early_429_json"
    EARLY_429_HTML = "early_429_html"
    PLAN_REFUSAL = "plan_refusal"
    """429 that says the subscription plan does not allow the request."""
    BAN = "ban"
    """418 and a ban of `Faults.ban_for` seconds."""

    READ_LAG = "read_lag"
    """A read that shows the state of `Faults.read_lag` seconds ago although it has changed since.

    The only fault without a rate: every read and list lags, even with `Faults.closes_only`.
    """

    @property
    def applied(self) -> bool:
        """Whether the request is carried out although the fault is injected."""
        return self.value.endswith("_after")


_NOT_MIXED = ("gateway_404", "drip", "wrong_id")

MIXED = tuple(
    fault
    for fault in Fault
    if fault.value.endswith(("_before", "_after")) and not fault.value.startswith(_NOT_MIXED)
)
"""Faults that a client can recover from without waiting for the end of a block."""


def _rate() -> float:
    return attrs.field(
        default=0.0,
        validator=(attrs.validators.ge(0.0), attrs.validators.le(1.0)),
    )


@attrs.frozen(kw_only=True)
class Faults:
    """Rates of the faults: for each, the fraction (0 to 1) of eligible requests that get it.

    Raises:
        ValueError: a rate is outside 0 to 1, or all rates together exceed 1.
    """

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
    """Maximum number of faults per trade or deal; None for no maximum."""
    silence: float = 5.0
    """Real seconds after which the server resets a connection that it leaves without an answer."""
    slow: float = 1.0
    """Real seconds by which a slow answer is delayed."""
    drip: float = 1.0
    """Real seconds before each byte of a dripping answer.

    With 1.0 a whole trade takes most of an hour, yet no read timeout is exceeded.
    """
    read_lag: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))
    """Seconds on the sandbox's clock by which reads and lists lag behind the current state."""
    block: float = 2.0
    """Seconds on the sandbox's clock for which an early 429 blocks all requests."""
    ban_for: float = 120.0
    """Seconds on the sandbox's clock for which an injected 418 bans the address."""
    closes_only: bool = True
    """Whether only closes get faults; if False, reads get the faults with which nothing is done."""

    def __attrs_post_init__(self) -> None:
        if sum(self.rates.values()) > 1 + 1e-9:  # the parts of a mixed rate of 1 are rounded
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
        """Spread a total rate evenly over the faults that a client can recover from by retrying.

        Not included: the early 429, the plan refusal and the ban, and misleading answers (the 404
        of a gateway, the dripping answer, the wrong id, lagging reads). Set these by name.
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
        """Rate of each fault that has one."""
        return {f: getattr(self, f.value) for f in Fault if f is not Fault.READ_LAG}


class FaultInjector:
    """Decides which request gets which fault.

    The draws for a trade depend on the seed, the trade and the number of the request for it, not on
    the order in which the requests of concurrent tasks arrive.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self.faults = faults
        self._seed = seed
        rates = {fault: rate for fault, rate in faults.rates.items() if rate}
        self._thresholds = tuple(zip(accumulate(rates.values()), rates, strict=True))
        self._draws: dict[int | None, int] = {}
        self._hits: dict[int | None, int] = {}

    def draw(self, trade_id: int | None, *, closes: bool) -> Fault | None:
        """Return the fault for one request, if any; `trade_id` is None for a list."""
        if not self._thresholds or (self.faults.closes_only and not closes):
            return None
        number = self._draws[trade_id] = self._draws.get(trade_id, 0) + 1
        fault = self._fault_for(seeded_rng(self._seed, trade_id, number).random())
        if fault is None or (fault.applied and not closes) or self._exhausted(trade_id):
            return None
        self._hits[trade_id] = self._hits.get(trade_id, 0) + 1
        return fault

    def _fault_for(self, draw: float) -> Fault | None:
        return next((fault for threshold, fault in self._thresholds if draw < threshold), None)

    def _exhausted(self, trade_id: int | None) -> bool:
        most = self.faults.max_per_trade
        return most is not None and trade_id is not None and self._hits.get(trade_id, 0) >= most
