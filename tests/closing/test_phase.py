"""The phase of a smart trade or a deal: decided by its status."""

import pytest

from threecommas_async.closing.phase import (
    Phase,
    deal_is_closable,
    deal_phase,
    smart_trade_is_cancellable,
    smart_trade_is_closable,
    smart_trade_phase,
)
from threecommas_async.converter import structure
from threecommas_async.models.codes import DealStatusCode, SmartTradeStatusCode
from threecommas_async.models.deal import Deal
from threecommas_async.models.smart_trade import SmartTrade

PHASES = {
    "created": Phase.NOT_ENTERED,
    "waiting_position": Phase.NOT_ENTERED,
    "waiting_targets": Phase.OPEN,
    "pending_reduce_funds": Phase.OPEN,
    "panic_sell_pending": Phase.CLOSING,
    "panic_sell_in_progress": Phase.CLOSING,
    "stop_loss_in_progress": Phase.CLOSING,
    "cancellation_pending": Phase.CLOSING,
    "cancellation_in_progress": Phase.CLOSING,
    "finished": Phase.CLOSED,
    "panic_sold": Phase.CLOSED,
    "stop_loss_finished": Phase.CLOSED,
    "cancelled": Phase.CLOSED,
    "failed": Phase.FAILED,
}


def trade(code: str | None, **data: object) -> SmartTrade:
    return structure({"id": 7, "status": {"basic_type": code}, "data": data}, SmartTrade)


@pytest.mark.parametrize("code", SmartTradeStatusCode)
def test_every_known_status_code_has_its_phase(code: SmartTradeStatusCode) -> None:
    assert smart_trade_phase(trade(code.value)) is PHASES[code]


def test_phase_table_lists_only_known_status_codes() -> None:
    assert PHASES.keys() == {code.value for code in SmartTradeStatusCode}


@pytest.mark.parametrize("code", ["waiting_targets", "waiting_position", "panic_sell_pending"])
def test_flags_and_times_do_not_override_a_known_status_code(code: str) -> None:
    misleading = trade(
        code, finished=True, closed_at="2024-09-10T14:44:22.416Z", panic_sell_available=True
    )
    assert smart_trade_phase(misleading) is PHASES[code]


def test_forced_entry_is_not_a_close() -> None:
    entering = structure(
        {
            "id": 7,
            "status": {"basic_type": "waiting_position"},
            "position": {"status": {"basic_type": "panic_sell_pending"}},
        },
        SmartTrade,
    )
    assert smart_trade_phase(entering) is Phase.NOT_ENTERED


def test_status_code_is_read_from_type_if_basic_type_is_missing() -> None:
    only_type = structure({"id": 7, "status": {"type": "panic_sold"}}, SmartTrade)
    assert smart_trade_phase(only_type) is Phase.CLOSED


@pytest.mark.parametrize(
    "code",
    [
        "take_profit_finished",
        "closed",
        "completed",
        "liquidation_pending",
        "take_profit_in_progress",
        "panic_sell_order_placed",
        "brand_new",
        "FINISHED",
        "",
        None,
    ],
)
def test_unknown_status_code_never_means_closing_or_closed(code: str | None) -> None:
    assert smart_trade_phase(trade(code)) is Phase.UNCLEAR
    assert smart_trade_phase(trade(code, panic_sell_available=False)) is Phase.UNCLEAR


def test_stop_loss_in_progress_that_has_not_sold_is_open_and_closable() -> None:
    missed = trade("stop_loss_in_progress", panic_sell_available=True)
    assert smart_trade_phase(missed) is Phase.OPEN
    assert smart_trade_is_closable(missed)
    assert smart_trade_phase(trade("stop_loss_in_progress")) is Phase.CLOSING


@pytest.mark.parametrize(
    ("not_filled", "position", "cancellable"),
    [
        (False, "finished", False),
        (True, "finished", True),
        (None, "finished", False),
        (None, "order_placed", True),
    ],
)
def test_entry_that_seems_filled_is_not_cancellable(
    not_filled: bool | None,  # noqa: FBT001 - a column of the table
    position: str,
    cancellable: bool,  # noqa: FBT001 - a column of the table
) -> None:
    waiting = structure(
        {
            "id": 7,
            "status": {"basic_type": "waiting_position"},
            "data": {"cancel_available": True},
            "position": {"status": {"basic_type": position}},
            "is_position_not_filled": not_filled,
        },
        SmartTrade,
    )
    assert smart_trade_is_cancellable(waiting) is cancellable


@pytest.mark.parametrize("code", ["brand_new", "partially_sold", "", "entry_pending"])
def test_unknown_status_code_is_open_if_the_trade_can_be_closed(code: str) -> None:
    closable = trade(code, panic_sell_available=True)
    assert smart_trade_phase(closable) is Phase.OPEN
    assert smart_trade_is_closable(closable)


@pytest.mark.parametrize(
    ("available", "closable"), [(True, True), (None, True), (False, False)], ids=str
)
def test_open_trade_is_closable_unless_the_server_denies_it(
    available: bool | None,  # noqa: FBT001 - a column of the table
    closable: bool,  # noqa: FBT001 - a column of the table
) -> None:
    opened = trade("waiting_targets", panic_sell_available=available)
    assert smart_trade_is_closable(opened) is closable


@pytest.mark.parametrize(
    "code",
    [c for c in PHASES if PHASES[c] is not Phase.OPEN and c != "stop_loss_in_progress"],
)
def test_trade_that_is_not_open_is_not_closable(code: str) -> None:
    assert not smart_trade_is_closable(trade(code, panic_sell_available=True))


@pytest.mark.parametrize(
    ("code", "available", "cancellable"),
    [
        ("created", True, True),
        ("waiting_position", True, True),
        ("waiting_position", False, False),
        ("waiting_position", None, False),
        ("waiting_targets", True, False),
        ("panic_sell_pending", True, False),
        ("brand_new", True, False),
    ],
)
def test_only_a_trade_without_a_position_that_may_be_cancelled_is_cancellable(
    code: str,
    available: bool | None,  # noqa: FBT001 - a column of the table
    cancellable: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert smart_trade_is_cancellable(trade(code, cancel_available=available)) is cancellable


# --- deals

DEAL_PHASES = {
    "base_order_placed": Phase.NOT_ENTERED,
    "created": Phase.NOT_ENTERED,
    "bought": Phase.OPEN,
    "bought_safety_pending": Phase.OPEN,
    "bought_take_profit_pending": Phase.OPEN,
    "ttp_activated": Phase.OPEN,
    "ttp_order_placed": Phase.OPEN,
    "close_strategy_activated": Phase.OPEN,
    "panic_sell_pending": Phase.CLOSING,
    "panic_sell_order_placed": Phase.CLOSING,
    "cancel_pending": Phase.CLOSING,
    "stop_loss_pending": Phase.CLOSING,
    "stop_loss_order_placed": Phase.CLOSING,
    "completed": Phase.CLOSED,
    "stop_loss_finished": Phase.CLOSED,
    "panic_sold": Phase.CLOSED,
    "cancelled": Phase.CLOSED,
    "liquidated": Phase.CLOSED,
    "settled": Phase.CLOSED,
    "failed": Phase.FAILED,
}


def deal(code: str, panic_sellable: bool | None = None) -> Deal:  # noqa: FBT001 - a JSON value
    return structure({"id": 7, "status": code, "panic_sellable?": panic_sellable}, Deal)


@pytest.mark.parametrize("code", DealStatusCode)
def test_every_known_deal_status_code_has_its_phase(code: DealStatusCode) -> None:
    assert deal_phase(deal(code.value)) is DEAL_PHASES[code]
    assert deal_phase(deal(code.value, panic_sellable=True)) is DEAL_PHASES[code]


@pytest.mark.parametrize(
    ("code", "panic_sellable", "phase"),
    [
        ("brand_new", True, Phase.OPEN),
        ("brand_new", None, Phase.UNCLEAR),
        ("brand_new", False, Phase.UNCLEAR),
        ("take_profit_order_placed", False, Phase.UNCLEAR),
        ("take_profit_finished", False, Phase.UNCLEAR),
    ],
)
def test_deal_with_an_unknown_status_code_is_judged_by_its_flag_alone(
    code: str,
    panic_sellable: bool | None,  # noqa: FBT001 - a column of the table
    phase: Phase,
) -> None:
    assert deal_phase(deal(code, panic_sellable)) is phase


@pytest.mark.parametrize(
    ("code", "panic_sellable", "closable"),
    [
        ("bought", True, True),
        ("bought", None, True),
        ("bought", False, False),
        ("brand_new", True, True),
        ("base_order_placed", True, False),
        ("panic_sell_pending", True, False),
        ("completed", True, False),
    ],
)
def test_open_deal_is_closable_unless_the_server_denies_it(
    code: str,
    panic_sellable: bool | None,  # noqa: FBT001 - a column of the table
    closable: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert deal_is_closable(deal(code, panic_sellable)) is closable
