"""Great Expectations suites that a spec binds to a gate.

A suite is a function that returns an `ExpectationSuite`, or a file that holds one as JSON; `rules` has some that are
ready-made.
A spec names it `validations.suites.orders:complete@public.orders` or `suites/orders.json@public.orders`, under
the name of a gate; the table may be left out where the migration changes only one.
Import Great Expectations inside the function: it takes seconds. What an expectation reads is the table as a
gate's session sees it, before the swap with its old names.
"""
