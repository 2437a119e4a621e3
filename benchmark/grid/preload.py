"""What every worker process needs, imported once by the server that they are forked from.

It takes half a minute of a slow core. Nothing is computed before the fork, so there are no threads of torch's yet that
would not survive it.
"""

import gc
import os
import sys
from importlib import import_module

from benchmark.garbage import while_loading

while_loading()
command = os.getppid()
for library in (
    *("torch", "torch._dynamo", "lightning_fabric", "scipy.stats", "mlflow.store.tracking.sqlalchemy_store"),
    *("segmentation_models_pytorch", "benchmark.grid.execute"),
):
    if os.getppid() != command:
        sys.exit()  # it has ended meanwhile, and nobody needs the rest
    import_module(library)
gc.freeze()  # a collection writes to all that it looks at, and each worker would get a copy of its own
