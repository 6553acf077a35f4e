"""The section `magnitudes`: the strength of each group of augmentation."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from kit.core.documents import Share
from kit.recipes.section import Positive, Section, Weight

PAPER = {"A1": "flip", "A2": "light", "A3": "distortion", "A4": "crop"}
"""The paper's names of groups (Table 9), which recipes may use, too."""


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError("the first is above the second")
    return limits


Range = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]


class Flip(Section):
    """The horizontal flip, the paper's A1."""

    probability: Share = 0.5
    """Probability that a sample is transformed."""


class Light(Section):
    """The paper's A2: one of random contrast, random gamma and random brightness."""

    probability: Share = 0.3
    """Probability that a sample is transformed."""
    contrast: Share = 0.2
    """Largest change of contrast, by a factor of 1 ± this."""
    gamma: Range = (0.8, 1.2)
    """Range of gamma. Grey levels of 0…1 are raised to 1 / gamma, as in albumentations 0.3: below 1 is darker."""
    gamma_is_exponent: bool = False
    """Whether grey levels are raised to gamma itself, as in albumentations 2."""
    brightness: Share = 0.2
    """Largest change of grey levels, ± this share of the image's mean, as in albumentations 0.3."""
    brightness_by_max: bool = False
    """Whether `brightness` is a share of 255, as in albumentations 2: about twice as much on a radiograph."""


class Distortion(Section):
    """The paper's A3: one of elastic, grid and optical distortion, as in albumentations of 2019."""

    probability: Share = 0.3
    """Probability that a sample is transformed."""
    elastic_alpha: Weight = 120.0
    """Elastic transform: amplitude of the uniform noise before smoothing, in pixels at any image size."""
    elastic_sigma: Annotated[float, Field(ge=1)] = 6.0
    """Sigma of the Gaussian that smooths the noise, in pixels. The defaults displace with a deviation of 3.3 pixels."""
    elastic_affine: Weight = 3.6
    """Affine transform before that: three points around the centre move by up to ± this many pixels."""
    grid: Share = 0.3
    """Each of the grid's five steps changes its length by up to ± this share."""
    optical: Weight = 2.0
    """Largest coefficient of the radial distortion, ±."""


class Crop(Section):
    """The paper's A4: a random crop, enlarged to the size of the stage."""

    probability: Share = 0.25
    """Probability that a sample is transformed."""
    smallest: Annotated[float, Field(gt=0, le=1)] = 0.6875
    """Height of the smallest crop, as a share of the image: 176 of 256 pixels."""


class Affine(Section):
    """Shift, scale and rotation; the defaults are the winner's."""

    probability: Share = 0.5
    """Probability that a sample is transformed."""
    shift: Share = 0.0625
    """Largest shift, ± this share of each side."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Largest change of scale, by a factor of 1 ± this."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 45.0
    """Largest rotation, ± this many degrees."""
    border: Literal["reflect", "black"] = "reflect"
    """Fills the space beyond the image."""


class Exposure(Section):
    """One of gamma, brightness with contrast, and CLAHE, as in albumentations 0.3; the defaults are the runner-up's."""

    probability: Share = 0.5
    """Probability that a sample is transformed."""
    gamma: Range = (0.6, 1.2)
    """Range of gamma. Grey levels of 0…1 are raised to 1 / gamma."""
    brightness: Share = 0.2
    """Largest change of grey levels, ± this share of the image's mean."""
    contrast: Share = 0.2
    """Largest change of contrast, by a factor of 1 ± this."""
    clahe: Annotated[float, Field(ge=1)] = 4.0
    """Largest clip limit of CLAHE, on 4×4 tiles of the lightness (L of CIELAB)."""


class Blur(Section):
    """One of mean, motion and median blur; the defaults are the runner-up's."""

    probability: Share = 0.5
    """Probability that a sample is transformed."""
    kernel: Literal[3, 5, 7] = 3
    """Size of the kernel, in pixels."""


class Magnitudes(Section):
    """Strength and probability of each group of augmentation.

    The paper gives neither for its groups A1 to A4, here `flip`, `light`, `distortion` and `crop`. The defaults are
    from the public pipeline of 2019 that has the same transforms in the same groups and order.
    """

    flip: Flip = Flip()
    light: Light = Light()
    distortion: Distortion = Distortion()
    crop: Crop = Crop()
    affine: Affine = Affine()
    exposure: Exposure = Exposure()
    blur: Blur = Blur()

    @model_validator(mode="before")
    @classmethod
    def _by_the_papers_names(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        renamed: dict[str, Any] = {}
        for key, settings in value.items():
            name = PAPER.get(key) or key
            both = isinstance(settings, dict) and isinstance(renamed.get(name), dict)
            renamed[name] = renamed[name] | settings if both else settings
        return renamed
