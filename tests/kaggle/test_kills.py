from tests.kaggle import kills


def test_killed_submissions_pushes_and_trainings_take_effect_once(home):
    """A short run; `python tests/kaggle/kills.py 100` is the long one."""
    assert min(kills.main(4).values()) >= 4
