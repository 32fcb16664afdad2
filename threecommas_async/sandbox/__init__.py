"""An embedded 3Commas on loopback: rehearse closing everything, and hold the report to the truth.

Signatures are verified, limits enforced, trades closed with a delay, and faults injected if asked
for. What really happened is in the ledger::

    async with Sandbox(trades=250, seed=7, faults=Faults.mixed(0.3)) as sandbox:
        ...  # point a client at sandbox.base_url, with sandbox.api_key and sandbox.secret
        assert sandbox.ledger.applied == set(sandbox.trade_ids)
        assert not sandbox.ledger.repeated

Needs aiohttp (the extra `sandbox`), and nothing else of this package.
"""

from .faults import Fault, Faults
from .ledger import Ledger, RequestRecord, TradeRecord
from .limits import Cause, RateLimit
from .routes import Permission
from .server import Sandbox

__all__ = [
    "Cause",
    "Fault",
    "Faults",
    "Ledger",
    "Permission",
    "RateLimit",
    "RequestRecord",
    "Sandbox",
    "TradeRecord",
]
