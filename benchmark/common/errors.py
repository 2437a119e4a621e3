"""Errors that are the user's to mend; the command line prints them as one line, without a traceback."""


class LandshiftError(Exception):
    """Base of all errors whose message alone says what to do."""


class DataError(LandshiftError):
    """A file, mask, metadata entry or store is missing or wrong; the message names it."""


class NetworkError(LandshiftError):
    """A network or its pretrained weights are not available."""


class TrainingError(LandshiftError):
    """A run cannot go on, for example because its loss is not finite."""


class SettingsError(LandshiftError):
    """An argument is not one of those allowed; the message names them."""


class TrackingError(LandshiftError):
    """The MLflow store cannot be used."""


class Stopped(KeyboardInterrupt):
    """This process must end; the message says why."""


class Pruned(LandshiftError):  # noqa: N818 - no error, but the end of a trial that is not worth its steps
    """A trial was given up, because others were better at the same step."""
