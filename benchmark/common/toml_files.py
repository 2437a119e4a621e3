"""The small TOML files that people write: each is read into a model, and a mistake in it is named in one line."""

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.common.errors import DataError, SettingsError
from benchmark.common.files import DESCRIPTION_BYTES, read_text

# A value that may hold a password; what is not in `repr` is in no message either.
Url = Annotated[str, Field(pattern=r"^[A-Za-z][\w+.-]*:/", repr=False)]
Text = Annotated[str, Field(description="a text")]
Whole = Annotated[int, Field(ge=0, description="a whole number of at least 0")]
Positive = Annotated[int, Field(ge=1, description="a whole number of at least 1")]


class TomlModel(BaseModel):
    """The keys that a file may hold; the description of a field says which values it takes, and messages quote that.

    Attributes:
        hint: the end of a message about an unknown key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, regex_engine="python-re")
    hint: ClassVar[str] = ""


Model = TypeVar("Model", bound=TomlModel)


def read_toml(path: Path, model: type[Model]) -> Model:
    """Read a file (UTF-8, at most 16 MiB).

    Raises:
        SettingsError: it cannot be read, or a key or value is not one of those allowed; the message names these.
    """
    try:
        content = tomllib.loads(read_text(path, DESCRIPTION_BYTES))
    except (OSError, ValueError, DataError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
    raise SettingsError(f"{path}: {_explain(model, key, content[key])}")


def _explain(model: type[TomlModel], key: str, value: Any) -> str:
    """Return what is wrong with a value that a model refuses."""
    fields = model.model_fields
    if key not in fields:
        close = get_close_matches(key, fields, n=1)
        meant = f"did you mean {close[0]}? The keys" if close else "the keys"
        return f"there is no key {key!r}; {meant} are {', '.join(fields)}{model.hint}"
    shown = f", not {value!r:.200}" if fields[key].repr else ""
    return f"{key} is {fields[key].description}{shown}"
