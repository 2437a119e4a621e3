"""A procedural land-cover world: every place is flown at every time, so each shift can be studied alone."""

from benchmark.data.synthetic.world import World, generate

__all__ = ["World", "generate"]
