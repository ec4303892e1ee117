"""What somebody brings in a file, as items for the archive: pure reading, item by item, always in the same order.

``records`` says what an item and a source of them are, ``opened`` reads a file that may be packed, cut or hostile, ``uid_lists``,
``mapped`` and ``slack`` know the three kinds, ``survey`` counts what is in one. What goes into the archive is decided in
`archiver.run.imports`.
"""
