"""The claims file is whole, and a claim is settled only as its verdict allows."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from companion.teaching.claims import VERDICTS, claim, load

ROOT = Path(__file__).parents[1]
CHAPTERS = {
    "ACT": "activations",
    "BP": "backprop",
    "OPT": "optimizers",
    "INIT": "initialization",
    "GRAD": "gradients",
    "LOSS": "losses",
    "TRICK": "tricks",
}
# Rows of the inventory that was made of the source notes.
COUNTS = {
    "correct": (31, 6, 9, 8, 9, 19, 19),
    "conditional": (33, 2, 11, 7, 16, 13, 17),
    "wrong": (8, 1, 10, 3, 8, 6, 2),
    "opinion": (4, 0, 0, 0, 2, 1, 1),
    "unconfirmed": (2, 1, 0, 1, 1, 0, 0),
}
LINES = {
    "001_0258ad8fcf47ae02.txt": 371,
    "002_a99c80d8fc227d97.txt": 94,
    "003_9780c6e2ef007885.txt": 172,
    "004_4b5c04e22d68e434.txt": 103,
}
CLAIMS = list(load().values())


def test_all_claims_are_there():
    rows = json.loads((ROOT / "companion/teaching/claims.json").read_text("utf-8"))
    assert len(rows) == len(CLAIMS) == 251  # no id occurs twice
    counts = Counter((c.verdict, c.chapter) for c in CLAIMS)
    for verdict, expected in COUNTS.items():
        assert tuple(counts[verdict, chapter] for chapter in CHAPTERS.values()) == expected


def test_ids_count_up_in_each_chapter():
    for prefix, chapter in CHAPTERS.items():
        ids = [c.id for c in CLAIMS if c.chapter == chapter]
        assert ids == [f"{prefix}-{i:02d}" for i in range(1, len(ids) + 1)]


@pytest.mark.parametrize("c", CLAIMS, ids=lambda c: c.id)
def test_row(c):
    assert c.verdict in VERDICTS
    assert c.evidence in ("run", "citation")
    for text in (c.statement, c.correction):
        assert text.endswith((".", "?"))
        assert text.count("$") % 2 == 0
        outside = re.sub(r"\$.*?\$|`.*?`", "", text)
        assert not re.search(r"[\\_^]", outside), "TeX outside of dollars"
    assert c.reference
    assert c.cite or c.reference.startswith("Follows from")
    assert c.source
    for place in c.source:
        file, _, lines = place.partition(":")
        first, _, last = lines.partition("-")
        assert 1 <= int(first) <= int(last or first) <= LINES[file]


def test_citations_are_in_the_bibliography():
    bib = (ROOT / "book/references.bib").read_text("utf-8")
    keys = re.findall(r"^@\w+\{([^,]+),", bib, re.M)
    assert len(keys) == len(set(keys))
    assert {key for c in CLAIMS for key in c.cite} <= set(keys)


def test_ledger_points_to_tests():
    ledger = json.loads((ROOT / "companion/teaching/ledger.json").read_text("utf-8"))
    for id, entry in ledger.items():
        assert set(entry) == {"measured", "where"}
        file, name = entry["where"].split("::")
        text = (ROOT / file).read_text("utf-8")
        assert f"def {name}(" in text
        assert id in text


@pytest.mark.parametrize("yes", [True, np.bool_(True), np.array(3) > 2])
def test_confirmed_claim(yes):
    box = claim("ACT-26", holds=yes, measured="mean < 1")
    assert "✓" in repr(box)
    assert "Measured: mean < 1" in repr(box)
    html = box._repr_html_()
    assert html.startswith('<div class="claim claim-correct" id="claim-act-26" data-claim="ACT-26"')
    assert 'data-measured="mean &lt; 1"' in html
    assert "$" not in html


def test_torch_bool_is_taken():
    torch = pytest.importorskip("torch")
    assert "✓" in repr(claim("ACT-26", holds=torch.tensor(1.0) > 0, measured="1 > 0"))


@pytest.mark.parametrize("no", [False, np.bool_(False)])
def test_contradicted_claim_fails(no):
    with pytest.raises(AssertionError, match=r"(?s)ACT-41.*measured: slope 0.5"):
        claim("ACT-41", holds=no, measured="slope 0.5")


@pytest.mark.parametrize("id", ["ACT-30", "ACT-32", "ACT-19"])
def test_what_no_run_can_settle_gets_no_tick(id):
    box = claim(id)
    assert "✓" not in repr(box)
    assert "✓" not in box._repr_html_()
    with pytest.raises(ValueError, match=f"holds must be left out for {id}"):
        claim(id, holds=True, measured="something")


def test_run_must_say_what_it_measured():
    with pytest.raises(ValueError, match="ACT-26 is settled by a run"):
        claim("ACT-26")
    with pytest.raises(ValueError, match="measured=''"):
        claim("ACT-26", holds=True)


def test_unknown_id_lists_near_ones():
    with pytest.raises(ValueError, match=r"such as ACT-26.*got 'act-26'"):
        claim("act-26")
