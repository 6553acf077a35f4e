import pytest

from kit.competition import submission
from kit.core.errors import KitError

IDS = ("a", "b", "c")
GOOD = "ImageId,EncodedPixels\na,-1\nb,1 2 3 4\nc,0 64\n"


@pytest.fixture
def check(tmp_path):
    def run(text, ids=IDS):
        path = tmp_path / "submission.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return [(problem.line, problem.image, problem.reason) for problem in submission.validate(path, ids, (8, 8))]

    return run


def test_a_written_submission_is_valid_and_read_back(tmp_path):
    path = tmp_path / "s.csv"
    submission.write(path, [("a", "-1"), ("b", "1 2"), ("c", "")])
    assert path.read_bytes() == b"ImageId,EncodedPixels\na,-1\nb,1 2\nc,-1\n"
    assert submission.validate(path, IDS, (8, 8)) == []
    assert submission.read(path) == {"a": "-1", "b": "1 2", "c": "-1"}


def test_good_files(check):
    assert check(GOOD) == []
    assert check(GOOD.replace("\n", "\r\n")) == []
    assert check(GOOD.rstrip("\n")) == []
    assert check(GOOD.replace("1 2 3 4", '"1 2\n3 4"')) == []


@pytest.mark.parametrize(
    ("text", "line", "image", "reason"),
    [
        (GOOD.replace("b,1 2 3 4\n", ""), 0, "", "1 of 3 images are missing (first: b)"),
        (GOOD.replace("b,1", "x,1"), 3, "x", "not an id"),
        (GOOD + "a,-1\n", 5, "a", "on line 2 already"),
        ("ImageId,EncodedPixels\nb,-1\na,-1\nc,-1\n", 3, "a", "order"),
        (GOOD.replace("1 2 3 4", "1 2 3"), 3, "b", "odd"),
        (GOOD.replace("1 2 3 4", "1 2 -1 4"), 3, "b", "overlap"),
        (GOOD.replace("0 64", "0 65"), 4, "c", "past the last pixel"),
        (GOOD.replace("0 64", "1 64"), 4, "c", "past the last pixel"),
        (GOOD.replace("1 2 3 4", "x y"), 3, "b", "not a whole number"),
        (GOOD.replace("1 2 3 4", "1 0"), 3, "b", "not positive"),
        (GOOD.replace("a,-1", "a,"), 2, "a", "write -1"),
        (GOOD.replace("a,-1", "a,NaN"), 2, "a", "write -1"),
        (GOOD.replace("ImageId,", "Id,"), 1, "", "header"),
        (GOOD.replace("ImageId,Enc", "ImageId, Enc"), 1, "", "header"),
        (GOOD.removeprefix("ImageId,EncodedPixels\n"), 1, "", "header"),
        ("\ufeff" + GOOD, 1, "", "header"),
        (GOOD.replace("a,-1", "a,-1,0"), 2, "", "3 fields"),
        (GOOD.replace("a,-1\n", "a,-1\n\n"), 3, "", "0 fields"),
        (GOOD.replace("b,1 2 3 4", 'b,"1 2\n3"'), 4, "b", "odd"),
        (GOOD.replace("b,1", 'b,"1'), 4, "", "not a row of a CSV"),
        ("", 0, "", "is empty"),
        ("<!doctype html><html></html>", 0, "", "web page"),
        (b"\xff\xfe\x00", 0, "", "not a text file"),
    ],
)
def test_each_problem_is_found_with_its_line(check, text, line, image, reason):
    found = check(text)
    assert any((at, image_id) == (line, image) and reason in why for at, image_id, why in found), found


def test_all_problems_are_listed_and_nothing_else(check):
    found = check("ImageId,EncodedPixels\nc,-1\na,5\nz,1 1\na,-1\n")
    assert [(line, image) for line, image, _ in found] == [(3, "a"), (3, "a"), (4, "z"), (5, "a"), (0, ""), (0, "")]


def test_at_most_twenty_problems_are_printed_with_a_count(tmp_path):
    (tmp_path / "s.csv").write_text("ImageId,EncodedPixels\n" + "".join(f"x{n},1\n" for n in range(30)))
    with pytest.raises(
        KitError, match=r"it has \d+ problems: correct the file(?s:.*)and \d+ more problems$"
    ) as refused:
        submission.check(tmp_path / "s.csv", [f"x{n}" for n in range(30)])
    assert len(str(refused.value).splitlines()) == 22


def test_a_missing_header_is_the_only_problem(check):
    assert [line for line, _, _ in check(GOOD.removeprefix("ImageId,EncodedPixels\n"))] == [1]
