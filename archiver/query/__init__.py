"""Questions to an archive in SQL: DuckDB with a view per table over exactly the files that are live at one head.

Start at `engine.open_engine`. The SQL is the user's and is not trusted: it may read the archive's tables and nothing else. It writes
nothing, here or in the store; it opens no other file and no address; it loads no extension; and it asks nothing of the environment.
`views`, `derived` and `macros` are the text of the views and macros; they do no I/O.
"""

from __future__ import annotations
