"""``landshift`` as a process of its own: ``python -m benchmark``."""

import sys

from benchmark.common.garbage import at_the_end, while_loading
from benchmark.common.interpreter import require_usual_python
from benchmark.common.output import make_output_safe


def program() -> int:
    """Run the command line; return the exit status."""
    require_usual_python()
    make_output_safe()
    while_loading()
    try:
        from benchmark.cli.app import main  # which has its own way to stop, once it is there
    except KeyboardInterrupt:
        return 130
    status = main()
    at_the_end()
    return status


if __name__ == "__main__":
    sys.exit(program())
