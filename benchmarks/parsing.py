"""Cost of parsing one trade (`trade.json`) and a page of 100 trades into models.

Runs in its own process in the environment of the package (``python -m benchmarks.parsing``). The
parsers are interleaved; the result is one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, get_args

import cattrs

from benchmarks.server import PER_PAGE, trade_body
from threecommas_async.converter import decode
from threecommas_async.models.smart_trade import SmartTrade

BODY = trade_body(12_345_678)
PAGE = b"[" + b",".join(trade_body(number) for number in range(PER_PAGE)) + b"]"

Parse = Callable[[bytes], object]


def plain_converter() -> cattrs.Converter:
    """Return a default cattrs converter, with hooks for the types it does not support."""
    converter = cattrs.Converter()
    converter.register_structure_hook(Decimal, lambda value, _: Decimal(value))
    converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(value))
    converter.register_structure_hook_func(is_open_enum, structure_open_enum)
    return converter


def is_open_enum(kind: Any) -> bool:
    """Return whether a type is a union with `str`, such as ``Code | str | None``."""
    return len(get_args(kind)) > 2 and str in get_args(kind)


def structure_open_enum(value: Any, kind: Any) -> Any:
    """Return the enum member of a known code, and an unknown code unchanged."""
    return get_args(kind)[0]._value2member_map_.get(value, value)


def parsers_by_input() -> dict[str, dict[str, Parse]]:
    """Return the parsers by input and name."""
    plain = plain_converter()
    return {
        "body": {
            "json": json.loads,
            "json-decimal": lambda body: json.loads(body, parse_float=Decimal),
            "cattrs": lambda body: plain.structure(
                json.loads(body, parse_float=Decimal), SmartTrade
            ),
            "ours": lambda body: decode(body, SmartTrade),
        },
        "page": {
            "json-decimal": lambda body: json.loads(body, parse_float=Decimal),
            "cattrs": lambda body: plain.structure(
                json.loads(body, parse_float=Decimal), list[SmartTrade]
            ),
            "ours": lambda body: decode(body, list[SmartTrade]),
        },
    }


def microseconds(parse: Parse, body: bytes, times: int) -> float:
    """Return the average CPU time of a call in microseconds."""
    start = time.process_time()
    for _ in range(times):
        parse(body)
    return (time.process_time() - start) / times * 1e6


def main() -> None:
    """Measure; the arguments are the number of repeats and of calls per repeat."""
    repeats, calls = int(sys.argv[1]), int(sys.argv[2])
    bodies = {"body": (BODY, calls), "page": (PAGE, max(1, calls // PER_PAGE))}
    parsers = parsers_by_input()
    same = parsers["body"]["cattrs"](BODY) == parsers["body"]["ours"](BODY)
    assert same, "plain cattrs and this package parse the body differently"
    records = [
        {"what": what, "how": how, "repeat": repeat, "cpu_us": microseconds(parse, *bodies[what])}
        for repeat in range(-1, repeats)  # the first round warms up
        for what, by_name in parsers.items()
        for how, parse in by_name.items()
    ]
    print(json.dumps([record for record in records if record["repeat"] != -1]))


if __name__ == "__main__":
    main()
