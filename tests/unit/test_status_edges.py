"""The state machine of a migration: what must hold of EDGES, whatever edges there are."""

from collections import deque

import pytest

from tasks.model.status import EDGES, MigrationState

S = MigrationState
BEFORE_THE_POINT_OF_NO_RETURN = set(S) - {S.CONTRACTING, S.CONTRACTED, S.ROLLED_BACK}


def reachable(start: MigrationState) -> set[MigrationState]:
    seen: set[MigrationState] = set()
    queue = deque([start])
    while queue:
        for state in EDGES[queue.popleft()] - seen:
            seen.add(state)
            queue.append(state)
    return seen


def test_every_state_has_its_edges() -> None:
    assert set(EDGES) == set(S)


@pytest.mark.parametrize("state", sorted(set(S) - {S.PLANNED}))
def test_every_state_can_be_reached_from_planned(state: MigrationState) -> None:
    assert state in reachable(S.PLANNED)


@pytest.mark.parametrize("state", sorted(S))
def test_every_state_leads_to_an_end_or_is_one(state: MigrationState) -> None:
    assert state is S.CONTRACTED or {S.CONTRACTED, S.ROLLED_BACK} & (reachable(state) | {state})


@pytest.mark.parametrize("state", sorted(BEFORE_THE_POINT_OF_NO_RETURN))
def test_rollback_is_one_edge_away_until_contract(state: MigrationState) -> None:
    assert S.ROLLING_BACK in EDGES[state]


@pytest.mark.parametrize("state", [S.CONTRACTING, S.CONTRACTED])
def test_there_is_no_way_back_from_contract(state: MigrationState) -> None:
    assert reachable(state) <= {S.CONTRACTING, S.CONTRACTED}


def test_the_swap_comes_only_from_a_run_and_contract_only_from_complete() -> None:
    assert {state for state in S if S.SWAPPED in EDGES[state]} == {S.RUNNING, S.SWAPPED}
    assert {state for state in S if S.CONTRACTING in EDGES[state]} == {S.COMPLETE, S.CONTRACTING}
    assert {state for state in S if S.COMPLETE in EDGES[state]} == {S.SWAPPED}


def test_what_is_rolled_back_was_being_rolled_back() -> None:
    assert {state for state in S if S.ROLLED_BACK in EDGES[state]} == {S.ROLLING_BACK}
    assert EDGES[S.ROLLING_BACK] == {S.ROLLING_BACK, S.ROLLED_BACK}


def test_nothing_becomes_planned_again() -> None:
    assert not [state for state in S if S.PLANNED in EDGES[state]]


@pytest.mark.parametrize("state", [S.RUNNING, S.SWAPPED, S.CONTRACTING, S.ROLLING_BACK])
def test_a_state_in_which_a_run_may_die_can_be_entered_again(state: MigrationState) -> None:
    assert state in EDGES[state]
