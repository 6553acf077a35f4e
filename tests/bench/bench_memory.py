"""Peak memory of training, prediction and search with 300 and 3,000 images of 64 pixels, each in its own process."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.measure import Measure, Row, peak

FEW, MANY, SIZE = 300, 3_000, 64
NETWORK = (
    "network.encoder=tu-mobilenetv3_small_050 network.encoder_weights=null network.decoder_channels=[8,8,8,8,8] "
    f"stages.0.size={SIZE} stages.0.epochs=1 stages.0.keep=last stages.0.batch_size=16 "
    f"stages.1.size={SIZE} stages.1.epochs=1 stages.1.batch_size=16 stages.1.keep=last"
)


def rows() -> list[Row]:
    """A row a measurement."""
    return [_row(what) for what in ("train", "predict", "thresholds")]


def _row(what: str) -> Row:
    few, many = (_peak(what, count) for count in (FEW, MANY))
    return Row(
        f"peak of {what}, {MANY:,} images of {SIZE} px",
        Measure((many,), unit="MiB"),
        limit=Measure((few,), unit="MiB"),
        bound=f"peak with {FEW} images",
        bottleneck="the libraries, and one batch",
        share=1 / 1.05,
        why="of the search, the tables of an image at 256 levels, 6 kB; else pages of the mapped files",
    )


def _peak(what: str, count: int) -> float:
    """MiB."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.bench.bench_memory", what, str(count)], check=True, capture_output=True, text=True
    )
    return json.loads(told.stdout.splitlines()[-1])


def _work(what: str, count: int, folder: Path) -> None:
    import numpy as np

    for name in ("images", "masks"):
        array = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, (count, SIZE, SIZE))
        random = np.random.default_rng(0)
        for index in range(count):
            array[index] = random.integers(0, 256, (SIZE, SIZE)) if name == "images" else 0
            if name == "masks" and index % 4 == 0:
                array[index, 8:24, 8:24] = 1
        array.flush()
        del array
    {"train": _train, "predict": _predict, "thresholds": _thresholds}[what](count, folder)


def _train(count: int, folder: Path) -> None:
    import numpy as np

    from kit import recipes
    from kit.core.arrays import open_array
    from kit.data.cache import Cache
    from kit.data.dataset import FoldData
    from kit.training import fabric_setup, fit

    recipe = recipes.load("demo", NETWORK)
    cache = Cache(*(open_array(folder / f"{name}.npy") for name in ("images", "masks")), (b"",) * count, None)
    rows_ = np.arange(count)
    data = FoldData(cache, rows_[: count * 9 // 10], rows_[count * 9 // 10 :], rows_[: count * 9 // 10] % 4 == 0)
    fit.fit(fabric_setup.launch(recipe), fit.Task(recipe, 0, 0, data, folder / "stage"))


def _predict(count: int, folder: Path) -> None:
    import numpy as np

    from kit import networks, recipes
    from kit.core.arrays import open_array
    from kit.core.distributed import ALONE
    from kit.core.store import key_of
    from kit.inference.predictions import Images, files_of, predict
    from kit.run import Trained

    recipe = recipes.load("demo", NETWORK)
    networks.save_weights(folder / "weights.safetensors", networks.build(recipe.network, pretrained=False))
    ids = tuple(map(str, range(count)))
    images = Images(
        ids,
        tuple(map(key_of, ids)),
        lambda index: np.array(open_array(folder / "images.npy")[index]),
    )
    trained = Trained(recipe, {recipe.label: [folder / "weights.safetensors"]}, folder / "none.json")
    files = files_of(trained, lambda tta, role: folder / f"{role}{tta}.npy", images)
    predict(trained, files, images, ALONE, "predicting")


def _thresholds(count: int, folder: Path) -> None:
    from kit.workflows.thresholds import explore_arrays

    for name, where in (("images.npy", "maps.npy"), ("masks.npy", "truth.npy")):
        (folder / name).rename(folder / where)
    explore_arrays(folder / "maps.npy", folder / "truth.npy", ("image", "triplet", "expected"), folder / "out")


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        _work(sys.argv[1], int(sys.argv[2]), Path(name))
    print(json.dumps(peak()))
