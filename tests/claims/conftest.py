"""The ledger of the claims that are settled by a test: what each run measured.

A test calls ``ledger("ACT-05", holds=..., measured="...")``. The text must equal the one kept in
``companion/teaching/ledger.json``; ``pytest tests/claims --update-ledger`` writes that file anew.
"""

import json
from pathlib import Path

import pytest

from companion.teaching.claims import claim

ROOT = Path(__file__).parents[2]
LEDGER = ROOT / "companion/teaching/ledger.json"
STORED = pytest.StashKey[dict]()
SETTLED = pytest.StashKey[dict]()


def pytest_addoption(parser):
    parser.addoption(
        "--update-ledger", action="store_true", help="write what the claim tests measured"
    )


def updating(config):
    # The option is unknown when the run starts above this folder.
    return config.getoption("--update-ledger", default=False)


@pytest.fixture
def ledger(request):
    """Settle a claim and hold the measured text to the one in the ledger."""
    stash = request.config.stash
    stored = stash.setdefault(STORED, json.loads(LEDGER.read_text("utf-8")))
    settled = stash.setdefault(SETTLED, {})
    where = request.node.nodeid.split("[")[0]

    def settle(id, *, holds=None, measured=""):
        claim(id, holds=holds, measured=measured)
        entry = {"measured": measured, "where": where}
        assert settled.setdefault(id, entry) == entry, f"{id}: settled twice, {settled[id]}"
        if not updating(request.config):
            assert stored.get(id) == entry, (
                f"{id}: the ledger says {stored.get(id)}, this run {entry}; if the new value is "
                "right, run: pytest tests/claims --update-ledger"
            )

    return settle


def exists(where):
    """Tell whether the test that settled a claim is still there."""
    file, name = where.split("::")
    return (ROOT / file).exists() and f"def {name}(" in (ROOT / file).read_text("utf-8")


def pytest_sessionfinish(session, exitstatus):
    settled = session.config.stash.get(SETTLED, {})
    if exitstatus or not settled or not updating(session.config):
        return
    ran = {item.nodeid.split("[")[0] for item in session.items}
    kept = {
        id: entry
        for id, entry in session.config.stash[STORED].items()
        if entry["where"] not in ran and exists(entry["where"])
    }
    entries = dict(sorted((kept | settled).items()))
    LEDGER.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", "utf-8")
