"""Names from data cannot steer a terminal, a table or a log."""

import logging

import pytest

from benchmark.common.console import console, print_rows
from benchmark.common.errors import Stopped, TrainingError
from benchmark.common.texts import OneLine, markdown, one_line, shown, trace, unfit


@pytest.mark.parametrize("text", ["a", "Bâtiment", "水", "a|b", "[red]x", "مزرعه\u200cها"])
def test_most_texts_are_names(text):
    assert unfit([text]) == "" and shown(text) == text


@pytest.mark.parametrize("text", ["\x1b[31m", "\x07", "\x9b", "\u202e", "\udcff", "\x00"])
def test_control_characters_are_written_out(text):
    assert unfit(["a", f"b{text}"]) and "\\" in shown(text) and shown(text).isprintable()


def test_markdown_stays_in_its_cell():
    assert markdown("a|b") == "a\\|b" and markdown("a\\|b") == "a\\\\\\|b"
    assert markdown("<b>\n![x](y)") == "&lt;b&gt; ![x]\\(y)"
    assert markdown("alignment[maps=softmax]") == "alignment[maps=softmax]"


def test_a_log_line_is_one_line():
    record = logging.LogRecord("x", logging.WARNING, "x", 1, "%s", ("a\x1b[2J\nb",), None)
    assert OneLine("%(message)s").format(record) == "a\\x1b[2J b"


@pytest.mark.parametrize("name", ["[red]x[/red]", "\\[red]x", "[/]", "[link=http://x]y[/link]"])
def test_a_name_is_no_markup(name):
    with console.capture() as told:
        print_rows((name, "n"), [(name, "1")])
    assert told.get().count(name) == 2


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("the loss is not finite\n at step 3"), "ValueError: the loss is not finite at step 3"),
        (TrainingError("the loss\nis not finite"), "the loss is not finite"),
        (Stopped("stopped"), "stopped"),
        (KeyError(), "KeyError"),
        (ValueError("x" * 1000), f"ValueError: {'x' * 487}…"),
    ],
)
def test_an_error_is_one_line(error, words):
    assert one_line(error) == words and len(one_line(error)) <= 500


def test_a_traceback_names_the_place():
    try:
        raise ValueError("here")
    except ValueError as error:
        assert "test_texts.py" in trace(error) and trace(error).endswith("ValueError: here\n")
