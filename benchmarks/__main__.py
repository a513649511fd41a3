"""``make bench``: the import, activations, trainings and boxes against torch, and single passes."""

from benchmarks import activations, boxes, imports, passes, training

imports.main()
activations.main()
training.main()
boxes.main()
passes.main()
