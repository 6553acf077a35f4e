"""From phantoms to a score by the verbs, with a network that is small enough to learn them within a test."""

import json

import pytest
import yaml

from kit import cli, phantom

RECIPE = {
    "folds": {"holdout": 0.3},
    "network": {"encoder": "tu-test_resnet", "encoder_weights": None, "decoder_channels": [32, 32, 16, 16, 16]},
    "augmentation": ["flip"],
    "stages": [
        {"size": 32, "epochs": 5, "batch_size": 16, "learning_rate": 0.003, "positive_share": 0.5, "validate_every": 5},
        {
            "size": 64,
            "epochs": 10,
            "batch_size": 16,
            "learning_rate": 0.003,
            "positive_share": 0.5,
            "validate_every": 10,
        },
    ],
}


def test_what_was_learned_shows_out_of_fold_and_on_the_leaderboard(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    phantom.write(tmp_path / "lungs", train=162, test=54, size=64, seed=0)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    for verb in ("folds", "train", "submit"):
        monkeypatch.setattr("sys.argv", ["kit", verb, "--data", "lungs", "--recipe", "tiny.yaml"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code, capsys.readouterr().err
    # Of four seeds and another arithmetic the worst had 0.62, 0.92, 0.886 and 0.925.
    found = json.loads((tmp_path / "runs/lungs/tiny/thresholds.json").read_text())
    assert found["dice_positives"] > 0.5
    assert found["negatives_empty"] > 0.85
    assert found["nested_dice"] > found["dice_all_empty"] + 0.05
    scored = [json.loads(line) for line in (tmp_path / "submissions/ledger.jsonl").read_text().splitlines()]
    assert scored[-1]["private"] > 0.85
