"""The plan of a bulk operation: shown by `--dry-run`, and the basis of the question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import frozen

from .. import SmartTrade
from ..closing import smart_trade_is_cancellable
from .operations import CANCEL, CLOSE, Action, Entity, Operation
from .output import ExitStatus, printable
from .render import outcome_data, skipped_table, status_of, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Group

    from .. import AsyncClient, CloseOutcome, CloseReport
    from ..errors import InvalidRequestError
    from .output import Output

__all__ = ["Plan", "plan_for_all", "plan_for_ids"]

T = TypeVar("T", bound=Entity)


@frozen
class PlanItem(Generic[T]):
    """What would be done to one entity."""

    entity_id: int
    entity: T | None
    action: Action
    obstacle: str | None = None
    """Why the action does not apply; None if it does."""

    @property
    def row(self) -> tuple[object, ...]:
        """Cells of the item's row in the table."""
        would_be = self.action.participle if self.obstacle is None else f"no: {self.obstacle}"
        if self.entity is None:
            return self.entity_id, None, None, would_be
        return self.entity_id, self.entity.pair, status_of(self.entity), would_be


@frozen
class Plan(Generic[T]):
    """What would be done to all entities."""

    operation: Operation[T]
    items: Sequence[PlanItem[T]]
    side_effect: str = ""
    skipped: Sequence[CloseOutcome[T]] = ()
    """Active entities that would not be closed."""
    unmatched: InvalidRequestError | None = None
    """Why no entity passes the filters, although some are open."""

    def ids(self, action: Action) -> list[int]:
        """Return the ids that the action would apply to."""
        return [i.entity_id for i in self.items if i.action == action and i.obstacle is None]

    def show(self, output: Output) -> ExitStatus:
        """Print the plan, and return `OK` if it applies to all of its entities."""
        would_not = [item for item in self.items if item.obstacle is not None]
        actions = dict.fromkeys((self.operation.action, *(item.action for item in self.items)))
        would = {action: self.ids(action) for action in actions}
        counts = " and ".join(
            f"{len(ids)} of {len(self.items)} would be {action.participle}"
            for action, ids in would.items()
        )
        also = f"; it would also {self.side_effect}" if self.side_effect else ""
        parts: list[Group | str] = [] if self.unmatched is None else [printable(self.unmatched)]
        if self.skipped:
            parts.append(skipped_table(self.skipped))
        output.result(
            {
                "dry_run": True,
                **{f"would_{action.verb}": ids for action, ids in would.items()},
                "would_also": self.side_effect or None,
                f"would_not_{self.operation.action.verb}": [
                    {"trade_id": item.entity_id, "reason": item.obstacle} for item in would_not
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
        return ExitStatus.NOT_ALL if would_not or self.unmatched else ExitStatus.OK


async def plan_for_ids(client: AsyncClient, operation: Operation[T], ids: Sequence[int]) -> Plan[T]:
    """Look the ids up in the list of open entities: one request per page instead of one per id."""
    open_entities = {entity.id: entity async for entity in operation.list_open(client)}

    def planned(entity_id: int) -> PlanItem[T]:
        entity = open_entities.get(entity_id)
        missing = f"not among the open {operation.entity_name}s"
        obstacle = missing if entity is None else operation.obstacle(entity)
        return PlanItem(entity_id, entity, operation.action, obstacle)

    return Plan(operation, [planned(entity_id) for entity_id in dict.fromkeys(ids)])


def plan_for_all(operation: Operation[T], report: CloseReport[T], side_effect: str) -> Plan[T]:
    """Make a plan from the report of a dry run of `close_all`."""
    items = [PlanItem(o.trade_id, o.trade, _action_for(o.trade)) for o in report]
    return Plan(operation, items, side_effect, report.skipped, report.unmatched)


def _action_for(entity: Entity | None) -> Action:
    pending = isinstance(entity, SmartTrade) and smart_trade_is_cancellable(entity)
    return CANCEL if pending else CLOSE
