"""Training and prediction against the bare network: what the kit's own work adds to a step."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from kit import networks, recipes
from kit.data.cache import Cache
from kit.inference import predict
from kit.training import fabric_setup, losses, stage

SIZE, BATCH, STEPS = 128, 8, 6


def rows() -> list[dict[str, str]]:
    loaded = recipes.load(
        "demo",
        f"stages.0.size={SIZE} stages.0.epochs=1 stages.0.swa_epochs=0 "
        f"stages.0.batch_size={BATCH} stages.1.batch_size={BATCH}",
    )
    random = np.random.default_rng(0)
    count = BATCH * STEPS
    images = random.integers(0, 256, (count, SIZE, SIZE), np.uint8)
    masks = (images > 250).astype(np.uint8)
    masks[::2] = 0
    model = networks.build(loaded.network)
    optimizer = torch.optim.Adam(model.parameters())

    def bare_step() -> None:
        batch = torch.from_numpy(images[:BATCH])[:, None], torch.from_numpy(masks[:BATCH])[:, None]
        loss = losses.total(loaded.loss, *model(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    bare_step()
    bare = _seconds(lambda: [bare_step() for _ in range(STEPS)]) / STEPS
    cache = Cache(images, masks, (b"",) * count, np.zeros(count, bool))
    data = stage.FoldData(cache, np.arange(count), np.arange(0), masks.any(axis=(1, 2)))
    fabric = fabric_setup.launch(loaded)
    with TemporaryDirectory() as folder:
        stage.train(fabric, loaded, 0, 0, data, Path(folder), None)
        import pandas as pd

        steps = len(stage.batches(stage.epoch_order(masks.any(axis=(1, 2)), 0.5, 0, 0), BATCH))
        ours = pd.read_csv(Path(folder) / "metrics.csv").seconds[0] / steps

    model.eval()
    both = torch.from_numpy(np.concatenate([images[:BATCH], images[:BATCH, :, ::-1]]))[:, None]
    with torch.inference_mode():
        model(both)
        bare_forward = _seconds(lambda: model(both)) / BATCH
    forward = _seconds(lambda: list(predict.maps([model], BATCH, lambda i: images[i], loaded, "bench"))) / BATCH
    return [
        _row(f"training step, {SIZE} px, batch {BATCH}", ours, bare),
        _row(f"prediction with TTA, {SIZE} px, an image", forward, bare_forward),
    ]


def _seconds(action) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _row(what: str, ours: float, bare: float) -> dict[str, str]:
    return {
        "what": what,
        "ours": f"{1000 * ours:.1f} ms",
        "reference": "",
        "ratio": f"{ours / bare:.2f} of the limit",
        "limit": f"{1000 * bare:.1f} ms (bare network)",
    }
