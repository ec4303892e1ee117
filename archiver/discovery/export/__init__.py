"""Exports: what a matter asks for as one package, in any number of formats, that a receiver can check without us.

`record` is what the writers of `formats` are given and `sink` where they write; neither does I/O. `archiver.discovery.checks` reads
packages back and imports none of this, so that it cannot share a mistake with the writers.
"""

from __future__ import annotations
