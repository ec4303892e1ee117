"""Discovery: finding what a matter asks for, handing it over in forms that others can load and check, and bringing it back.

Everything reads one head of an archive and changes none of its rows; what is done on behalf of a matter is entered in the ledger.
"""

from __future__ import annotations
