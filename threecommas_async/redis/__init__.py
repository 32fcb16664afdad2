"""One rate limit and one cooldown for many processes and hosts. Needs the extra `redis`.

`RedisLimiter` keeps the rule of `SlidingWindowLimiter`: a slot is taken before a request is sent
and comes free one window after its answer came. The books are in Redis. One script (`script.lua`)
changes them, so every change is atomic, and it uses no clock but that of Redis.

* A budget (the general one, and one per endpoint with a limit of its own) is a sorted set of
  permits by expiry. That of a request under way expires a `lease` and a window from now, and its
  process renews it while it lives; that of an answered one expires a window after the answer. So a
  crash frees its slots late, never early.
* While a close waits anywhere, reads get nothing. Among the processes that wait, what is free is
  divided. One that waits has to show itself every second, or is forgotten after three.
* A process makes one call at a time. It tells Redis all that is new and asks for everyone in line.
  So a thousand who wait make no more calls than one; what was granted to a task that is gone is
  given back by the next call; and nobody with an answer in hand waits for Redis.
* A call may be lost on its way there or back: who asks again is given the permit it already holds.
* Redis may forget (restarted empty, flushed). The processes remember when their books were begun,
  so they notice. Then nothing leaves for one window, and what is under way is entered again.

How to use it, and what it does not protect from: docs/sharing.md.
"""

from importlib.util import find_spec

if find_spec("redis") is None:
    msg = "RedisLimiter needs an extra: pip install 'threecommas-async[redis]'"
    raise ImportError(msg)

from .books import Connection
from .limiter import RedisLimiter

__all__ = ["Connection", "RedisLimiter"]
