"""The archive, format 1: committed data that anyone can read with standard tools.

``layout`` names the keys, ``schema`` the columns, ``tables`` turns rows into Parquet, ``home`` says under which day a
message is found again, ``blobs`` keeps the bytes of files by their digest, ``ledger`` is the chain of commits,
``commit`` adds to it, ``reader`` knows what is live at the head, ``recover`` clears what a crash left behind. This
package alone knows what a key or a column is called.

The order of a commit is what everything rests on: first a note of what will be written (``ledger/pending``), then the
data objects, then the ledger entry, created only if absent, then the note goes. A crash leaves the old head or the
new one, and the note tells the next run which objects nobody names.
"""
