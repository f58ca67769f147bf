"""`python -m docs`: write the reference pages again."""

from docs.generate import main

main()
