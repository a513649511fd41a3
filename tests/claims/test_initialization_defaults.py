"""A claim about initial values that no run can settle."""


def test_the_lost_pictures(ledger):
    ledger("INIT-18")
