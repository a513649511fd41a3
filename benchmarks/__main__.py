"""``make bench``: the import; activations, trainings and losses against torch; single passes."""

from benchmarks import activations, imports, losses, passes, training

imports.main()
activations.main()
training.main()
losses.main()
passes.main()
