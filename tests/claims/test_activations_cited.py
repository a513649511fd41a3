"""Claims about activations that no run can settle: the literature does, or nothing."""

import pytest

from companion.teaching.claims import load


@pytest.mark.parametrize(
    "id", ["ACT-19", "ACT-34", "ACT-49", "ACT-59", "ACT-68", "ACT-69", "ACT-72"]
)
def test_settled_by_citation(id, ledger):
    assert load()[id].cite
    ledger(id)
