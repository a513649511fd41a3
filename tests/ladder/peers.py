"""The same functions in torch, and the worst error of both.

``python -m tests.ladder.peers`` prints the table and writes it to ``benchmarks/accuracy.json``,
from which the book draws.
"""

from __future__ import annotations

import datetime
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from companion.registry import REGISTRY, Row
from tests.ladder import reference
from tests.ladder.reference import DTYPES

RECORD = Path(__file__).parents[2] / "benchmarks/accuracy.json"

#: (row, setting) -> torch's function
PEERS: dict[tuple[str, int], Any] = {
    ("identity", 0): torch.nn.Identity(),
    ("heaviside", 0): lambda x: torch.heaviside(x, x.new_ones(())),
    ("heaviside", 1): lambda x: torch.heaviside(x, x.new_full((), 0.5)),
    ("sigmoid", 0): torch.sigmoid,
    ("hardsigmoid", 0): F.hardsigmoid,
    ("tanh", 0): torch.tanh,
    ("softsign", 0): F.softsign,
    ("relu", 0): torch.relu,
    ("relu6", 0): F.relu6,
    ("leaky_relu", 0): F.leaky_relu,
    ("leaky_relu", 1): lambda x: F.leaky_relu(x, 0.3),
    ("leaky_relu", 2): lambda x: F.leaky_relu(x, 1.5),
    ("prelu", 0): lambda x: F.prelu(x, x.new_full((1,), 0.25)),
    ("prelu", 2): lambda x: F.prelu(x, x.new_full((1,), -0.5)),
    ("rrelu", 0): F.rrelu,
    ("softplus", 0): F.softplus,
    ("elu", 0): F.elu,
    ("elu", 1): lambda x: F.elu(x, 0.5),
    ("elu", 2): lambda x: F.elu(x, 2.0),
    ("celu", 0): F.celu,
    ("celu", 1): lambda x: F.celu(x, 2.0),
    ("selu", 0): F.selu,
    ("silu", 0): F.silu,
    ("hardswish", 0): F.hardswish,
    ("mish", 0): F.mish,
    ("gelu", 0): F.gelu,
    ("gelu", 1): lambda x: F.gelu(x, approximate="tanh"),
    ("glu", 0): F.glu,
    ("softmax", 0): lambda x: torch.softmax(x, -1),
    ("softmax", 1): lambda x: torch.softmax(x / 2.5, -1),
    ("log_softmax", 0): lambda x: torch.log_softmax(x, -1),
    ("log_softmax", 1): lambda x: torch.log_softmax(x / 2.5, -1),
}


def peer_value(name: str, setting: int, x: np.ndarray) -> np.ndarray:
    """Evaluate torch's function."""
    return PEERS[name, setting](torch.tensor(x)).numpy()


def peer_grad(name: str, setting: int, x: np.ndarray, dy: np.ndarray | None = None) -> np.ndarray:
    """Differentiate torch's function by autograd: f'(x), or `dy` pulled back."""
    t = torch.tensor(x, requires_grad=True)
    y = PEERS[name, setting](t)
    dy = torch.ones_like(y) if dy is None else torch.tensor(dy)
    return torch.autograd.grad(y, t, dy)[0].numpy()


def worst(row: Row, setting: int, dtype: str, order: int) -> dict[str, float | None]:
    """Return the largest error in ULP of ours on NumPy, of ours on torch and of torch's own.

    None where inf or nan came back for a number. Derivatives within 0.25 of their root are left
    out: near it every formula cancels.
    """
    parameters = row.parameters[setting]
    if row.elementwise:
        exact = reference.truth(row, setting, dtype, order)
        if order:
            exact = exact.at(~reference.near_root(exact))
    else:
        exact = reference.vector_truth(row, setting, dtype)[0]
    function = row.grad if order else row.function
    peer = peer_grad if order else peer_value
    results = {
        "numpy": function(exact.x, **parameters),
        "ours on torch": function(torch.tensor(exact.x), **parameters).numpy(),
        "torch": peer(row.name, setting, exact.x),
    }
    errors = {who: reference.ulps(y, exact, dtype, row.flush).max() for who, y in results.items()}
    return {who: float(f"{e:.3g}") if np.isfinite(e) else None for who, e in errors.items()}


def table() -> dict[str, Any]:
    """Compare every function with its peer, under the first setting and the forms of gelu."""
    rows: dict[str, Any] = {}
    for name, setting in PEERS:
        row = REGISTRY[name]
        if name == "heaviside" or (setting and name != "gelu"):
            continue
        label = f"{name} (tanh form)" if setting else name
        orders = {"value": 0, "derivative": 1} if row.elementwise else {"value": 0}
        rows[label] = {
            what: {dtype: worst(row, setting, dtype, order) for dtype in DTYPES}
            for what, order in orders.items()
        }
    return rows


def main() -> None:
    """Print the table and write the record."""
    rows = table()
    print(f"{'worst error, ULP':20s}{'':12s}{'':9s}{'numpy':>10s}{'on torch':>10s}{'torch':>10s}")
    for label, row in rows.items():
        for what, by_dtype in row.items():
            for dtype, e in by_dtype.items():
                numbers = "".join(f"{np.inf if v is None else v:10.3g}" for v in e.values())
                print(f"{label:20s}{what:12s}{dtype:9s}{numbers}")
    record = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
        "unit": "largest error over the ladder's inputs in ULP; null: inf or nan for a number",
        "functions": rows,
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
