"""What a command would do, without doing it: `--dry-run`, and the question before it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import frozen

from .. import SmartTrade
from ..closing import smart_trade_is_cancellable
from .kinds import CANCEL, CLOSE, Deed, Entity, Kind
from .render import outcome_data, skipped_table, status_of, table
from .screen import Exit, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Group

    from .. import AsyncClient, CloseOutcome, CloseReport
    from ..errors import InvalidRequestError
    from .screen import Screen

__all__ = ["Plan", "plan_for_all", "plan_for_ids"]

T = TypeVar("T", bound=Entity)


@frozen
class Planned(Generic[T]):
    """What would be done to one."""

    entity_id: int
    entity: T | None
    deed: Deed
    why_not: str | None = None
    """Why it would not be done after all."""

    @property
    def row(self) -> tuple[object, ...]:
        """Its row in the table."""
        would_be = self.deed.done if self.why_not is None else f"no: {self.why_not}"
        if self.entity is None:
            return self.entity_id, None, None, would_be
        return self.entity_id, self.entity.pair, status_of(self.entity), would_be


@frozen
class Plan(Generic[T]):
    """What would be done to all."""

    kind: Kind[T]
    items: Sequence[Planned[T]]
    also: str = ""
    """What would happen besides."""
    skipped: Sequence[CloseOutcome[T]] = ()
    """What would be left alone, though it is active."""
    unmatched: InvalidRequestError | None = None
    """Why nothing passes the filters, though something is open."""

    def ids(self, deed: Deed) -> list[int]:
        """Return those to which it would be done."""
        return [i.entity_id for i in self.items if i.deed == deed and i.why_not is None]

    def show(self, screen: Screen) -> Exit:
        """Show the plan, and return whether all of it could be done."""
        would_not = [item for item in self.items if item.why_not is not None]
        deeds = dict.fromkeys((self.kind.deed, *(item.deed for item in self.items)))
        would = {deed: self.ids(deed) for deed in deeds}
        counts = " and ".join(
            f"{len(ids)} of {len(self.items)} would be {deed.done}" for deed, ids in would.items()
        )
        also = f"; it would also {self.also}" if self.also else ""
        parts: list[Group | str] = [] if self.unmatched is None else [printable(self.unmatched)]
        if self.skipped:
            parts.append(skipped_table(self.skipped))
        screen.result(
            {
                "dry_run": True,
                **{f"would_{deed.verb}": ids for deed, ids in would.items()},
                "would_also": self.also or None,
                f"would_not_{self.kind.deed.verb}": [
                    {"trade_id": item.entity_id, "reason": item.why_not} for item in would_not
                ],
                "unmatched": self.unmatched,
                "skipped": [outcome_data(outcome) for outcome in self.skipped],
            },
            table(
                f"{counts}{also}; nothing was sent",
                *("id", "pair", "status", "would be"),
                rows=[item.row for item in self.items],
            ),
            *parts,
        )
        return Exit.NOT_ALL if would_not or self.unmatched else Exit.OK


async def plan_for_ids(client: AsyncClient, kind: Kind[T], ids: Sequence[int]) -> Plan[T]:
    """Look the ids up among the open ones: a request per hundred, not one for each id."""
    found = {entity.id: entity async for entity in kind.open_ones(client)}

    def planned(entity_id: int) -> Planned[T]:
        entity = found.get(entity_id)
        missing = f"not among the open {kind.name}s"
        why_not = missing if entity is None else kind.why_not(entity)
        return Planned(entity_id, entity, kind.deed, why_not)

    return Plan(kind, [planned(entity_id) for entity_id in dict.fromkeys(ids)])


def plan_for_all(kind: Kind[T], report: CloseReport[T], also: str) -> Plan[T]:
    """Take over what a dry run of the library has found."""
    items = [Planned(o.trade_id, o.trade, _deed_for(o.trade)) for o in report]
    return Plan(kind, items, also, report.skipped, report.unmatched)


def _deed_for(entity: Entity | None) -> Deed:
    pending = isinstance(entity, SmartTrade) and smart_trade_is_cancellable(entity)
    return CANCEL if pending else CLOSE
