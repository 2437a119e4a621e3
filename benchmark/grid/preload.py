"""What every worker process needs, imported once by the server that they are forked from.

It takes half a minute of a slow core. Nothing is computed before the fork, so there are no threads of torch's yet that
would not survive it.
"""

import gc
from importlib import import_module

from benchmark.garbage import while_loading

while_loading()
for library in ("benchmark.grid.execute", "segmentation_models_pytorch", "mlflow.store.tracking.sqlalchemy_store"):
    import_module(library)
gc.freeze()  # a collection writes to all that it looks at, and each worker would get a copy of its own
