"""The engine of landshift. Importing it makes sure that `methods` and `protocols` are the packages beside it."""

from benchmark.common.locations import find_own_packages_first

find_own_packages_first()
