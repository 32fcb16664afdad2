"""An in-memory Redis that runs a Python port of `script.lua`, on any clock.

For tests of the limiter in virtual time and without a server. `test_script.py` checks it against
the script in a real Redis.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis.exceptions import ConnectionError as Lost
from redis.exceptions import NoScriptError

Message = dict[str, Any]


class FakeRedis:
    """The data in Redis, and the script."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.clock = clock or (lambda: asyncio.get_running_loop().time())
        self.flush()

    def flush(self) -> None:
        """Lose all data, as by FLUSHALL."""
        self.sets: dict[str, dict[str, float]] = {}
        self.state: tuple[str, float] | None = None

    def held(self, budget: str = "general") -> int:
        """Return the number of taken slots of a budget."""
        now = self.clock()
        sets = (held for key, held in self.sets.items() if key.endswith(f":{budget}"))
        return sum(at > now for held in sets for at in held.values())

    def _set(self, key: str, since: float) -> dict[str, float]:
        kept = {name: at for name, at in self.sets.get(key, {}).items() if at > since}
        self.sets[key] = kept
        return kept

    def run(self, keys: list[str], q: Message) -> str:  # noqa: PLR0912 - as in the script
        now = self.clock()
        born, blocked = self.state or (f"{now:.6f}", 0.0)
        blocked = max(blocked, now + q["block"])
        if q["born"] not in {"", born}:
            blocked = max(blocked, float(born) + q["silence"])
        self.state = born, blocked
        waiting = self._set(keys[1], now)
        permits: list[dict[str, float]] = [self._set(key, -1.0) for key in keys[2:]]
        budgets = q["budgets"]

        def keep(name: str, own: int, longer: float) -> None:
            for number in {1, own}:
                permits[number - 1][name] = now + longer + budgets[number - 1]["window"]

        for name, own, longer in q["permits"]:
            if longer >= 0:
                keep(name, own, longer)
            else:
                for number in (1, own):
                    permits[number - 1].pop(name, None)
        permits[:] = [self._set(key, now - q["grace"]) for key in keys[2:]]
        rests = [sorted(at - now for at in held.values() if at > now) for held in permits]
        free = [
            min(b["limit"] - len(rest), b["room"]) for b, rest in zip(budgets, rests, strict=True)
        ]
        mine = sum(at > now and name.startswith(q["me"]) for name, at in permits[0].items())
        freed = any(at <= now for at in permits[0].values())
        others = [sum(w.startswith(f"{p}:") for w in waiting if w[2:] != q["me"]) for p in (0, 1)]
        reserved = [0, q["reserve"]]
        quota = [
            math.ceil((budgets[0]["limit"] - reserved[p]) / (others[p] + 1)) - mine
            if freed and others[p]
            else free[0] - reserved[p]
            for p in (0, 1)
        ]
        unserved, granted, deferred = [0, 0], list[int](), False
        for number, (p, own, name) in enumerate(q["wants"], 1):
            has = permits[0].get(name, 0) > now
            room = free[0] > reserved[p] and free[own - 1] > 0
            allowed = quota[p] > 0 and (p == 0 or others[0] == 0)
            if now >= blocked and (has or (room and allowed)):
                keep(name, own, q["lease"])
                granted.append(number)
                if not has:
                    for n in {1, own}:
                        free[n - 1] -= 1
                        rests[n - 1].append(q["lease"] + budgets[n - 1]["window"])
                    quota = [quota[0] - 1, quota[1] - 1]
            elif own == 1 or free[own - 1] > 0:
                deferred = deferred or room
                unserved[p] += 1
        for p in (0, 1):
            waiting.pop(f"{p}:{q['me']}", None)
            if unserved[p]:
                waiting[f"{p}:{q['me']}"] = now + q["patience"]

        block = max(blocked - now, 0)
        wait = min(q["patience"], *(rest[0] for rest in rests if rest), math.inf)
        if block:
            wait = block
        elif deferred:
            wait = min(wait, q["grace"])
        return json.dumps(
            {
                "born": born,
                "block": block,
                "wait": wait,
                "granted": granted,
                "rests": rests,
            }
        )


class FakeConnection:
    """A Redis client connected to a `FakeRedis`, with injectable network faults."""

    def __init__(self, server: FakeRedis | None = None, *, latency: float = 0.0) -> None:
        self.server = server or FakeRedis()
        self.latency = latency
        self.disconnected = False
        self.loses_replies = False
        self.swallows_cancellation = False
        self.script_loaded = True
        self.commands: list[str] = []
        self.messages: list[Message] = []
        self.closed = False
        self.on_reply: Callable[[], object] | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        name, _, count, *rest = args
        message: Message = json.loads(rest[count])
        self.commands.append(name)
        self.messages.append(message)
        await asyncio.sleep(self.latency / 2)
        if self.disconnected:
            self._reply_arrives()
            raise Lost("connection refused")
        if name == "EVALSHA" and not self.script_loaded:
            self.script_loaded = True
            raise NoScriptError
        answer = self.server.run(rest[:count], message)
        if self.loses_replies:
            await asyncio.sleep(1e6)
        await asyncio.sleep(self.latency / 2)
        if self.swallows_cancellation:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1)
            await asyncio.sleep(0)  # redis-py continues by reading the reply
        self._reply_arrives()
        return answer

    def _reply_arrives(self) -> None:
        """Run `on_reply` after this reply arrives and before its receiver handles it."""
        if self.on_reply:
            asyncio.get_running_loop().call_soon(self.on_reply)
            self.on_reply = None

    async def aclose(self) -> None:
        self.closed = True
