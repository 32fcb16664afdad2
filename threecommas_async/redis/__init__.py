"""One rate limit and one cooldown for many processes and hosts. Needs the extra `redis`.

`RedisLimiter` keeps the rule of `SlidingWindowLimiter`: a slot is taken before a request is sent
and comes free one window after the response arrived. The shared state is in Redis. One script
(`script.lua`) updates it, so every update is atomic, and it reads no clock but that of Redis.

* A budget (the general one, and one per endpoint with a limit of its own) is a sorted set of
  permits by expiry. The permit of a request in flight expires after a `lease` plus a window, and
  its process renews it while it lives. The permit of an answered request expires one window after
  the response. So a crash frees slots late, never early.
* While a close waits in any process, reads get no slot. Free slots are divided among the waiting
  processes. A waiting process that has not called for three seconds is forgotten; it calls at
  least once a second.
* A process has one call to Redis under way at a time. Each call sends all pending updates and asks
  for permits for every waiter, so a thousand waiters cost no more calls than one. A permit granted
  to a cancelled task is returned by the next call, and releasing a permit never waits for Redis.
* A call or its reply may get lost: requesting the same permit again returns the one granted.
* Redis may lose its data (restarted without persistence, flushed). Processes remember when the
  data was created, so they notice. Then nothing is sent for one window, and requests in flight are
  registered again.

Usage, and what it does not protect from: docs/sharing.md.
"""

from importlib.util import find_spec

if find_spec("redis") is None:
    msg = "RedisLimiter needs an extra: pip install 'threecommas-async[redis]'"
    raise ImportError(msg)

from .limiter import RedisLimiter
from .store import Connection

__all__ = ["Connection", "RedisLimiter"]
