"""Reference implementations of what deep networks are trained with.

Every function takes NumPy arrays or torch tensors and returns what it was given; beside it stands
its derivative, derived by hand. The book *Deep Learning, Verified* explains each of them.
"""

from importlib import import_module

__version__ = "0.1.0"

_SUBMODULES = (
    "activations",
    "backend",
    "datasets",
    "initializers",
    "layers",
    "losses",
    "network",
    "optimizers",
    "registry",
    "teaching",
    "training",
)

__all__ = ["__version__", *_SUBMODULES]


def __getattr__(name: str):
    # A module is imported when it is first used, so that `import companion` stays as light as NumPy.
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
