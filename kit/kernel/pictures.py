"""The last cells of a notebook kernel; they go on with the names of the script."""
# ruff: noqa: F821

# %% What it has found: the share of images with a mask, and how large the masks are

import matplotlib.pyplot as plt
import numpy as np

from kit.competition import dicom, rle, submission
from kit.kernel import offline

rows = submission.read(ROOT / "working" / "submission.csv")
ids, paths = offline.find_test(mounts(COMPETITION, "competitions")[0])
shape = tuple(json.loads((BUNDLE / "manifest.json").read_text())["shape"])
areas = {name: rle.decode(text, shape).mean() for name, text in rows.items() if text != "-1"}
print(f"{len(areas)} of {len(rows)} images have a mask")
plt.figure(figsize=(8, 3))
plt.hist(100 * np.array(list(areas.values())), bins=30)
plt.xlabel("area of the mask, % of the image")
plt.ylabel("images")
plt.show()

# %% Six of them, from the smallest mask to the largest

ranked = sorted((name for name in areas if name in paths), key=areas.get)
chosen = [ranked[i] for i in np.linspace(0, len(ranked) - 1, min(6, len(ranked))).astype(int)]
figure, places = plt.subplots(2, 3, figsize=(12, 8))
for place in places.flat:
    place.axis("off")
for place, name in zip(places.flat, chosen, strict=False):
    place.imshow(dicom.read(paths[name], shape).pixels, cmap="gray")
    place.contour(rle.decode(rows[name], shape), levels=[0.5], colors="red", linewidths=1)
    place.set_title(f"{100 * areas[name]:.2f} % of the image", fontsize=9)
plt.show()
