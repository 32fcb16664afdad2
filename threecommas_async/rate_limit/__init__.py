"""Pacing: who may send when.

Decided here: how many requests any window of time holds, who goes first, and for how long nothing
is sent after a refusal. To write a limiter of your own, see `RateLimiter` and `Permit`.
"""

from .limiter import NoLimit, Permit, RateLimiter, SlidingWindowLimiter
from .queue import Waiter, WaitQueue
from .window import SlidingWindow

__all__ = [
    "NoLimit",
    "Permit",
    "RateLimiter",
    "SlidingWindow",
    "SlidingWindowLimiter",
    "WaitQueue",
    "Waiter",
]
