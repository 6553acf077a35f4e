"""Each kind of file that the kit reads: a good one, what reads it, and faults that are its own."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import lungs
import numpy as np
import torch
from dicoms import write_dicom
from small_run import RECIPE

from kit import networks, recipes
from kit.competition import dicom, labels, layout, scoring, submission
from kit.core.arrays import read_arrays
from kit.core.store import read_keys
from kit.data import folds
from kit.inference import ensemble, maps, thresholds_file
from kit.kaggle import acting, settings
from kit.kernel import bundle, metadata, push, session
from kit.submissions import ledger
from kit.training import fabric_setup
from kit.training.state import TrainState

Read = Callable[[Path], object]


def npy(array: np.ndarray) -> bytes:
    """The bytes of a .npy file."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    """The bytes of a .npz file."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def line(event: dict) -> bytes:
    """A line of the ledger."""
    return json.dumps(event).encode() + b"\n"


def pth(value: object) -> bytes:
    """The bytes of a .pth file."""
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


def score(path: Path) -> object:
    """Scores an empty submission."""
    return scoring.score({"a": "-1", "b": "-1"}, scoring.read_solution(path), (8, 8))


def read_folds(path: Path) -> object:
    """Reads the folds of two images."""
    images = path.with_name("labels.csv")
    images.write_text("a,-1\nb,0 8\n")
    known = dataclasses.replace(
        lungs.competition(path.parent), train={"a": images, "b": images}, labels=labels.read(images), labels_path=images
    )
    return folds.read(path, known)


def beside(name: str) -> Read:
    """Reads the maps that the file lies beside."""

    def read(path: Path) -> object:
        np.save(path.with_name("fold0.npy"), np.zeros((2, 4, 4), np.uint8))
        return maps.open_maps(path.with_name("fold0.npy")) if name == "ids" else read_keys(path.with_name("fold0.npy"))

    return read


def documents(*changes: dict, **base: object) -> dict[str, bytes]:
    """JSON files with other values, by what is other."""
    return {
        ", ".join(f"{key} {json.dumps(value)[:40]}" for key, value in change.items()): json.dumps(
            base | change
        ).encode()
        for change in changes
    }


def table(folder: Path) -> dict[str, tuple[bytes, Read, dict[str, bytes]]]:
    """The files: a good content, how it is read, and faults of its own."""
    small = recipes.parse(RECIPE, "small")
    network = networks.build(small.network, pretrained=False)

    def resume(path: Path) -> TrainState:
        return TrainState(fabric_setup.launch(small), small, small.stages[0], 0, folder / "w.safetensors", path)

    networks.save_weights(folder / "w.safetensors", network)
    image = write_dicom(folder / "i", (np.arange(48 * 64) % 251).astype(np.uint8).reshape(48, 64)).read_bytes()
    palette = write_dicom(
        folder / "p", np.zeros((8, 8), np.uint8), PhotometricInterpretation="PALETTE COLOR"
    ).read_bytes()
    resume(folder / "last.ckpt").save()
    nan = float("nan")
    about = metadata.make("kit-a", "kit-a.py", "ada", ["ada/kit-a-files"], ["siim"], gpu=False).model_dump()
    session_left = {"run": "siim/exp5", "number": 1, "state": "cut", "files": {}}
    content = {"kernel": "kit-a", "run": "a/b", "files": {}, "made_from": {}}
    made = {"labels": "0" * 64, "folds": 5, "holdout": None, "seed": 0}
    built = {"time": "2026-11-24T12:00:00Z", "event": "built", "sha256": "0" * 64, "file": "a.csv"}
    return {
        "train-rle.csv": (
            b"ImageId, EncodedPixels\na, -1\nb, 0 8\n",
            labels.read,
            {
                "another header": b"Image,Mask,Other\na,-1,\n",
                "a row of one field": b"a,-1\nb",
                "an open quote": b'a,"1 2\n',
            },
        ),
        "patients.csv": (
            b"ImageId,PatientId\na,P1\nb,P2\n",
            lambda path: layout.read_patients(path, {"a", "b"}),
            {
                "images of other data": b"ImageId,PatientId\nx,P1\n",
                "two patients of an image": b"ImageId,PatientId\na,P1\na,P2\n",
                "no patient": b"ImageId,PatientId\na,\n",
            },
        ),
        "solution.csv": (
            b"ImageId,EncodedPixels,Usage\na,0 8,Public\nb,-1,Private\n",
            score,
            {
                "a malformed mask": b"ImageId,EncodedPixels,Usage\na,0 8 1,Public\nb,-1,Private\n",
                "another usage": b"ImageId,EncodedPixels,Usage\na,0 8,Secret\n",
                "both usages": b"ImageId,EncodedPixels,Usage\na,0 8,Public\na,-1,Private\n",
            },
        ),
        "submission.csv": (
            b"ImageId,EncodedPixels\na,-1\n",
            submission.read,
            {"another header": b"id,mask,x\na,-1,\n"},
        ),
        "image.dcm": (
            image,
            dicom.read,
            {
                "a web page": b"<html>not found</html>" * 20,
                "a type that does not exist": image.replace(b"US\x02\x00", b"U/\x02\x00", 1),
                "a palette": palette,
            },
        ),
        "folds/NAME.csv": (
            b"image_id,patient_id,stratum,fold\na,p,negative,0\nb,q,single,1\n",
            read_folds,
            {
                "a fold of 40 digits": b"image_id,patient_id,stratum,fold\na,p,negative,0\nb,q,single,"
                + b"9" * 40
                + b"\n",
                "a patient in two folds": b"image_id,patient_id,stratum,fold\na,p,negative,0\nb,p,single,1\n",
                "other images": b"image_id,patient_id,stratum,fold\na,p,negative,0\n",
                "another stratum": b"image_id,patient_id,stratum,fold\na,p,single,0\nb,q,single,1\n",
                "one fold": b"image_id,patient_id,stratum,fold\na,p,negative,0\nb,q,single,0\n",
            },
        ),
        "folds/NAME.origin.json": (
            json.dumps(made).encode(),
            lambda path: folds.split_of(path.with_name("NAME.csv")),
            {"a list": b"[1]"},
        ),
        "recipe.yaml": (
            b"stages: [{size: 64, epochs: 1, batch_size: 2}]\n",
            recipes.load,
            {
                "an unknown key": b"stages: [{size: 64, epochs: 1, batch_size: 2}]\nmystery: 3\n",
                "a list": b"- 1\n",
                "nested too deeply": b"[" * 5000,
            },
        ),
        "last.ckpt": (
            (folder / "last.ckpt").read_bytes(),
            resume,
            {"a list": pth([1]), "another training": pth({"history": []})},
        ),
        "weights.safetensors": (
            (folder / "w.safetensors").read_bytes(),
            lambda path: networks.load_weights(network, path),
            {},
        ),
        "weights.pth": (
            pth(network.state_dict()),
            lambda path: networks.load_weights(network, path),
            {
                "a tensor": pth(torch.zeros(2)),
                "a list": pth([torch.zeros(2)]),
                "numbers as names": pth({0: torch.zeros(2)}),
            },
        ),
        "oof/fold0.npy": (
            npy(np.zeros((2, 4, 4), np.uint8)),
            maps.open_maps,
            {
                "an impossible shape": npy(np.zeros((2, 4, 4), np.uint8)).replace(b"(2, 4, 4)", b"(9**99,) "),
                "objects": npy(np.zeros((2, 4, 4), np.uint8)).replace(b"|u1", b"|O "),
                "numbers of 64 bits": npy(np.zeros((2, 4, 4), np.int64)),
                "another shape": npy(np.zeros((2, 4), np.uint8)),
            },
        ),
        "oof/fold0.ids.txt": (b"a\nb\n", beside("ids"), {"an id twice": b"a\na\n", "three ids": b"a\nb\nc\n"}),
        "oof/fold0.keys": (
            npy(np.zeros((2, 32), np.uint8)),
            beside("keys"),
            {"another shape": npy(np.zeros(3, np.uint8))},
        ),
        "thresholds.json": (
            b'{"rule": "image", "binarization": 0.5, "removal": 100}',
            thresholds_file.read,
            documents(
                {"binarization": "abc"},
                {"binarization": nan},
                {"binarization": 2},
                {"binarization": -1},
                {"removal": 1.5},
                {"removal": 10**30},
                {"gate": "0.5"},
                {"hashes": []},
                {"masked": "a"},
                {"rule": "best"},
                {"rule": "expected"},
                rule="image",
                binarization=0.5,
                removal=100,
            )
            | {"a list": b"[]", "null": b"null", "nested too deeply": b"[" * 5000},
        ),
        "surface.npz": (
            npz(levels=np.zeros(2), removal=np.zeros(2), dice=np.zeros((2, 2))),
            lambda path: read_arrays(path, "levels", "removal", "dice"),
            {"another array": npz(levels=np.zeros(2)), "a .npy": npy(np.zeros(2))},
        ),
        "submissions/ledger.jsonl": (
            line(built) + line(built | {"event": "validated", "destination": "kaggle/siim"}),
            ledger.read,
            {
                "a list": b"[]\n",
                "a list as sha256": line(built | {"sha256": []}),
                "another event": line(built | {"event": "eaten"}),
                "a score NaN": line(built | {"public": nan}),
                "a time that never was": line(built | {"time": "2026-13-45T12:00:00Z"}),
                "a number of 400 digits": line(built | {"ref": 10**399}),
                "half a character": line(built).replace(b"a.csv", rb"\ud800"),
                "nested too deeply": b"[" * 5000 + b"\n",
            },
        ),
        "kaggle.yaml": (
            b"competition: siim\nuser: ada\n",
            lambda path: settings.load(path=path),
            {
                "an unknown key": b"compettition: siim\n",
                "an address": b"competition: https://www.kaggle.com/c/siim\n",
                "an impossible date": b"user: 2026-13-45\n",
                "a number": b"competition: 5\n",
                "no time at all": b"timeout: .inf\n",
                "a list": b"- siim\n",
            },
        ),
        "kernel-metadata.json": (
            json.dumps(about).encode(),
            metadata.read,
            documents({"enable_gpuu": True}, {"enable_gpu": "yes"}, {"competition_sources": "siim"}, **about),
        ),
        "manifest.json": (
            json.dumps(content).encode(),
            lambda path: bundle.read_manifest(path.parent, bundle.ModelManifest),
            documents({"made_from": []}, {"weights": {}}, {"shape": [64, 64]}, {"files": {"a": "b"}}, **content)
            | {"a list": b"[]"},
        ),
        "session.json": (
            json.dumps(session_left).encode(),
            session.read,
            documents({"state": "dead"}, {"number": "first"}, {"files": {"a": "b"}}, **session_left),
        ),
        "KERNEL.version.json": (b"3", push.saved_version, {"a list": b"[]", "a negative number": b"-1"}),
        "KERNEL.acts.json": (
            b'{"version 1": "begun"}',
            lambda path: acting.Journal(path, "version 1").state(),
            {"a list": b"[]", "no state": b'{"version 1": 1.5}'},
        ),
        "stack.json": (
            b'{"members": ["a", "b"], "weights": [1, 2], "bias": 0}',
            lambda path: ensemble.read_stack(path, ["a", "b"]),
            documents(
                {"members": ["a", "c"]}, {"weights": [1]}, {"bias": nan}, members=["a", "b"], weights=[1, 2], bias=0
            ),
        ),
    }
