"""The claims of the source notes, and the box that settles one of them in a page.

``claims.json`` holds one row for every claim. A notebook settles a claim by ending a cell with
``claim("ACT-26", holds=mean > 0, measured=f"mean output {mean:.4f}")``; a test does the same
through the ``ledger`` fixture of ``tests/claims``.
"""

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from html import escape
from importlib.resources import files

VERDICTS = {
    "correct": "Correct",
    "conditional": "Correct under conditions",
    "wrong": "Wrong",
    "opinion": "Opinion",
    "unconfirmed": "Not confirmed",
}


@dataclass(frozen=True)
class Claim:
    """One statement of the notes and what became of it.

    `verdict` is a key of `VERDICTS`; `cite` lists keys of the bibliography and `source` lists
    places in the notes as ``file:lines``. `evidence` is ``"run"`` where an experiment settles
    the claim and ``"citation"`` where only the literature can.
    """

    id: str
    chapter: str
    statement: str
    verdict: str
    correction: str
    reference: str
    cite: tuple[str, ...]
    source: tuple[str, ...]
    evidence: str = "run"


@dataclass(frozen=True)
class Box:
    """A settled claim, as a page shows it."""

    claim: Claim
    measured: str = ""

    def __repr__(self):
        c = self.claim
        lines = [
            f"{c.id} · {_head(c, '✓')}",
            f"Claim: {c.statement}",
            f"{_label(c)}: {c.correction}",
            f"Measured: {self.measured}" if self.measured else "",
            f"Reference: {c.reference}",
        ]
        return "\n".join(line for line in lines if line)

    def _repr_html_(self):
        c = self.claim
        tick = '<span class="claim-tick" title="confirmed by this run">✓</span>'
        parts = [
            f"<strong>{c.id}</strong> · {_head(c, tick)}",
            f"<em>Claim:</em> {_html(c.statement)}",
            f"<em>{_label(c)}:</em> {_html(c.correction)}",
            f"<em>Measured:</em> {_html(self.measured)}" if self.measured else "",
            f"<em>Reference:</em> {_html(c.reference)}",
        ]
        names = ("head", "statement", "correction", "measured", "reference")
        body = "".join(
            f'<p class="claim-{name}">{part}</p>'
            for name, part in zip(names, parts, strict=True)
            if part
        )
        # The variables let a style sheet win over the inline style that JupyterLab shows.
        return (
            f'<div class="claim claim-{c.verdict}" id="claim-{c.id.lower()}" '
            f'data-claim="{c.id}" data-measured="{escape(self.measured)}" '
            'style="border-left:var(--claim-rule,4px solid #8a8a8a);'
            f'padding:var(--claim-padding,0 1em)">{body}</div>'
        )


@cache
def load():
    """Return all claims by id, in the order of the chapters."""
    rows = json.loads(files(__package__).joinpath("claims.json").read_text("utf-8"))
    return {
        row["id"]: Claim(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()})
        for row in rows
    }


def claim(id, *, holds=None, measured=""):
    """Settle a claim of the notes and return its box, the last value of a notebook cell.

    Parameters
    ----------
    id : str
        The claim's id, such as ``"ACT-13"``.
    holds : bool, optional
        Whether the run confirmed *our verdict* (not the notes' statement). Left out where no
        run can: for an opinion, an unconfirmed claim and one settled by citation.
    measured : str, optional
        What was measured, in words and rounded to what every run reproduces. Required
        together with `holds`.

    Returns
    -------
    Box
        Shows itself as HTML in a notebook and as text elsewhere.

    Raises
    ------
    AssertionError
        If `holds` is false: the run contradicts the verdict in the claims file.
    ValueError
        If there is no such claim, or `holds` and `measured` do not go with its verdict.

    Examples
    --------
    >>> claim("ACT-26", holds=True, measured="mean output 0.3989").claim.verdict
    'correct'
    """
    try:
        c = load()[id]
    except KeyError:
        near = get_close_matches(str(id).upper(), load()) or ["ACT-01"]
        raise ValueError(
            f"id must be the id of a claim, such as {', '.join(near)}; got {id!r}"
        ) from None
    if not _needs_a_run(c):
        if holds is not None:
            kind = "citation" if c.evidence == "citation" else VERDICTS[c.verdict].lower()
            raise ValueError(f"holds must be left out for {id} ({kind}); got {holds!r}")
        return Box(c, measured)
    if holds is None or not measured:
        raise ValueError(
            f"{id} is settled by a run: expected holds=<bool> and a measured=<text>; "
            f"got holds={holds!r}, measured={measured!r}"
        )
    if not holds:
        raise AssertionError(
            f"{id}: the run contradicts our verdict {VERDICTS[c.verdict].lower()!r}\n"
            f"  claim:    {c.statement}\n"
            f"  verdict:  {c.correction}\n"
            f"  measured: {measured}"
        )
    return Box(c, measured)


def _needs_a_run(c):
    return c.evidence == "run" and c.verdict in ("correct", "conditional", "wrong")


def _head(c, tick):
    how = {"citation": " (by citation)", "run": f" {tick}" if _needs_a_run(c) else ""}
    return VERDICTS[c.verdict] + how[c.evidence]


def _label(c):
    if c.verdict in ("opinion", "unconfirmed"):
        return "What is known"
    return {"correct": "Note", "conditional": "Conditions", "wrong": "What is right"}[c.verdict]


def _html(text):
    r"""Escape `text`, mark its code, and write ``$x$`` as ``\(x\)`` in a span to be typeset."""
    text = re.sub(r"`(.+?)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\$(.+?)\$", r'<span class="math notranslate nohighlight">\\(\1\\)</span>', text)
