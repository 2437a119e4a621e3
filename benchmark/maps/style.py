"""Styles for QGIS: colours and names of the classes of a map and of its polygons."""

from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import quoteattr

from benchmark.maps.files import whole_file
from benchmark.maps.legend import Legend, MapClass

_HEAD = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def write_style(raster: Path, legend: Legend) -> Path:
    """Write the style of a map of classes beside it and return its path.

    QGIS takes it by itself where it has the name of the raster with another ending: ``town.classes.qml``.
    """
    path = raster.with_suffix(".qml")
    with whole_file(path) as half:
        half.write_text(raster_style(legend), encoding="utf-8")
    return path


def raster_style(legend: Legend) -> str:
    """Return the style of a map of classes: a colour and a name for each value, nothing where there is no data."""
    entries = "".join(
        f'\n    <paletteEntry value="{each.value}" label={quoteattr(_label(each))} color="{each.color}" alpha="255"/>'
        for each in legend.classes
    )
    return f"""{_HEAD}<qgis version="3.28" styleCategories="Symbology">
 <pipe>
  <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">
   <rasterTransparency/>
   <colorPalette>{entries}
   </colorPalette>
  </rasterrenderer>
  <rasterresampler zoomedInResampler="nearest" zoomedOutResampler="nearest" maxOversampling="1"/>
 </pipe>
</qgis>
"""


def polygon_style(legend: Legend, field: str) -> str:
    """Return the style of polygons: a fill without outline for each value of an attribute."""
    categories = "".join(
        f'<category value="{each.value}" type="long" symbol="{number}" label={quoteattr(_label(each))} render="true"/>'
        for number, each in enumerate(legend.classes)
    )
    symbols = "".join(
        f'<symbol name="{number}" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">'
        f'<layer class="SimpleFill" enabled="1" locked="0" pass="0">{"".join(_options(each))}</layer></symbol>'
        for number, each in enumerate(legend.classes)
    )
    return (
        f'{_HEAD}<qgis version="3.28" styleCategories="Symbology">'
        f'<renderer-v2 type="categorizedSymbol" attr="{field}" symbollevels="0" enableorderby="0" forceraster="0">'
        f"<categories>{categories}</categories><symbols>{symbols}</symbols></renderer-v2></qgis>"
    )


def _label(each: MapClass) -> str:
    return f"{each.name} ({each.french})" if each.french else each.name


def _options(each: MapClass) -> Iterator[str]:
    """Yield the properties of a fill; releases of QGIS before 3.26 read the second form alone."""
    properties = {"color": ",".join(map(str, (*each.rgb, 255))), "outline_style": "no", "style": "solid"}
    yield '<Option type="Map">'
    yield from (f'<Option type="QString" name="{key}" value="{value}"/>' for key, value in properties.items())
    yield "</Option>"
    yield from (f'<prop k="{key}" v="{value}"/>' for key, value in properties.items())
