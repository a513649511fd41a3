"""Reference implementations of what deep networks are trained with.

Every function takes NumPy arrays or torch tensors and returns what it was given; beside it stands
its derivative, derived by hand. The book *Deep Learning, Verified* explains each of them.
"""

from importlib import import_module
from types import ModuleType

from companion import activations, backend

__version__ = "0.1.0"

# Imported when first used, so that `import companion` costs little more than `import numpy`.
_LAZY = (
    "autodiff",
    "boxes",
    "datasets",
    "gradients",
    "initializers",
    "layers",
    "losses",
    "network",
    "optimizers",
    "registry",
    "schedules",
    "teaching",
    "training",
)

__all__ = ["__version__", "activations", "backend", *_LAZY]


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
