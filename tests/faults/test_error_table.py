import sys
from pathlib import Path

import error_table
import pytest


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="other versions of Python word their errors otherwise")
def test_the_page_of_errors_says_what_is_said():
    written = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
    assert error_table.page() == written, "run: python tests/support/error_table.py > docs/errors.md"


def test_good_files_are_accepted(tmp_path):
    for name, (good, read, _) in error_table.table(tmp_path).items():
        path = tmp_path / Path(name).name
        path.write_bytes(good)
        read(path)
