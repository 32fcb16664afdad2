"""What the closes of one resource know of each other, within one client.

Two things would make a close be sent twice although each call does everything right: a second call
for an id while the first is under way, and a new call for an id that an earlier one left UNKNOWN.
So closes of one id take turns, and whoever comes after another reads before it sends.
"""

from __future__ import annotations

import asyncio

from .waiting import Turnstile

__all__ = ["Doubts"]

# So many closes begin in one turn of the event loop; a thousand would hold it for 30 ms.
_BEGIN_A_TURN = 20


class Doubts(set[int]):
    """The ids whose last close was left UNKNOWN, and the turns of those under way."""

    def __init__(self) -> None:
        super().__init__()
        self._turnstile = Turnstile(_BEGIN_A_TURN)
        self._under_way: dict[int, list[asyncio.Future[None]]] = {}

    async def take_turn(self, entity_id: int) -> bool:
        """Wait until no other close of this id is under way. Follow with `end_turn`.

        Returns whether the id is to be read before it is closed.
        """
        await self._turnstile.enter()
        read_first = entity_id in self
        while entity_id in self._under_way:
            read_first = True
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._under_way[entity_id].append(future)
            await future
        self._under_way[entity_id] = []
        return read_first

    def end_turn(self, entity_id: int) -> None:
        """Let the next close of this id begin."""
        for future in self._under_way.pop(entity_id):
            if not future.done():
                future.set_result(None)
