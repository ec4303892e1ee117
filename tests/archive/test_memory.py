"""Memory that is free but kept goes back to the system when a process has become larger than it may, and not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Buffers of a tenth of a megabyte, every second of which is needed no more: what lies between is free, and kept.
PROGRAM = """
import sys
import pyarrow as pa
from archiver.archive.memory import give_memory_back, trim_above

def resident_bytes():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

give_memory_back()
held = [pa.allocate_buffer(100_000) for _ in range(2_000)]
for buffer in held:
    memoryview(buffer).cast("B")[:] = bytes(100_000)
del held[::2], buffer
before = resident_bytes()
trim_above(int(sys.argv[1]))
print(before - resident_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how large a process is now")
@pytest.mark.parametrize(("above", "gave_back"), [(50_000_000, True), (50_000_000_000, False)])
def test_a_process_gives_back_what_lies_free_when_it_is_large(above: int, *, gave_back: bool) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(above)], check=True, capture_output=True, text=True)
    assert (int(done.stdout) > 50_000_000) == gave_back


# What a batch needs and frees, again and again. A process that may keep nothing is no measure: what its allocator keeps all the same
# depends on what happens to lie behind it.
KEEPING = """
import resource
import sys
import pyarrow as pa
from archiver.archive.memory import give_memory_back

give_memory_back(kept_bytes_max=int(sys.argv[1]))

def pages_found():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for number in range(12):
    if number == 2:
        before = pages_found()
    for buffer in [pa.allocate_buffer(10_000_000) for _ in range(4)]:
        memoryview(buffer).cast("B")[:] = bytes(10_000_000)
    del buffer
print(pages_found() - before, 10 * 4 * 10_000_000 // resource.getpagesize())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="another system's allocator has rules of its own")
def test_what_is_needed_again_and_again_is_kept_where_a_process_may() -> None:
    done = subprocess.run(
        [sys.executable, "-c", KEEPING, str(64 * 1024 * 1024)], check=True, capture_output=True, text=True
    )
    found, needed = map(int, done.stdout.split())
    assert found < needed / 4


# What Arrow's own parts ask for without being told of whom; an allocator that is not the system's may be missing in a build of it.
CHOSEN = """
import sys
from archiver.archive.memory import use_system_allocator
assert "pyarrow" not in sys.modules
if sys.argv[1] == "chosen":
    use_system_allocator()
import pyarrow as pa
print(pa.default_memory_pool().backend_name)
"""


def test_all_of_arrow_uses_the_systems_allocator_where_that_is_said_before_it_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
    told, left = (
        subprocess.run([sys.executable, "-c", CHOSEN, each], check=True, capture_output=True, text=True).stdout.strip()
        for each in ("chosen", "left")
    )
    assert told == "system"
    assert left != "system", "this Arrow has no other, and nothing need be said"
