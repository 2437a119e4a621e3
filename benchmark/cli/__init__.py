"""The commands, one module each, from the parsed arguments to the other packages. Functions hold the heavy imports."""
