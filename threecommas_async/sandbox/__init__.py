"""An embedded 3Commas on loopback, to test a bot against and to verify what it reports.

It verifies signatures, enforces limits, closes trades after a delay and injects faults on request.
The ledger records what really happened::

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
