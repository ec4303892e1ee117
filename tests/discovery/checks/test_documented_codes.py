"""The page on formats tells what every finding means."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.discovery.checks import test_concordance, test_edrm, test_eml, test_rsmf

PAGE = Path(__file__).resolve().parents[3] / "docs" / "export-formats.md"
BROKEN = {"rsmf": test_rsmf.BROKEN, "eml": test_eml.BROKEN, "dat": test_concordance.BROKEN, "edrm": test_edrm.BROKEN}


def documented(name: str) -> set[str]:
    """Return the codes that the page's table has for a format."""
    table = PAGE.read_text("utf-8").partition("| Code | Means | In |")[2]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| `")]
    return {
        code
        for codes, _, where in rows
        if f"`{name}`" in where or "all" in where
        for code in re.findall(r"`([a-z0-9-]+)`", codes)
    }


@pytest.mark.parametrize("name", BROKEN)
def test_every_code_that_a_check_finds_is_explained(name: str) -> None:
    found = {code for _, codes in BROKEN[name].values() for code in codes}
    assert found <= documented(name)
