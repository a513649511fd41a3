"""Measurements kept in JSON beside their programs; the book's pages read them from there."""

import datetime
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

# One thread, here and in every process started from here; read when NumPy and torch are imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"


def conditions() -> dict[str, Any]:
    """Tell when, on what and with which versions a measurement was made."""
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu(),
        "threads": 1,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("numpy", "scipy", "torch")},
        },
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or "unknown"
    return f"{model}, {platform.machine()}, {os.cpu_count()} cores"


def read(name: str) -> dict[str, Any]:
    """Return the record `name`, or an empty one where there is none yet."""
    path = HERE / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write(name: str, record: dict[str, Any]) -> None:
    """Keep a record as ``benchmarks/<name>.json``."""
    (HERE / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
