"""Training a network, or all its replicas at once."""

from companion.gradients import clip_grad_norm
from companion.training.callbacks import EarlyStopping, accuracy, evaluate, steps_to
from companion.training.checkpoint import Checkpoint, load, save
from companion.training.distributed import Processes, join
from companion.training.loop import fit
from companion.training.run import History

__all__ = [
    "Checkpoint",
    "EarlyStopping",
    "History",
    "Processes",
    "accuracy",
    "clip_grad_norm",
    "evaluate",
    "fit",
    "join",
    "load",
    "save",
    "steps_to",
]
