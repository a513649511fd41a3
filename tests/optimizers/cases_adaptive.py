"""Cases: one rate for each coordinate."""

from companion.optimizers import SGD, Adam
from tests.optimizers.case import Case

CASES = {
    "SGD": Case(SGD(lr=0.05, momentum=0.9, dampening=0.3, weight_decay=0.1), signed=("dampening",)),
    "Adam": Case(Adam(lr=0.05, weight_decay=0.1)),
}
