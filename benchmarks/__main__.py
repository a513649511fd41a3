"""``make bench``: the import; activations, trainings, optimizers, losses against torch; passes."""

from benchmarks import activations, imports, losses, optimizers, passes, training

imports.main()
activations.main()
training.main()
optimizers.main()
losses.main()
passes.main()
