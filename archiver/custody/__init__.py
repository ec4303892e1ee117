"""Custody: showing that the archive is what its ledger says, with nothing but the archive.

Start at `verify.verify`. ``chain`` reads the ledger from its first entry and tells what must be there; ``objects`` holds one stored object
against what the ledger says of it; ``strays`` finds what no entry names. ``findings`` are the values that come out. None of this needs
the spool, Flock or the machine that wrote the archive.
"""

from __future__ import annotations
