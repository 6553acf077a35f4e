"""Tables of a data set with an unreadable file."""

from kit import phantom
from kit.competition import layout
from kit.report import stats


def test_a_file_without_a_readable_header_is_skipped_with_a_warning(tmp_path, caplog):
    phantom.write(tmp_path / "tiny", train=6, test=2, size=64)
    competition = layout.open_folder(tmp_path / "tiny")
    first = next(iter(competition.train.values()))
    first.write_bytes(first.read_bytes()[:200])
    assert len(stats.metadata(competition)) == 7
    assert f"skipping {first}" in caplog.text
