"""``landshift connect``: keep the runs of a results folder on a server that several machines share."""

import argparse

EPILOG = """\
Without a server the runs of a results folder are in a file in it. Connected, they are on an MLflow tracking server:
every command with this results folder then uses it, and commands on other machines, each with a results folder of its
own, share one table. No cell is trained twice at once. While the server is away training goes on; what is logged waits
in DIR/outbox and is delivered once the server is back. How to start such a server: docs/cluster.md.

A login goes into the environment variables MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.

examples:
  landshift connect http://127.0.0.1:5000 --results shared     after ssh -N -L 5000:127.0.0.1:5000 the-server
  landshift run world-leave-times-out --results shared         on as many machines as wanted, all connected
  landshift connect --results shared                           which server it is, and what waits to be delivered
  landshift connect --off --results shared                     the folder's own file again; the server keeps its runs
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only this command has."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "address", nargs="?", default="", metavar="URL", help="http://HOST:PORT (default: tell which it is)"
    )
    parser.add_argument("--off", action="store_true", help="use the folder's own file again")


def connect(options: argparse.Namespace) -> int:
    """Connect, disconnect, or tell.

    Raises:
        SettingsError: both was asked for.
        TrackingError: the server cannot be used; then nothing is changed.
    """
    from benchmark.errors import SettingsError, TrackingError
    from benchmark.tracking import connections

    if options.off and options.address:
        raise SettingsError("either an address or --off")
    before = connections.connection(options.results)
    if options.off:
        if left := connections.undelivered(options.results):
            raise TrackingError(
                f"what {left} runs logged still waits in {options.results / 'outbox'} for {before or 'a server'}; "
                "landshift run delivers it, and who does not want it deletes that folder"
            )
        there = connections.disconnect(options.results)
        print(f"{options.results} is connected to no server" + f" any more; {before} keeps its runs" * there)
        return 0
    if options.address:
        version = connections.connect(options.results, options.address)
        print(f"{options.results} is connected to MLflow {version} on {connections.connection(options.results)}")
        if (options.results / "mlflow.db").is_file():
            print(f"the runs in {options.results / 'mlflow.db'} stay there; they are seen again after --off")
        return 0
    print(f"{options.results} is connected to {before or 'no server'}")
    if left := connections.undelivered(options.results):
        print(f"what {left} runs logged waits in {options.results / 'outbox'}, or is on its way")
    return 0
