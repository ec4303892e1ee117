"""A compliance archiver and message export pipeline for the Flock team messenger.

Data goes one way, top to bottom, and a module imports only from the floors below it:

=====  =====================================================================
floor  what stands there
=====  =====================================================================
5      ``cli`` (the only printer), ``wiring``, ``settings`` (the only reader of the environment)
4      ``run`` (the nightly run), ``simulator`` (a faithful Flock for demo and tests)
3      ``capture``, ``custody``, ``query``: verbs over an archive
2      ``archive``: layout, schema, tables, blobs, ledger, commit, reader
1      ``flock``, ``spool``, ``normalise``, ``store``: sealed siblings
0      ``errors``, ``clock``, ``ids``, ``model``: facts and pure functions
=====  =====================================================================
"""

from __future__ import annotations

__version__ = "0.1.0"
