"""Whether two tables hold the same rows: exactly, while applications write, without reading more than it must.

Digests say where two tables may differ; only values decide that they do. So a digest has to tell apart whatever
differs, and may be wrong the other way: what is equal after all is found out row by row.

relation    a table as it is compared: columns, key     pairing     which column is held against which
terms       values, keys and digests as SQL             passes      digests by part, then rows of parts
settle      read again until the source stands still    report      what was found
side        a table of some engine, to be asked         compare     all of it, in order
"""
