"""What a file of published numbers looks like: the numbers, what they were measured on and how."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from camsweep.shards.errors import nearest

#: A setting as a trial's config has it.
Setting = bool | int | float | str | tuple[float, ...]

#: Settings of trials that a protocol may state, with the words a report has for them.
FACTS = {
    "images": "evaluated images",
    "backbone": "backbone",
    "crop": "crop",
    "resize": "long side",
    "jitter": "colour jitter",
    "epochs": "epochs",
    "batch": "batch",
    "lr": "learning rate",
    "momentum": "momentum",
    "weight_decay": "weight decay",
    "clip_norm": "gradient clipping",
    "scales": "test scales",
    "flip_test": "test flip",
    "map": "map",
    "normalise": "normalisation of the maps",
    "pseudo_labels": "pseudo labels",
    "thresholds": "background thresholds",
    "s_n": "S_N",
    "hiding": "hiding of superpixels",
    "superpixel_scaling": "input range of SLIC",
    "min_pool": "minimum pooling term",
    "loss_size": "size of the compared maps",
    "renormalise_pair": "renormalised pair",
    "ramp": "ramp of the consistency terms",
    "centre_features": "centred features of PCM",
    "pcm_stride": "stride of PCM",
    "train_seed_features": "features of the seeds in training",
    "refine": "pseudo masks by",
    "mask_background": "background of the maps",
    "mask_power": "alpha of the maps' background",
    "crf": "denseCRF of the pseudo masks",
    "crf_unary": "denseCRF starts from",
    "crf_reach": "reach of denseCRF",
    "affinity_recipe": "recipe of AffinityNet",
    "irn_recipe": "recipe of IRN",
    "affinity_backbone": "backbone of AffinityNet or IRN",
    "affinity_epochs": "its epochs",
    "affinity_batch": "its batch",
    "affinity_crop": "its crop",
    "affinity_lr": "its learning rate",
    "walk_alpha": "alpha of the random walk",
    "walk_beta": "beta of the random walk",
    "walk_doublings": "doublings of the random walk",
    "walk_crf": "denseCRF after the random walk",
    "segment": "segmentation network",
    "segment_backbone": "backbone of the segmentation",
    "segment_steps": "steps of the segmentation",
    "segment_batch": "batch of the segmentation",
    "segment_crop": "crop of the segmentation",
    "segment_lr": "learning rate of the segmentation",
    "segment_rescale": "training scales of the segmentation",
    "segment_jitter": "colour jitter of the segmentation",
    "segment_split": "evaluated split",
    "segment_scales": "test scales of the segmentation",
    "segment_flip_test": "test flip of the segmentation",
    "segment_crf": "denseCRF at the test",
}


class Frozen(BaseModel):
    """Base of all models of report files: no unknown keys, no change after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stated(Frozen):
    """A setting that a paper's text and its released code do not agree on, or only one of them has.

    Attributes:
        paper: as the text has it; None where it says nothing.
        code: as the released code has it; None where that is not known.
    """

    paper: Setting | None = None
    code: Setting | None = None

    @model_validator(mode="after")
    def _one(self) -> Stated:
        if self.paper is None and self.code is None:
            raise ValueError("needs paper, code or both")
        return self


def _fact(name: str) -> str:
    if name not in FACTS:
        raise ValueError(f"no fact '{name}'{nearest(name, list(FACTS))}")
    return name


class Protocol(Frozen):
    """How some of a paper's numbers were made.

    Attributes:
        artefacts: the names of the tables and figures, ``table1``.
        methods: the methods of the trials that this is to be held against.
        labels: of those, the cells of the sweep; empty for all.
        source: where the facts are from; stands in the report.
        facts: by their names in `FACTS`; what no source tells is left out.
    """

    artefacts: tuple[str, ...] = Field(min_length=1)
    methods: tuple[str, ...] = Field(min_length=1)
    labels: tuple[str, ...] = ()
    source: str
    facts: dict[Annotated[str, AfterValidator(_fact)], Stated | Setting]


class Comparable(Frozen):
    """What trials must be like to be compared with a published number.

    The data set's name is no part of it: it is whatever its folder was called.

    Attributes:
        profile: the shipped profile with the paper's schedule.
        images: how many images the paper evaluates on.
        classes: names in the order of their indices, the background first.
    """

    profile: str
    images: int
    classes: tuple[str, ...]


class Paper(Frozen):
    """The published numbers of a paper, in percent: artefact -> row -> column -> number.

    ``comparable`` is for all its artefacts but those that ``elsewhere`` names, which were measured
    on other images.
    """

    paper: str
    title: str
    measured_on: str
    comparable: Comparable
    elsewhere: dict[str, Comparable] = Field(default_factory=dict)
    artefacts: dict[str, dict[str, dict[str, float]]]
    protocol: tuple[Protocol, ...] = ()

    @model_validator(mode="after")
    def _known_artefacts(self) -> Paper:
        named = [("protocol", name) for group in self.protocol for name in group.artefacts]
        for where, name in [*named, *(("elsewhere", name) for name in self.elsewhere)]:
            if name not in self.artefacts:
                hint = nearest(name, list(self.artefacts))
                raise ValueError(f"{where}: no artefact '{name}'{hint}")
        return self

    def like(self, artefact: str) -> Comparable:
        """What trials must be like to be compared with an artefact's numbers."""
        return self.elsewhere.get(artefact, self.comparable)
