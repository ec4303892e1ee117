"""One side of `checks.py`: checks a package once, and prints how long that took, its peak of memory and what was found.

python benchmarks/sides/checks_ours.py PACKAGE
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archiver.discovery.checks.package import check_package


def main(package: Path) -> None:
    started = time.perf_counter()
    checked = check_package(package)
    seconds = time.perf_counter() - started
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"findings": len(checked.findings), "messages": checked.messages}
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes, **found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
