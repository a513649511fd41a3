"""Time of ``import companion`` against ``import numpy``, each in fresh processes by turns."""

import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks import HERE, conditions, write

ROUNDS = 41
#: ``import companion`` may take this many times as long as ``import numpy``.
BAR = 1.3

# Timed inside, so that the interpreter's own start does not blur the ratio.
PROGRAM = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(module: str) -> float:
    """Import `module` in a fresh process and return the seconds it took."""
    command = [sys.executable, "-c", PROGRAM.format(module)]
    return float(subprocess.run(command, capture_output=True, check=True, cwd=HERE.parent).stdout)


def measure(rounds: int = ROUNDS) -> dict[str, Any]:
    """Return the medians in milliseconds and the median of the rounds' ratios."""
    for module in ("numpy", "companion"):  # once unmeasured: the files come from the disk
        seconds(module)
    times = [(seconds("numpy"), seconds("companion")) for _ in range(rounds)]
    return {
        "numpy_ms": round(1e3 * statistics.median(a for a, _ in times), 1),
        "companion_ms": round(1e3 * statistics.median(b for _, b in times), 1),
        "ratio": round(statistics.median(b / a for a, b in times), 3),
        "rounds": rounds,
    }


def main() -> None:
    start = time.time()
    result = measure()
    print(
        f"import numpy {result['numpy_ms']} ms, import companion {result['companion_ms']} ms, "
        f"ratio {result['ratio']} (bar {BAR})"
    )
    write("imports", {**conditions(), **result, "seconds": round(time.time() - start, 1)})


if __name__ == "__main__":
    main()
