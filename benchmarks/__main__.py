"""``make bench``: the import; activations, trainings, steps and losses against torch; single passes."""

from benchmarks import activations, imports, losses, optimizers, passes, training

imports.main()
activations.main()
training.main()
optimizers.main()
losses.main()
passes.main()
