import sys
from pathlib import Path

import error_table


def test_the_page_of_errors_says_what_is_said_and_good_files_are_accepted():
    said = error_table.page()
    if sys.version_info[:2] == (3, 11):  # other versions of Python word their errors otherwise
        written = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
        assert said == written, "run: python tests/support/error_table.py > docs/errors.md"
