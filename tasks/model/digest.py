"""One way to turn a value into a digest."""

import hashlib
from typing import Any

import rfc8785


def digest(value: Any) -> str:
    """Return the SHA-256, in hexadecimal, of the RFC 8785 canonical JSON of `value`.

    Integers beyond 2**53 cannot be represented in canonical JSON and raise `rfc8785.IntegerDomainError`;
    pass them as strings.
    """
    return hashlib.sha256(rfc8785.dumps(value)).hexdigest()
