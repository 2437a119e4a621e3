"""Errors of a method."""


class MethodError(ValueError):
    """A method, or what it was given, does not keep the contract; the message says where."""
