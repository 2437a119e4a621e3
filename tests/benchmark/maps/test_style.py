import xml.etree.ElementTree as ET

from benchmark.maps.legend import Legend, MapClass
from benchmark.maps.style import polygon_style, raster_style, write_style
from tests.benchmark.maps.conftest import SMALL

ODD = Legend("odd", (MapClass(4, 'a "b" <c> & d', "#0102ff"),))


def test_a_raster_has_a_color_and_a_name_for_each_value(tmp_path):
    path = write_style(tmp_path / "town.classes.tif", SMALL)
    assert [each.name for each in tmp_path.iterdir()] == ["town.classes.qml"] == [path.name]
    entries = [each.attrib for each in ET.parse(path).iter("paletteEntry")]
    assert entries[1] == {
        "value": "3",
        "label": "impervious surface (zone imperméable)",
        "color": "#f80c00",
        "alpha": "255",
    }
    assert [each["value"] for each in entries] == ["1", "3", "7", "10"]
    assert ET.fromstring(raster_style(ODD)).find(".//paletteEntry").get("label") == 'a "b" <c> & d'


def test_polygons_are_filled_by_their_value():
    root = ET.fromstring(polygon_style(ODD, "numero"))
    assert root.find("renderer-v2").attrib["attr"] == "numero"
    category = root.find(".//category")
    assert (category.get("value"), category.get("label")) == ("4", 'a "b" <c> & d')
    symbol = root.find(f".//symbol[@name='{category.get('symbol')}']")
    assert symbol.find(".//Option[@name='color']").get("value") == "1,2,255,255"
    assert symbol.find(".//prop[@k='outline_style']").get("v") == "no"
