"""How the tests are spread over processes: one more than there are processors, and a module whose fixtures are dear goes to one of them whole.

The last is what ``xdist_group`` and ``--dist loadgroup`` promise. pytest-xdist 3.8 notes a test's group in an attribute that pytest 9.2 no
longer reads (``Item._nodeid``), so that the promise is silently broken; this asks nothing of either.
"""

from __future__ import annotations

import os

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# What these make first takes seconds, and a browser or a demo is enough once.
WHOLE_MODULES = frozenset(
    {
        "tests/capture/test_versions.py",
        "tests/discovery/export/test_html_in_browser.py",
        "tests/simulator/test_simulator_node_sdk.py",
        "tests/test_docs.py",
    }
)


class WholeModules(LoadScopeScheduling):
    """Hands out tests one by one, but those of a module in `WHOLE_MODULES` together."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if module in WHOLE_MODULES else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> WholeModules:
    """Take the place of every ``--dist``."""
    return WholeModules(config, log)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors, because the tests with servers wait for a fifth of their time."""
    return (os.cpu_count() or 1) + 1
