"""Pacing of requests.

Decides how many requests leave in any rolling window, in which order waiting calls are served, and
how long nothing is sent after a refusal. To write your own limiter, see `RateLimiter` and `Permit`.
"""

from .limiter import NoLimit, Permit, RateLimiter, SlidingWindowLimiter, no_slot_error
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
    "no_slot_error",
]
