"""The map of the code names files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "threecommas_async"


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_a_map_of_the_code_names_exists(document: str) -> None:
    named = set(re.findall(r"\b[a-z_]+/[a-z_/]*\.?[a-z_]*\.py\b", (ROOT / document).read_text()))
    assert named
    missing = [
        name for name in named if not (PACKAGE / name).exists() and not (ROOT / name).exists()
    ]
    assert not missing


def test_every_room_is_on_the_map() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {room for room in rooms if f"{room}/" not in text} == set()
