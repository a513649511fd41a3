"""``make bench``: the import, every activation and trainings against torch."""

from benchmarks import activations, imports, training

imports.main()
activations.main()
training.main()
