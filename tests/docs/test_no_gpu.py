"""The hours of the page "No GPU of your own" are counted by the code that it shows."""

import re
from pathlib import Path

from make_calls import blocks

PAGE = Path(__file__).parents[2] / "docs/how-to/no-gpu.md"


def test_the_hours_are_those_that_the_code_beside_them_counts(capsys):
    [block] = blocks(PAGE, "python")
    exec(block, {})
    name, *counted = capsys.readouterr().out.split()
    row = re.search(rf"^\| `{name}` (\|.*)$", PAGE.read_text(), re.MULTILINE)[1]
    low, high, _, least, most = re.findall(r"[\d.]+", row)
    assert [low, high, least, most] == counted
