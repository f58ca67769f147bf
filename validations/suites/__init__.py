"""Great Expectations suites that a spec binds to a gate.

A suite is a function without arguments that returns an `ExpectationSuite`, or a file that holds one as JSON.
A spec names it `validations.suites.orders:complete@public.orders` or `suites/orders.json@public.orders`, under
`gates: before_swap` or `gates: after_swap`; the table may be left out where the migration changes only one.
Import Great Expectations inside the function: it takes seconds. What an expectation reads is the table as a
gate's session sees it, before the swap with its old names.
"""
