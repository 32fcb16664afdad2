"""What it costs to turn the seed's body, and a page of 100 trades, into models.

Runs as a process of its own in the package's environment (``python -m benchmarks.parsing``); the
ways of parsing take turns, and print one JSON line.
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
    """cattrs as it comes, with hooks for the leaves it cannot do by itself."""
    converter = cattrs.Converter()
    converter.register_structure_hook(Decimal, lambda value, _: Decimal(value))
    converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(value))
    converter.register_structure_hook_func(is_open_enum, structure_open_enum)
    return converter


def is_open_enum(kind: Any) -> bool:
    """Whether it is a union with `str`, such as ``Code | str | None``."""
    return len(get_args(kind)) > 2 and str in get_args(kind)


def structure_open_enum(value: Any, kind: Any) -> Any:
    """A known code as its enum member, an unknown one as it is."""
    return get_args(kind)[0]._value2member_map_.get(value, value)


def ways_of_parsing() -> dict[str, dict[str, Parse]]:
    """By what is parsed and how."""
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
    """CPU time of one call."""
    start = time.process_time()
    for _ in range(times):
        parse(body)
    return (time.process_time() - start) / times * 1e6


def main() -> None:
    """Measure so many repeats of so many calls."""
    repeats, calls = int(sys.argv[1]), int(sys.argv[2])
    bodies = {"body": (BODY, calls), "page": (PAGE, max(1, calls // PER_PAGE))}
    ways = ways_of_parsing()
    same = ways["body"]["cattrs"](BODY) == ways["body"]["ours"](BODY)
    assert same, "plain cattrs and ours disagree on the seed's body"
    records = [
        {"what": what, "how": how, "repeat": repeat, "cpu_us": microseconds(parse, *bodies[what])}
        for repeat in range(-1, repeats)  # the first round warms up
        for what, parsers in ways.items()
        for how, parse in parsers.items()
    ]
    print(json.dumps([record for record in records if record["repeat"] != -1]))


if __name__ == "__main__":
    main()
