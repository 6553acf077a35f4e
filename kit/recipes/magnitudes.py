"""How strong augmentation is: a section a group of transforms."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from kit.recipes.section import Positive, Section, Share, Weight

PAPER = {"A1": "flip", "A2": "light", "A3": "distortion", "A4": "crop"}
"""What the paper calls groups (Table 9), which a recipe may call so, too."""


def _rising(given: tuple[float, float]) -> tuple[float, float]:
    if given[0] > given[1]:
        raise ValueError("the first is above the second")
    return given


Range = Annotated[tuple[Positive, Positive], AfterValidator(_rising)]


class Flip(Section):
    """The horizontal flip, the paper's A1."""

    probability: Share = 0.5
    """How often a sample gets it."""


class Light(Section):
    """The paper's A2: one of random contrast, random gamma and random brightness."""

    probability: Share = 0.3
    """How often a sample gets it."""
    contrast: Share = 0.2
    """Contrast changes by a factor of 1 ± up to this."""
    gamma: Range = (0.8, 1.2)
    """Grey levels of 0…1 are raised to 1 / gamma, as in albumentations 0.3 of 2019: below 1 makes them darker."""
    gamma_is_exponent: bool = False
    """Raises grey levels to gamma itself, as in albumentations 2."""
    brightness: Share = 0.2
    """Grey levels change by up to ± this share of the image's mean, as in albumentations 0.3."""
    brightness_by_max: bool = False
    """Grey levels change by up to ± this share of 255, as in albumentations 2: about twice as far on a radiograph."""


class Distortion(Section):
    """The paper's A3: one of elastic, grid and optical distortion, as albumentations made them in 2019."""

    probability: Share = 0.3
    """How often a sample gets it."""
    elastic_alpha: Weight = 120.0
    """Elastic transform: amplitude of the uniform noise before smoothing, in pixels at any image size."""
    elastic_sigma: Annotated[float, Field(ge=1)] = 6.0
    """Width of the Gaussian that smooths the noise, in pixels. The defaults displace with a deviation of 3.3 pixels."""
    elastic_affine: Weight = 3.6
    """Before that, three points around the centre move by up to ± this many pixels, and the image with them."""
    grid: Share = 0.3
    """Each of the five steps of the grid becomes longer or shorter by up to this share."""
    optical: Weight = 2.0
    """Radial distortion, up to ± this."""


class Crop(Section):
    """The paper's A4: a random crop, enlarged to the size of the stage."""

    probability: Share = 0.25
    """How often a sample gets it."""
    smallest: Annotated[float, Field(gt=0, le=1)] = 0.6875
    """Height of the smallest crop as a share of the image's: 176 of 256 pixels."""


class Affine(Section):
    """Shift, scale and rotation, by the winner's magnitudes."""

    probability: Share = 0.5
    """How often a sample gets it."""
    shift: Share = 0.0625
    """Shift, up to ± this share of each side."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Scale by a factor of 1 ± up to this."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 45.0
    """Rotation, up to ± this many degrees."""
    border: Literal["reflect", "black"] = "reflect"
    """What fills the space beyond the image."""


class Exposure(Section):
    """One of gamma, brightness with contrast, and CLAHE, by the runner-up's magnitudes and as in albumentations 0.3."""

    probability: Share = 0.5
    """How often a sample gets it."""
    gamma: Range = (0.6, 1.2)
    """Grey levels of 0…1 are raised to 1 / gamma."""
    brightness: Share = 0.2
    """Grey levels change by up to ± this share of the image's mean."""
    contrast: Share = 0.2
    """Contrast changes by a factor of 1 ± up to this."""
    clahe: Annotated[float, Field(ge=1)] = 4.0
    """Highest clip limit of CLAHE, on 4×4 tiles of the lightness (L of CIELAB)."""


class Blur(Section):
    """One of mean, motion and median blur, as the runner-up's."""

    probability: Share = 0.5
    """How often a sample gets it."""
    kernel: Literal[3, 5, 7] = 3
    """Size of the kernel, in pixels."""


class Magnitudes(Section):
    """How strong each group of augmentation is, and how often a sample gets it.

    The paper gives neither for its groups A1 to A4, here `flip`, `light`, `distortion` and `crop`. The defaults are
    those of the public pipeline of 2019 that has the same transforms in the same groups and order.
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
        found: dict[str, Any] = {}
        for key, settings in value.items():
            name = PAPER.get(key) or key
            both = isinstance(settings, dict) and isinstance(found.get(name), dict)
            found[name] = found[name] | settings if both else settings
        return found
