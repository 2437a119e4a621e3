"""Which errors mean that the server is away for now, so that the same call may be made again."""

import re

# Of a server or a proxy in front of one: too slow, too early, asked too often.
PASSING = {408, 425, 429}
LENGTH = 160
# MLflow inserts a tag that it did not find; of two processes that do so at once one is refused, though it need not be.
_AT_ONCE = ("UniqueViolation", "UNIQUE constraint failed")
_SHORT = re.compile(
    r"\[Errno -?\d+\] [\w ]+|timed out|too many \d+ error responses|Remote end closed connection|Connection aborted"
)


def why_away(error: Exception) -> str:
    """What is said of an error that will pass; "" of one that will not."""
    from mlflow.exceptions import MlflowException, RestException
    from requests.exceptions import HTTPError, RequestException

    if isinstance(error, MlflowException):
        # MLflow gives 500 to a connection that was refused or broken, too (its own retries are turned off), but also to
        # whatever it finds wrong on this side without saying how.
        status, text = int(error.get_http_status_code()), str(error)
        of_the_server = isinstance(error, RestException) or "API request to" in text or status != 500
        passing = of_the_server and (status >= 500 or status in PASSING or any(word in text for word in _AT_ONCE))
    elif isinstance(error, HTTPError) and error.response is not None:
        passing = error.response.status_code >= 500 or error.response.status_code in PASSING
    else:
        passing = isinstance(error, RequestException | ConnectionError | TimeoutError)
    return _brief(error) if passing else ""


def _brief(error: Exception) -> str:
    """The part of a long message that says something, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    found = _SHORT.search(text)
    return found[0].strip() if found else text[:LENGTH]
