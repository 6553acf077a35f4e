"""A stage on extra data: unknown masks have no effect on the weights, and a killed stage resumes."""

import numpy as np
import torch
from staging import data, killed_in_the_second_epoch, train

HEAD = "network.image_head=true loss.image=1 stages.0.epochs=2 "
UNKNOWN = (0, 4)
"""Row numbers of two positive training images."""


def test_unknown_masks_have_no_effect(tmp_path):
    plain, other = data(unknown=UNKNOWN), data(unknown=UNKNOWN)
    other.cache.masks[list(UNKNOWN)] = np.random.default_rng(1).integers(0, 2, (2, 32, 32))
    first, _ = train(tmp_path / "first", HEAD, given=plain)
    second, _ = train(tmp_path / "second", HEAD, given=other)
    assert all(torch.equal(first[name], second[name]) for name in first)
    known, _ = train(tmp_path / "known", HEAD)
    assert not all(torch.equal(first[name], known[name]) for name in first)


def test_a_killed_stage_draws_the_same_extra_images(tmp_path, monkeypatch):
    overrides = HEAD + "extra.data=more extra.weight=0.5 extra.labels=image stages.0.positive_share=0.5"
    given = data(extra=5, unknown=(6,))  # rows 6 to 14 of the training part
    whole, _ = train(tmp_path / "whole", overrides, given=given)
    killed_in_the_second_epoch(monkeypatch, tmp_path / "killed", overrides, given=given)
    resumed, _ = train(tmp_path / "killed", overrides, given=given)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    all_of_it, _ = train(tmp_path / "all", overrides.replace("0.5 extra", "1 extra"), given=given)
    assert not all(torch.equal(whole[name], all_of_it[name]) for name in whole)
