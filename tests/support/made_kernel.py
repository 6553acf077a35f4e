"""A kernel of a few bytes in the working folder; run as a script, this pushes it."""

from pathlib import Path

import lungs

from kit.core import files
from kit.kernel import bundle, code


def write(content: str = "trained") -> bundle.Kernel:
    """Writes the kernel's script, metadata and three files."""
    kernel = bundle.Kernel("kit-lungs-exp5")
    for path in kernel.bundle.glob("*"):
        path.unlink()
    files.write_text(kernel.bundle / "fold0.safetensors", f"{content:20}" * 1000)
    files.write_text(kernel.bundle / f"kit-0.1.0-0{content}-py3-none-any.whl", "wheel")
    listed = {path.name: files.sha256(path) for path in kernel.bundle.iterdir()}
    manifest = bundle.ModelManifest(kernel=kernel.slug, run="lungs/exp5", files=listed, made_from={})
    files.write_json(kernel.manifest, manifest.model_dump(mode="json"))
    blanks = {"slug-of-the-competition": "siim"}
    text = code.script("predict", kernel.dataset, files.sha256(kernel.manifest), 60.0, **blanks)
    write_code(kernel, text)
    return kernel


def write_code(kernel: bundle.Kernel, text: str, *, gpu: bool = False, notebook: bool = False) -> None:
    """Writes the kernel's code and metadata, for user ada and competition siim."""
    bundle.write_code(kernel, text, "ada", ["siim"], gpu=gpu, notebook=notebook)


def main() -> None:
    from kit.kaggle import acting, dataset
    from kit.kaggle.client import connect
    from kit.kernel import push

    push.POLL = dataset.POLL = acting.PAUSE = 0.01
    acting.CATCH_UP = 0.1
    kernel = bundle.Kernel("kit-lungs-exp5")
    push.push(connect(), kernel, "ada", lungs.competition(Path("lungs")), print)


if __name__ == "__main__":
    main()
