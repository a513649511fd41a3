"""The claims ledger, put together when the book is built.

    ```{claims-ledger} activations
    ```

makes a table of the chapter's claims: what the notes say, our verdict, what was measured, and
where. The rows come from `companion/teaching/claims.json`; the measurements from the boxes in the
stored notebooks and from `companion/teaching/ledger.json`, which the claim tests write.

    {claim}`ACT-19`

links to the claim's row.
"""

import json
import re
from collections import Counter
from html import unescape
from pathlib import Path

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from book_notebooks import join
from companion.teaching import claims

log = logging.getLogger(__name__)
BOX = re.compile(r'id="(?P<anchor>claim-[^"]+)" data-claim="(?P<id>[^"]+)" data-measured="([^"]*)"')
SIGNS = {"correct": "✓", "conditional": "±", "wrong": "✗", "opinion": "–", "unconfirmed": "?"}
LEDGER = "book/appendix/claims"
TEACHING = Path(claims.__file__).parent


def boxes(notebook):
    """Yield (id, anchor, measured) of the claims that a notebook settles."""
    for cell in json.loads(notebook.read_text("utf8"))["cells"]:
        for output in cell.get("outputs", []):
            html = join(output.get("data", {}).get("text/html", ""))
            for match in BOX.finditer(html):
                yield match["id"], match["anchor"], unescape(match[3])


class ClaimsLedger(SphinxDirective):
    required_arguments = 1

    def run(self):
        chapter = self.arguments[0]
        rows = [c for c in claims.load().values() if c.chapter == chapter]
        if not rows:
            raise self.error(f"claims-ledger: no chapter {chapter!r} in claims.json")
        for file in ("claims.json", "ledger.json"):
            self.env.note_dependency(str(TEACHING / file))
        in_tests = json.loads((TEACHING / "ledger.json").read_text("utf8"))
        in_pages = self.in_pages()
        table = self.table(rows, in_pages, in_tests)
        settled = [c for c in rows if self.settled(c, in_pages, in_tests)]
        if not settled:
            summary = f"{len(rows)} claims, to come with the chapter."
        else:
            counts = Counter(c.verdict for c in settled)
            parts = [f"{n} {claims.VERDICTS[v].lower()}" for v in SIGNS if (n := counts[v])]
            summary = f"{len(settled)} of {len(rows)} claims settled: {', '.join(parts)}."
        return [nodes.paragraph("", summary), table]

    def in_pages(self):
        found = {}
        for docname in sorted(self.env.found_docs):
            file = Path(self.env.doc2path(docname))
            if file.suffix != ".ipynb":
                continue
            self.env.note_dependency(str(file))
            for id, anchor, measured in boxes(file):
                if id in found:
                    log.warning("%s is settled twice, again in %s", id, docname, type="claims")
                found[id] = (docname, anchor, measured)
        return found

    @staticmethod
    def settled(claim, in_pages, in_tests):
        return claim.id in in_pages or claim.id in in_tests

    def table(self, rows, in_pages, in_tests):
        group = nodes.tgroup("", cols=4)
        group += [nodes.colspec(colwidth=width) for width in (10, 48, 16, 26)]
        group += nodes.thead(
            "", self.row("Claim", "What the notes say, and what holds", "Verdict", "Measured")
        )
        body = nodes.tbody()
        for claim in rows:
            statement = [self.text(claim.statement)]
            verdict, measured = "to come", []
            if self.settled(claim, in_pages, in_tests):
                statement += [self.text(claim.correction, "claim-correction")]
                word = claims.VERDICTS[claim.verdict]
                verdict = nodes.inline(
                    "", f"{SIGNS[claim.verdict]} {word}", classes=[f"verdict-{claim.verdict}"]
                )
                measured = self.evidence(claim, in_pages, in_tests)
            row = self.row(claim.id, statement, verdict, measured)
            row["ids"] = [f"ledger-{claim.id.lower()}"]
            body += row
        group += body
        return nodes.table("", group, classes=["ledger"])

    def evidence(self, claim, in_pages, in_tests):
        if claim.id in in_pages:
            docname, anchor, measured = in_pages[claim.id]
            uri = self.env.app.builder.get_relative_uri(self.env.docname, docname)
            title = "where it is run"
            where = nodes.reference("", title, refuri=f"{uri}#{anchor}", internal=True)
        else:
            entry = in_tests[claim.id]
            measured = entry["measured"]
            where = nodes.literal("", entry["where"].removeprefix("tests/claims/"))
        parts = [self.text(measured)] if measured else [self.text(claim.reference)]
        return [*parts, nodes.paragraph("", "", where, classes=["claim-where"])]

    def text(self, text, *classes):
        """Parse `text` as inline MyST, for its formulas and emphasis."""
        children, messages = self.state.inline_text(text, self.lineno)
        return nodes.paragraph(text, "", *children, *messages, classes=list(classes))

    @staticmethod
    def row(*cells):
        row = nodes.row()
        for cell in cells:
            if isinstance(cell, str):
                cell = nodes.inline("", cell)
            if isinstance(cell, nodes.inline):
                cell = [nodes.paragraph("", "", cell)]
            row += nodes.entry("", *cell)
        return row


class ClaimRole(SphinxRole):
    def run(self):
        if self.text not in claims.load():
            log.warning("no claim %r", self.text, location=self.get_location(), type="claims")
        uri = self.env.app.builder.get_relative_uri(self.env.docname, LEDGER)
        link = nodes.reference(self.rawtext, self.text, internal=True, classes=["claim-id"])
        link["refuri"] = f"{uri}#ledger-{self.text.lower()}"
        return [link], []


def setup(app):
    app.add_role("claim", ClaimRole())
    app.add_directive("claims-ledger", ClaimsLedger)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
