"""A Redis in this process that knows one script: a twin of `script.lua`, on any clock.

It lets the limiter be tested in virtual time and without a server. That the twins agree is shown
by `test_script.py`, with the real ones.
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


class Memory:
    """What is in Redis, and the script."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.clock = clock or (lambda: asyncio.get_running_loop().time())
        self.forget()

    def forget(self) -> None:
        """Lose everything, as by FLUSHALL."""
        self.sets: dict[str, dict[str, float]] = {}
        self.state: tuple[str, float] | None = None

    def held(self, budget: str = "general") -> int:
        """How many slots of a budget are not free."""
        now = self.clock()
        sets = (held for key, held in self.sets.items() if key.endswith(f":{budget}"))
        return sum(at > now for held in sets for at in held.values())

    def _set(self, key: str, since: float) -> dict[str, float]:
        kept = {name: at for name, at in self.sets.get(key, {}).items() if at > since}
        self.sets[key] = kept
        return kept

    def run(self, keys: list[str], q: Message) -> str:  # noqa: PLR0912 - the script, as it is
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
        fresh = any(at <= now for at in permits[0].values())
        others = [sum(w.startswith(f"{p}:") for w in waiting if w[2:] != q["me"]) for p in (0, 1)]
        kept = [0, q["reserve"]]
        turn = [
            math.ceil((budgets[0]["limit"] - kept[p]) / (others[p] + 1)) - mine
            if fresh and others[p]
            else free[0] - kept[p]
            for p in (0, 1)
        ]
        left, granted, yields = [0, 0], list[int](), False
        for number, (p, own, name) in enumerate(q["wants"], 1):
            has = permits[0].get(name, 0) > now
            room = free[0] > kept[p] and free[own - 1] > 0
            first = turn[p] > 0 and (p == 0 or others[0] == 0)
            if now >= blocked and (has or (room and first)):
                keep(name, own, q["lease"])
                granted.append(number)
                if not has:
                    for n in {1, own}:
                        free[n - 1] -= 1
                        rests[n - 1].append(q["lease"] + budgets[n - 1]["window"])
                    turn = [turn[0] - 1, turn[1] - 1]
            elif own == 1 or free[own - 1] > 0:
                yields = yields or room
                left[p] += 1
        for p in (0, 1):
            waiting.pop(f"{p}:{q['me']}", None)
            if left[p]:
                waiting[f"{p}:{q['me']}"] = now + q["patience"]

        block = max(blocked - now, 0)
        wait = min(q["patience"], *(rest[0] for rest in rests if rest), math.inf)
        if block:
            wait = block
        elif yields:
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


class Wire:
    """A client of the memory, like one of Redis, with the faults of a network."""

    def __init__(self, memory: Memory | None = None, *, latency: float = 0.0) -> None:
        self.memory = memory or Memory()
        self.latency = latency
        self.cut = False
        self.loses_answers = False
        self.swallows_cancel = False
        self.knows_the_script = True
        self.sent: list[str] = []
        self.calls: list[Message] = []
        self.closed = False
        self.on_answer: Callable[[], object] | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        name, _, count, *rest = args
        message: Message = json.loads(rest[count])
        self.sent.append(name)
        self.calls.append(message)
        await asyncio.sleep(self.latency / 2)
        if self.cut:
            self._answers()
            raise Lost("the line is cut")
        if name == "EVALSHA" and not self.knows_the_script:
            self.knows_the_script = True
            raise NoScriptError
        answer = self.memory.run(rest[:count], message)
        if self.loses_answers:
            await asyncio.sleep(1e6)
        await asyncio.sleep(self.latency / 2)
        if self.swallows_cancel:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1)
            await asyncio.sleep(0)  # redis-py has written now, and goes on to read
        self._answers()
        return answer

    def _answers(self) -> None:
        """Have something happen between this answer and what its receiver does with it."""
        if self.on_answer:
            asyncio.get_running_loop().call_soon(self.on_answer)
            self.on_answer = None

    async def aclose(self) -> None:
        self.closed = True
