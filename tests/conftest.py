"""What every test stands on."""

import pytest
import torch

from kit.competition import layout, phantom

# The networks of the tests are tiny: a second thread would only wait for the first.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> layout.Competition:
    """A small phantom competition, to be read only."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    phantom.write(folder, train=40, test=8, size=128, seed=1)
    return layout.open_folder(folder)
