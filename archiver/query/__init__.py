"""Questions to an archive in SQL: DuckDB with a view per table over exactly the files that are live at one head.

Start at `engine.open_engine`. The SQL is the user's and is not trusted: it may read the archive's tables and nothing else. It writes
nothing, here or in the store; it opens no other file and no address; it loads no extension; and it asks nothing of the environment.
`views`, `derived`, `days` and `macros` are the text of the views and macros; they do no I/O.

`dialects` writes the views in the SQL of other engines. `athena` asks Athena, after `athena_ddl` and `athena_glue` showed it the tables of
one head; `iceberg` publishes heads as Iceberg tables; `script` is for a DuckDB without us.
"""

from __future__ import annotations
