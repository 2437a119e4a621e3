"""Legends: which value of a map is which class, under which name and colour."""

import json
from dataclasses import asdict, dataclass

from benchmark.common.errors import DataError
from benchmark.data.classes import ClassSet, color_value

NO_DATA = 255
"""Value of a pixel of a map that has no data in the image, in maps of classes, confidence and probabilities."""


@dataclass(frozen=True)
class MapClass:
    """A class of a map.

    Attributes:
        value: value of its pixels, 0 to 254.
        name, french: English and French name; ``french`` is "" where there is none.
        color: colour ``"#rrggbb"``.
    """

    value: int
    name: str
    color: str
    french: str = ""

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255."""
        packed = color_value(self.color)
        return packed >> 16, packed >> 8 & 255, packed & 255


@dataclass(frozen=True)
class Legend:
    """The classes of a map.

    Attributes:
        coding: name of the coding of the values: that of the class set, or of a product such as ``"cosia"``.
        classes: the classes, in the order of the network's outputs.
    """

    coding: str
    classes: tuple[MapClass, ...]

    @classmethod
    def of(cls, classes: ClassSet) -> "Legend":
        """Return the legend with the values that the masks of a data set have.

        Masks that are colours, or have a class value above 254, give values from 1 on in the order of the classes.
        """
        values = [land_class.values[0] if land_class.values else NO_DATA for land_class in classes.evaluated]
        if classes.colors_in_mask or max(values) >= NO_DATA:
            values = list(range(1, classes.num_classes + 1))
        pairs = zip(values, classes.evaluated, strict=True)
        return cls(classes.name, tuple(MapClass(value, c.name, c.color, c.french) for value, c in pairs))

    @property
    def values(self) -> tuple[int, ...]:
        """Values of the classes, in their order."""
        return tuple(each.value for each in self.classes)

    def as_text(self) -> str:
        """Return the legend as JSON, as a tag of a map holds it."""
        return json.dumps({"coding": self.coding, "classes": [asdict(each) for each in self.classes]})

    @classmethod
    def from_text(cls, text: str) -> "Legend":
        """Return the legend of what `as_text` gave.

        Raises:
            DataError: the text is something else.
        """
        try:
            content = json.loads(text)
            classes = tuple(
                MapClass(int(each["value"]), str(each["name"]), str(each["color"]), str(each.get("french", "")))
                for each in content["classes"]
            )
            if not classes or len({each.value for each in classes}) < len(classes):
                raise ValueError("its classes have no, or equal, values")
            coding = str(content["coding"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"a legend cannot be read: {error}") from error
        for each in classes:
            color_value(each.color)
            if not 0 <= each.value < NO_DATA:
                raise DataError(f"class {each.name!r} has the value {each.value}, outside 0..{NO_DATA - 1}")
        return cls(coding, classes)
