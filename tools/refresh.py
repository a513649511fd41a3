"""Run the notebooks and store their outputs in normal form.

    python tools/refresh.py                   # every notebook of the book
    python tools/refresh.py book/a/b.ipynb    # these
    python tools/refresh.py --check           # run nothing; fail if one is not in normal form

In normal form a rerun that prints the same gives the same file, byte for byte, and a change of one
cell is a change of a few lines: ids come from the source, and no time, path or state of an editor
is kept.
"""

import argparse
import hashlib
import re
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[1]
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
# `nbval-reason` says why a cell's output is not compared (tests/notebooks).
CELL_METADATA = {"tags", "mystnb", "nbval-reason"}
CELL_PATH = re.compile(r"\S*ipykernel_\d+/\d+\.py")
SLOW = 20  # seconds


def normalise(nb):
    """Bring a notebook, in place, into the form in which it is stored."""
    nb.nbformat, nb.nbformat_minor = 4, 5
    nb.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    same, count = Counter(), 0
    for cell in nb.cells:
        cell.metadata = nbformat.from_dict(
            {key: value for key, value in cell.metadata.items() if key in CELL_METADATA}
        )
        cell.source = "\n".join(line.rstrip() for line in cell.source.split("\n")).strip("\n")
        digest = hashlib.sha1(cell.source.encode()).hexdigest()[:8]
        same[digest] += 1
        cell.id = digest if same[digest] == 1 else f"{digest}-{same[digest]}"
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                normalise_output(output, count)
    return nb


def normalise_output(output, count):
    if output.output_type == "execute_result":
        output.execution_count = count
    if output.output_type == "stream":
        output.text = CELL_PATH.sub("<cell>", output.text)
    elif output.output_type == "error":  # a traceback holds colours, paths and addresses
        output.traceback = [f"{output.ename}: {output.evalue}"]
    else:  # `scrapbook` names the numbers that a page inserts into its text
        output.metadata = nbformat.from_dict(
            {key: value for key, value in output.metadata.items() if key == "scrapbook"}
        )


def dumps(nb):
    nbformat.validate(nb)
    return nbformat.writes(nb).rstrip("\n") + "\n"


def refresh(path):
    """Run one notebook and store it; return what to print about it."""
    old = path.read_text("utf-8")
    nb = nbformat.reads(old, as_version=4)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    start = time.perf_counter()
    try:
        NotebookClient(
            nb,
            timeout=300,
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=True,
            extra_arguments=["--IPKernelApp.log_level=40"],  # no warning about TCP
            resources={"metadata": {"path": str(path.parent)}},
        ).execute()
    except CellExecutionError as error:
        return f"FAILED   {path}\n{error}"
    seconds = time.perf_counter() - start
    new = dumps(normalise(nb))
    if new != old:
        path.write_text(new, "utf-8")
    state = "same   " if new == old else "changed"
    return f"{state} {seconds:5.1f} s  {path}" + ("  TOO SLOW" if seconds > SLOW else "")


def is_normal(path):
    text = path.read_text("utf-8")
    return dumps(normalise(nbformat.reads(text, as_version=4))) == text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: every one in book/")
    parser.add_argument("--check", action="store_true", help="run nothing, only check the form")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="notebooks at a time (2)")
    args = parser.parse_args()
    paths = args.notebooks or sorted((ROOT / "book").rglob("*.ipynb"))
    paths = [path for path in paths if ".ipynb_checkpoints" not in path.parts]
    if args.check:
        bad = [path for path in paths if not is_normal(path)]
        for path in bad:
            print(f"not in normal form (make refresh): {path}")
        return bool(bad)
    failed = False
    with ProcessPoolExecutor(args.jobs) as pool:
        for line in pool.map(refresh, paths):
            print(line, flush=True)
            failed |= line.startswith("FAILED")
    return failed


if __name__ == "__main__":
    sys.exit(main())
