"""What passes by itself of the errors of MongoDB."""

from pymongo.errors import OperationFailure

from tasks.engines.mongodb.errors import is_transient


def test_a_transaction_that_an_election_has_ended_is_tried_again() -> None:
    """The server gives a number of its own to each reason, and one label to all."""
    labelled = {"errorLabels": ["TransientTransactionError"]}
    assert is_transient(OperationFailure("no such transaction", 251, labelled))
    assert not is_transient(OperationFailure("no such transaction", 251, {}))
