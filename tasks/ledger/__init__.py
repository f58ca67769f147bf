"""What was done: the state of every migration, its cursors, and the hash-chained audit log.

Everything lies in schema `changeover` of the migrated database, so that an entry commits with the change that
it describes. Every function takes an open connection and joins the transaction of its caller; only on an
autocommit connection without one does it open, and commit, its own.

install       create the schema, bring it forward            grants       what the running role needs
state         migrations and plans                           transitions  from state to state
fencing       one run at a time                              steps        what is done and undone
cursors       how far the shards are                         controls     pause, batch size
approvals     who agreed to which plan                       gates        results of gates, rejections
snapshots     facts from before                              audit        append to the log
verify        recompute the log                              anchor       its head, outside the database

Locks, always in this order, so that no two transactions can wait for each other: the fence of the migration,
locks on tables of the user, rows of the ledger, and last the audit log.
"""
