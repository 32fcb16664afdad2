"""Which modules importing the package loads."""

import subprocess
import sys

import pytest

import threecommas_async

EXTRAS = {"aiohttp", "cryptography", "cyclopts", "httptools", "redis", "rich"}


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a statement loads in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import threecommas_async",
        "from threecommas_async import RateLimitError, __version__",
    ],
)
def test_importing_the_package_or_an_error_loads_no_http_library(statement: str) -> None:
    assert not loaded_by(statement) & {"httpx", "cattrs", *EXTRAS}


def test_creating_a_client_loads_no_extra() -> None:
    code = "from threecommas_async import AsyncClient; AsyncClient('key', secret='secret').deals"
    assert not loaded_by(code) & (EXTRAS - {"rich"})  # httpx loads rich where it is installed


def test_every_public_name_exists_and_is_listed_by_dir() -> None:
    for name in threecommas_async.__all__:
        assert getattr(threecommas_async, name) is not None
    assert set(threecommas_async.__all__) <= set(dir(threecommas_async))


def test_unknown_name_raises_attribute_error() -> None:
    name = "AsyncClients"
    with pytest.raises(AttributeError, match="no attribute 'AsyncClients'"):
        getattr(threecommas_async, name)
