"""Imports that every worker process needs, made once by the server that they are forked from.

Nothing is computed before the fork, so there are no threads of torch's yet that would not survive it.
"""

import gc
import os
import sys
from importlib import import_module

from benchmark.common.garbage import while_loading

while_loading()
command = os.getppid()
for library in (
    *("torch", "torch._dynamo", "lightning_fabric", "scipy.stats", "segmentation_models_pytorch"),
    *("benchmark.experiments.run_job", "benchmark.experiments.worker"),
):
    if os.getppid() != command:
        sys.exit()  # it has ended meanwhile
    import_module(library)
gc.freeze()  # a collection writes to all that it looks at, and each worker would get a copy of its own
