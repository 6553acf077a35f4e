"""The benchmarks run: on a processor and at a tiny size, the one for GPUs too."""

import math

from tests.bench import gpu


def test_a_line_of_the_gpus_table(monkeypatch):
    small = "network.encoder=tu-test_resnet network.decoder_channels=[8,8,8,8,8]"
    monkeypatch.setattr(gpu, "NETWORK", f"{gpu.NETWORK} {small}")
    size, batch, rate, share, loaded, peak, predicted = gpu.cells(32, 2, 2)
    assert (size, batch, peak) == ("32×32", "2", "nan")
    assert float(rate) > 0
    assert 0 < float(share.rstrip("%")) < 1000
    assert float(loaded) > 0
    assert math.isfinite(float(predicted))
    text = gpu.page("a card", [[size, batch, rate, share, loaded, peak, predicted]], 1.0)
    assert [line.count("|") for line in text.splitlines() if line.startswith("|")] == [8, 8, 8]
