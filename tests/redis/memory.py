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
        self.state: tuple[str, float, str, float] | None = None

    def held(self, budget: str = "general") -> int:
        """How many slots of a budget are not free."""
        now = self.clock()
        sets = (held for key, held in self.sets.items() if key.endswith(f":{budget}"))
        return sum(at > now for held in sets for at in held.values())

    def _set(self, key: str, now: float) -> dict[str, float]:
        kept = {name: at for name, at in self.sets.get(key, {}).items() if at > now}
        self.sets[key] = kept
        return kept

    def run(self, keys: list[str], q: Message) -> str:  # noqa: PLR0912 - the script, as it is
        now = self.clock()
        born, blocked, served, at = self.state or (f"{now:.6f}", 0.0, "", 0.0)
        blocked = max(blocked, now + q["block"])
        if q["born"] not in {"", born}:
            blocked = max(blocked, float(born) + q["silence"])
        waiting = self._set(keys[1], now)
        permits: list[dict[str, float]] = [self._set(key, now) for key in keys[2:]]
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
        free = [b["limit"] - len(held) for b, held in zip(budgets, permits, strict=True)]
        others = [sum(w.startswith(f"{p}:") for w in waiting if w[2:] != q["me"]) for p in (0, 1)]
        kept = [0, q["reserve"]]
        had = {q["me"]}
        rivals = [sum(w.startswith(f"{p}:") for w in waiting if w[2:] not in had) for p in (0, 1)]
        turn = [math.ceil((free[0] - kept[p]) / (rivals[p] + 1)) for p in (0, 1)]
        left, granted, yields = [0, 0], list[int](), False
        for number, (p, own, name) in enumerate(q["wants"], 1):
            has = name in permits[0]
            room = free[0] > kept[p] and free[own - 1] > 0
            first = turn[p] > 0 and (p == 0 or others[0] + left[0] == 0)
            if now >= blocked and (has or (room and first)):
                keep(name, own, q["lease"])
                granted.append(number)
                if not has:
                    for n in {1, own}:
                        free[n - 1] -= 1
                    turn[p] -= 1
            else:
                yields = yields or (room and (p == 0 or left[0] == 0))
                left[p] += 1
        served, at = (q["me"], now) if granted else (served, at)
        self.state = born, blocked, served, at
        for p in (0, 1):
            waiting.pop(f"{p}:{q['me']}", None)
            if left[p]:
                waiting[f"{p}:{q['me']}"] = now + q["patience"]

        block = max(blocked - now, 0)
        first_of = [min(held.values(), default=math.inf) - now for held in permits]
        wait = min(q["patience"], *first_of)
        if block:
            wait = block
        elif yields:
            wait = min(wait, q["pause"])
        elif served == q["me"] and any(others):
            wait += q["pause"]
        held = [min(at - now, budgets[0]["window"]) for at in sorted(permits[0].values())]
        firsts = [
            min(first, budget["window"]) if slots < 1 else 0
            for first, budget, slots in zip(first_of, budgets, free, strict=True)
        ]
        return json.dumps(
            {
                "born": born,
                "block": block,
                "wait": wait,
                "granted": granted,
                "held": held,
                "firsts": firsts,
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
        self._answers()
        return answer

    def _answers(self) -> None:
        """Have something happen between this answer and what its receiver does with it."""
        if self.on_answer:
            asyncio.get_running_loop().call_soon(self.on_answer)
            self.on_answer = None

    async def aclose(self) -> None:
        self.closed = True
