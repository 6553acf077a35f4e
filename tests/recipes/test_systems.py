"""Recipes of published systems, compared with their authors' code and descriptions."""

from kit import recipes

PUBLISHED = ("amirassov", "effnetv2s", "ens4b", "fpn-r101d", "mit-b2", "sneddy-round2", "unetpp-b4")


def test_a_recipe_that_nobody_has_trained_says_so():
    for name in PUBLISHED:
        described = recipes.load(name).described
        assert "not trained here" in described
    assert recipes.load("ens4b").described.endswith("[PeerJ CS 7:e607; reported: 0.8608 private; not trained here]")
    assert recipes.load("small").described == recipes.load("small").about


def test_the_papers_sequel_is_four_networks_of_which_one_learns_by_sgd():
    parts = {part.label: part for part in recipes.load("ens4b").parts()}
    assert {label: part.weight for label, part in parts.items()} == {"se50": 0.4, "b4": 0.4, "r50": 0.1, "d169": 0.1}
    assert [len(part.stages[0].swa) for part in parts.values()] == [3, 4, 5, 4]
    by = {label: (part.optimizer.name, part.stages[0].learning_rate) for label, part in parts.items()}
    assert by == {"se50": ("adam", 1e-4), "b4": ("adam", 1e-4), "r50": ("sgd", 1e-3), "d169": ("adam", 1e-4)}


def test_the_fourth_places_positives_fall_within_its_stage():
    (stage,) = recipes.load("amirassov").stages
    shares = [stage.positives_in(epoch) for epoch in range(stage.epochs)]
    assert (shares[0], shares[-1]) == (0.8, 0.22)
    assert shares == sorted(shares, reverse=True)
