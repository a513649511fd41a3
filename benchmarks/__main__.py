"""``make bench``: the import, every activation and trainings against torch, and single passes."""

from benchmarks import activations, imports, passes, training

imports.main()
activations.main()
training.main()
passes.main()
