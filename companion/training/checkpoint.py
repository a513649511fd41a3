"""A training in one file, without pickle."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from companion.backend import is_torch, namespace, to_numpy

FORMAT = "companion checkpoint 1"


@dataclass(frozen=True)
class Checkpoint:
    """Where :func:`fit` keeps a training, and how often.

    If the file is there when training begins, training goes on from it, to the same bits as if it
    had never been interrupted; so a program that was killed is simply started again. What is kept:
    parameters, the optimizer's state, running statistics, averages, generators, the place in the
    epoch, the history, and of callbacks that have ``state_dict`` and ``load_state_dict`` what
    these hold.

    Parameters
    ----------
    path : str or path
        A file that is not such a checkpoint, or that of another training, is an error, and is
        left as it is.
    every : int, default 1000
        Steps from one to the next; there is one more at the end.
    """

    path: Any
    every: int = 1000

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1; got {self.every}")


def save(path: Any, tree: Any) -> None:
    """Write numbers, strings, arrays and None, in lists and dictionaries, into one file.

    The file is NumPy's npz: the arrays, and the rest as JSON. It is complete or not there: it is
    written beside `path`, and takes its name once it is on the disk.

    Parameters
    ----------
    path : str or path
    tree
        Keys are strings; tuples come back as lists.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder + "/it.npz", {"step": 3, "theta": np.ones(2)})
    ...     load(folder + "/it.npz")
    {'step': 3, 'theta': array([1., 1.])}
    """
    arrays: dict[str, Any] = {}
    text = json.dumps({"format": FORMAT, "tree": _packed(tree, arrays)})
    path = Path(path)
    beside = path.with_name(path.name + ".partial")
    with open(beside, "wb") as file:
        np.savez(file, json=np.frombuffer(text.encode(), np.uint8), **arrays)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    if os.name == "posix":  # the new name, too, has to be on the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load(path: Any, like: Any = None) -> Any:
    """Read what :func:`save` wrote.

    Parameters
    ----------
    path : str or path
    like : array, optional
        What was an array of its library comes back in it, on its device; other arrays are NumPy's.

    Raises
    ------
    ValueError
        If the file is damaged, or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        found = json.loads(arrays["json"].tobytes())
        if found["format"] != FORMAT:
            raise ValueError(f"its format is {found['format']!r}, not {FORMAT!r}")
        return _unpacked(found["tree"], arrays, like)
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise ValueError(
            f"path must name a checkpoint that companion wrote; {path} is damaged or something "
            f"else, and was left as it is: {error}"
        ) from error


def resume(path: Any, identity: dict[str, str], like: Any) -> Any:
    """Return what is kept at `path`, None if nothing is; it must be of the same training."""
    if not os.path.lexists(path):
        return None
    kept = load(path, like)
    for name, value in identity.items():
        found = kept.get("identity", {}).get(name) if isinstance(kept, dict) else None
        if found != value:
            raise ValueError(
                f"checkpoint must be of this training; {path} was made with {name} {found}, "
                f"here it is {value}"
            )
    return kept


def _packed(tree: Any, arrays: dict[str, Any]) -> Any:
    """Return the tree with its arrays moved to `arrays` and their names in their places."""
    if isinstance(tree, dict):
        return {"dict": {name: _packed(value, arrays) for name, value in tree.items()}}
    if isinstance(tree, (list, tuple)):
        return [_packed(value, arrays) for value in tree]
    if hasattr(tree, "dtype"):
        name = f"a{len(arrays)}"
        arrays[name] = np.asarray(to_numpy(tree))
        return {"array": name, "torch": is_torch(tree)}
    return tree


def _unpacked(tree: Any, arrays: dict[str, Any], like: Any) -> Any:
    if isinstance(tree, list):
        return [_unpacked(value, arrays, like) for value in tree]
    if not isinstance(tree, dict):
        return tree
    if "dict" in tree:
        return {name: _unpacked(value, arrays, like) for name, value in tree["dict"].items()}
    values = arrays[tree["array"]]
    if like is not None and tree["torch"] and is_torch(like):
        return namespace(like).asarray(values, device=like.device)
    return values
