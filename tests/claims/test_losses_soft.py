"""Claims about label smoothing that no run can settle."""

from companion.teaching.claims import load


def test_where_label_smoothing_comes_from(ledger):
    assert load()["TRICK-19"].cite
    ledger("TRICK-19")
