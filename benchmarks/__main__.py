"""``make bench``: the import and every activation against torch."""

from benchmarks import activations, imports

imports.main()
activations.main()
