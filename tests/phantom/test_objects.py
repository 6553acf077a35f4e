from collections import Counter
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.phantom.objects import letters, words


@given(st.integers(0, 2**32), st.sampled_from([128, 320, 512]))
@settings(max_examples=60, deadline=None)
def test_no_word_stands_over_another_or_leaves_the_film(seed, size):
    placed = words(True, np.random.default_rng(seed))
    drawn = [letters(size, [word]) > 0 for word in placed]
    assert not drawn or np.sum(drawn, axis=0).max() <= 1
    for word, layer in zip(placed, drawn, strict=True):
        wide = letters(2 * size, [replace(word, left=word.left / 2, base=word.base / 2, height=word.height / 2)]) > 0
        assert layer.any() == (word.height * size >= 4)
        assert wide.sum() == layer.sum()


def test_all_words_are_written():
    texts = Counter(word.text for seed in range(300) for word in words(True, np.random.default_rng(seed)))
    assert set(texts) == {"L", "R", "PORTABLE", "AP"}
    assert not {"PORTABLE", "AP"} & {
        word.text for seed in range(50) for word in words(False, np.random.default_rng(seed))
    }
