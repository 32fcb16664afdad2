"""Pacing: who may send when.

Decided here: how many requests any window of time holds, who goes first, and for how long nothing
is sent after a refusal. To write a limiter of your own, see `RateLimiter` and `Permit`.
"""

from .limiter import NoLimit, Permit, RateLimiter, SlidingWindowLimiter
from .queue import Gate, Line, Place, Turnstile
from .window import SlidingWindow

__all__ = [
    "Gate",
    "Line",
    "NoLimit",
    "Permit",
    "Place",
    "RateLimiter",
    "SlidingWindow",
    "SlidingWindowLimiter",
    "Turnstile",
]
