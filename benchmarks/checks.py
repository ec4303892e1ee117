"""What `archiver export check` costs beside the export that it checks, and how the memory of both grows with the messages.

    python benchmarks/checks.py [--messages 20000 100000] [--formats jsonl edrm …] [--directory DIR]

Packages of one format each are made of archives of these sizes (`sides/apply_archive.py`) and checked, each in a new process that times
itself from after its imports; every check must find nothing. Load files have a document and a text file for each message, so that DIR
wants room for very many small files. Target: never more than 500 MB, whichever the format and however many the messages.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SIDES = Path(__file__).resolve().parent / "sides"
PEAK_BYTES_MAX = 500_000_000
DAYS = 20


def main() -> int:
    from archiver.discovery.export.formats import FORMATS  # noqa: PLC0415 - after the path is set

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    given = parser.parse_args()
    highest = 0.0
    with tempfile.TemporaryDirectory(dir=given.directory, prefix=".bench-") as name:
        folder = Path(name)
        for messages in given.messages:
            (folder / str(messages)).mkdir()
            _run("apply_archive.py", folder / str(messages), messages, DAYS)
        for form in given.formats:
            for messages in given.messages:
                package = folder / "package"
                made = _run("export_sides.py", form, folder / str(messages) / "archive", package)
                checked = _run("checks_ours.py", package / "package")
                shutil.rmtree(package)
                if checked["findings"] or checked["messages"] != messages:
                    raise SystemExit(f"{form}: the check did not find {messages} messages and nothing else: {checked}")
                highest = max(highest, made["peak_bytes"], checked["peak_bytes"])
                print(
                    f"{form:8} {messages:>9,} messages   made {made['seconds']:7.1f} s, {made['peak_bytes'] / 1e6:4.0f} MB   "
                    f"checked {checked['seconds']:7.1f} s, {checked['peak_bytes'] / 1e6:4.0f} MB   "
                    f"check / export {checked['seconds'] / made['seconds']:5.2f}",
                    flush=True,
                )
    is_kept = highest <= PEAK_BYTES_MAX
    print(f"target, {PEAK_BYTES_MAX / 1e6:.0f} MB: {'kept' if is_kept else 'MISSED'}")
    return 0 if is_kept else 1


def _run(script: str, *arguments: object) -> dict[str, float]:
    command = [sys.executable, str(SIDES / script), *map(str, arguments)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(told or "{}")
    return found


if __name__ == "__main__":
    sys.exit(main())
