"""The page stands alone, and what comes from data is escaped."""

import re
from html.parser import HTMLParser

from PIL import Image

from benchmark.reporting.html import Figure, Section, html_page


class Reader(HTMLParser):
    """Notes tags and their attributes, and the text."""

    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def page(**changes):
    picture = Figure.drawn(Image.new("RGB", (4, 4)), "a picture")
    rows = [("source-only", "40.0"), ("oracle (bound)", "60.0")]
    values = {
        "title": "tiny-v1",
        "description": "One fold\n a time.",
        "confounds": "Nothing.",
        "commands": ["landshift tune tiny", "landshift run tiny"],
        "control": "source-only",
        "alarms": [],
        "sections": [Section("Numbers", ("method", "mIoU"), rows, [picture])],
        "shared": "folds 1234",
    } | changes
    reader = Reader()
    reader.feed(html := html_page(**values))
    return html, reader


def test_it_holds_tables_figures_and_what_made_it():
    html, reader = page()
    for text in ("tiny-v1", "One fold a time.", "Nothing.", "landshift run tiny", "Numbers", "40.0", "folds 1234"):
        assert text in reader.text
    rows = [attributes.get("class") for tag, attributes in reader.tags if tag == "tr"]
    assert rows == [None, "control", "bound"] and "Alarms" not in html


def test_it_needs_no_other_file():
    _, reader = page()
    sources = [attributes[name] for _, attributes in reader.tags for name in ("src", "href") if name in attributes]
    assert sources and all(re.match(r"data:image/png;base64,|#", source) for source in sources)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in reader.tags}


def test_names_from_data_are_escaped():
    hostile = "<script>alert(1)</script>"
    html, reader = page(
        title=hostile, alarms=[hostile], sections=[Section(hostile, (hostile,), [(hostile,)], note=hostile)]
    )
    assert "script" not in {tag for tag, _ in reader.tags} and reader.text.count("alert(1)") >= 6
    assert hostile not in html
