"""Cases: SGD, and the rules with one rate for each coordinate."""

from companion.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, NAdam, RAdam, RMSprop
from tests.optimizers.case import Case

CASES = {
    "SGD": Case(SGD(lr=0.05, momentum=0.9, dampening=0.3, weight_decay=0.1), signed=("dampening",)),
    "Adagrad": Case(
        Adagrad(lr=0.05, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.1)
    ),
    "Adadelta": Case(Adadelta(lr=0.5, weight_decay=0.1)),
    "RMSprop": Case(RMSprop(lr=0.05, weight_decay=0.1, momentum=0.9)),
    "RMSprop centered": Case(RMSprop(lr=0.05, centered=True)),
    "Adam": Case(Adam(lr=0.05, weight_decay=0.1)),
    "AdamW": Case(AdamW(lr=0.05, weight_decay=0.1)),
    "NAdam": Case(NAdam(lr=0.05, weight_decay=0.1)),
    "NAdam decoupled": Case(NAdam(lr=0.05, weight_decay=0.1, decoupled_weight_decay=True)),
    "RAdam": Case(RAdam(lr=0.05, weight_decay=0.1)),
    # rectified from the third step on
    "RAdam decoupled": Case(
        RAdam(lr=0.05, betas=(0.9, 0.9), weight_decay=0.1, decoupled_weight_decay=True)
    ),
}
