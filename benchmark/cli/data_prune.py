"""``landshift data prune``: remove decoded patches that nothing can use any more."""

import argparse
from collections import Counter
from shutil import rmtree


def prune(options: argparse.Namespace) -> int:
    """Show what is to be removed, ask, and remove it; 1 where the answer is no."""
    from benchmark.cli.forget import kept
    from benchmark.common.console import print_line
    from benchmark.data.prune import old_shards

    old = old_shards(options.stores)
    groups = Counter((shard.place.parent.name, shard.reason) for shard in old)
    for (name, reason), count in groups.items():
        size = sum(shard.bytes for shard in old if (shard.place.parent.name, shard.reason) == (name, reason))
        print_line(f"{name}: {count} shards {reason}, {size / 1e6:.1f} MB")
    if not old:
        print_line(f"all shards in {options.stores} can still be used")
        return 0
    if (status := kept(options)) is not None:
        return status
    for shard in old:
        rmtree(shard.place)
    print_line(f"removed: {len(old)} shards, {sum(shard.bytes for shard in old) / 1e6:.1f} MB")
    return 0
