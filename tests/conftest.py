"""What every test stands on."""

import torch

# The networks of the tests are tiny: a second thread would only wait for the first.
torch.set_num_threads(1)
