"""Reading many entities with few requests: by list pages of a hundred, one alone by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from .closing import stops_everything
from .errors import ThreeCommasError

if TYPE_CHECKING:
    from collections.abc import Collection

    from .closing import Target

__all__ = ["SharedReader", "read_many"]

T = TypeVar("T")

# Up to so many, reading each by itself takes no more requests than looking through a list.
_FEW = 2
# Seconds a round waits for others to join: a page answers a hundred as soon as one.
_GATHERING = 0.5


async def read_many(target: Target[T], ids: Collection[int]) -> dict[int, T | ThreeCommasError]:
    """Read many entities; each id gets its entity or the error that kept it from being read.

    A listing is looked through as long as that can be cheaper than reading the rest one by one,
    and what no listing shows is read by itself.
    """
    found: dict[int, T | ThreeCommasError] = {}
    missing = set(ids)
    if len(missing) > _FEW:
        listed = await _look_through(target, missing)
        found.update(listed)
    refused: ThreeCommasError | None = None
    for entity_id in sorted(missing - found.keys()):
        try:
            found[entity_id] = refused or await target.read(entity_id)
        except ThreeCommasError as error:
            found[entity_id] = error
            if stops_everything(error):
                refused = error  # no other read can pass either
    return found


async def _look_through(target: Target[T], wanted: Collection[int]) -> dict[int, T]:
    found: dict[int, T] = {}
    missing = set(wanted)
    for listing in target.listings():
        pages = 0
        try:
            async for page in listing():
                pages += 1
                hits = {target.id_of(entity): entity for entity in page}
                hits = {entity_id: hits[entity_id] for entity_id in missing & hits.keys()}
                found |= hits
                missing -= hits.keys()
                if len(missing) <= _FEW:
                    return found
                if not hits and pages >= len(missing):
                    break
        except ThreeCommasError:
            # One entity that cannot be parsed spoils its page; read by itself, the rest can be.
            return found
    return found


class SharedReader(Generic[T]):
    """Lets many closes in question share their reads: `read` for them, `work` beside them."""

    def __init__(self, target: Target[T]) -> None:
        self._target = target
        self._asked: dict[int, asyncio.Future[T]] = {}
        self._any = asyncio.Event()

    async def read(self, entity_id: int) -> T:
        """Return the entity as it is after this moment.

        Raises:
            ThreeCommasError: it could not be read.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked[entity_id] = future
        self._any.set()
        return await future

    async def work(self) -> None:
        """Answer what is asked, round by round, until cancelled.

        Only what was asked before a round began is answered by it: a page read earlier could show
        an entity as it was before its close.
        """
        while True:
            await self._any.wait()
            await asyncio.sleep(_GATHERING)
            self._any.clear()
            asked, self._asked = self._asked, {}
            found = await read_many(self._target, asked)
            for entity_id, future in asked.items():
                _answer(future, found[entity_id])


def _answer(future: asyncio.Future[T], result: T | ThreeCommasError) -> None:
    if future.done():
        return  # whoever asked was cancelled meanwhile
    if isinstance(result, ThreeCommasError):
        future.set_exception(result)
    else:
        future.set_result(result)
