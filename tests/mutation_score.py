"""Says how many mutants the tests noticed, by module, and which of them nobody noticed, from what `make mutate` left in ``mutants/``.

A mutant that made a test run too long counts as noticed. Those that were not tried yet count for nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from mutmut.stats import status_by_exit_code

NOTICED = ("killed", "timeout", "segfault", "caught by type check")
MISSED = ("survived", "no tests", "suspicious")


def main(folder: Path) -> None:
    total: Counter[str] = Counter()
    missed: list[str] = []
    print(f"{'module':<40} {'mutants':>8} {'tried':>7} {'noticed':>8}  score")
    for path in sorted(folder.rglob("*.meta")):
        by_mutant = json.loads(path.read_text("utf-8"))["exit_code_by_key"]
        statuses = {mutant: status_by_exit_code[code] for mutant, code in by_mutant.items()}
        counts = Counter(
            noticed=sum(status in NOTICED for status in statuses.values()),
            missed=sum(status in MISSED for status in statuses.values()),
            mutants=len(statuses),
        )
        if counts["mutants"]:
            _tell(str(path.relative_to(folder).with_suffix("")), counts)
        total += counts
        missed += [mutant for mutant, status in statuses.items() if status in MISSED]
    _tell("all", total)
    if missed:
        print("\nnot noticed (`.venv-mutate/bin/mutmut show NAME` shows one):")
        print("\n".join(missed))


def _tell(name: str, counts: Counter[str]) -> None:
    tried = counts["noticed"] + counts["missed"]
    score = f"{100 * counts['noticed'] / tried:5.1f} %" if tried else "    -"
    print(f"{name:<40} {counts['mutants']:>8} {tried:>7} {counts['noticed']:>8}  {score}")


if __name__ == "__main__":
    main(Path("mutants"))
