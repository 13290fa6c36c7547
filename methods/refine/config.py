"""Settings of the stages between maps and masks: what refines the maps, and with what."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from camsweep.methods.config import Stage, TrialConfig, setting

#: Names of ``densecrf.SETTINGS``; a test holds them to it.
CrfName = Literal["none", "seam", "cpn", "shown", "label", "seamv1", "deeplab"]
NetworkName = Literal["auto", "small", "resnet38", "resnet50", "resnet101"]

_CRF = frozenset({"mask_background", "mask_constant", "mask_power", "crf", "crf_unary"})
_LEARNT = frozenset(
    {
        "affinity_backbone",
        "affinity_weights_sha256",
        "affinity_epochs",
        "affinity_batch",
        "affinity_crop",
        "affinity_lr",
        "walk_beta",
        "walk_doublings",
        "walk_crf",
    }
)
_AFFINITY = frozenset({"affinity_recipe", "walk_alpha"})
_IRN = frozenset({"irn_recipe", "walk_background"})
FIELDS = frozenset({"refine", "crf_reach"}) | _CRF | _LEARNT | _AFFINITY | _IRN

#: What decides the maps that are stored, once there is a stage that reads them.
_MAPS = ("map", "thresholds", "eval_split")


class RefineConfig(TrialConfig):
    """Settings of pseudo masks; a number that is left out is the published one of the recipe.

    ``refine: crf`` gives the maps a background and runs denseCRF on them (``crf: none``: the argmax
    alone); ``affinity`` and ``irn`` train the network of that name on what two CRFs are sure of,
    and spread the maps by a random walk on its affinities.
    """

    refine: Literal["none", "crf", "affinity", "irn"] = setting(
        "none", stage="refine", help="pseudo masks: none, denseCRF, AffinityNet or IRN"
    )
    mask_background: Literal["best", "constant", "power"] = setting(
        "best",
        stage="refine",
        help="background of maps without their own: best threshold, a constant, (1 - best)^power",
    )
    mask_constant: float = setting(0.25, stage="refine", help="the constant", ge=0, le=1)
    mask_power: float = setting(4.0, stage="refine", help="the power (alpha)", gt=0)
    crf: CrfName = setting("label", stage="refine", help="denseCRF's settings, by name")
    crf_unary: Literal["labels", "scores"] = setting(
        "labels", stage="refine", help="denseCRF starts from the argmax (SIPE, IRN) or the scores"
    )
    crf_reach: float = setting(
        1.0,
        stage="affinity",
        help="factor on the distances of all CRFs, which are for images of 500 pixels",
        gt=0,
        le=4,
    )

    affinity_recipe: Literal["psa", "seam"] = setting(
        "seam", stage="affinity", help="AffinityNet as released with psa, or with SEAM"
    )
    irn_recipe: Literal["irn", "sipe"] = setting(
        "irn", stage="affinity", help="IRN with constant backgrounds, or SIPE's with the maps' own"
    )
    affinity_backbone: NetworkName = setting(
        "auto", stage="affinity", help="auto: resnet38 (AffinityNet), resnet50 (IRN), or small"
    )
    affinity_weights_sha256: str | None = setting(
        None, stage="affinity", help="SHA-256 of that network's weight file"
    )
    affinity_epochs: int | None = setting(
        None, stage="affinity", help="passes over the training split (AffinityNet, IRN)", ge=1
    )
    affinity_batch: int | None = setting(None, stage="affinity", help="images a step", ge=1)
    affinity_crop: int | None = setting(
        None, stage="affinity", help="side of the crop, pixels", ge=16
    )
    affinity_lr: float | None = setting(None, stage="affinity", help="first learning rate", gt=0)

    walk_alpha: float | None = setting(
        None, stage="refine", help="power of the background in AffinityNet's walk", gt=0
    )
    walk_beta: float | None = setting(None, stage="refine", help="power of the affinities", gt=0)
    walk_doublings: int | None = setting(
        None, stage="refine", help="the walk takes 2^this steps (logt, exp_times)", ge=0, le=12
    )
    walk_background: float | None = setting(
        None, stage="refine", help="constant background after IRN's walk (irn_recipe: irn)", ge=0
    )
    walk_crf: CrfName = setting("none", stage="refine", help="denseCRF after the walk, by name")

    @model_validator(mode="after")
    def _small_alone(self) -> RefineConfig:
        learns = self.refine in ("affinity", "irn")
        if self.refine == "irn" and self.affinity_network == "resnet38":
            raise ValueError("refine: irn reads five stages; set affinity_backbone: resnet50")
        if learns and self.pretrain == "embedded" and self.affinity_network != "small":
            raise ValueError(
                "pretrain: embedded trains the small network alone; set affinity_backbone: small"
            )
        return self

    @model_validator(mode="after")
    def _own_background(self) -> RefineConfig:
        if self.refine == "irn" and self.irn_recipe == "sipe" and not self.own_background:
            raise ValueError(
                "irn_recipe: sipe walks with the maps' own background; set ipe: true "
                "and pseudo_labels: estimated, or irn_recipe: irn"
            )
        return self

    @property
    def own_background(self) -> bool:
        """Whether the headline's maps have a background of their own that labels are taken with."""
        backed = self.headline in self.backed_maps()
        return backed and getattr(self, "pseudo_labels", "") == "estimated"

    @property
    def affinity_network(self) -> str:
        """The backbone of AffinityNet or IRN."""
        if self.affinity_backbone != "auto":
            return self.affinity_backbone
        if self.backbone == "small":
            return "small"
        return "resnet38" if self.refine == "affinity" else "resnet50"

    def chain(self) -> tuple[Stage, ...]:
        """The stages that this trial has, in order."""
        before = tuple(s for s in super().chain() if s != "evaluate")
        learns: tuple[Stage, ...] = ("affinity",) if self.refine in ("affinity", "irn") else ()
        refines: tuple[Stage, ...] = () if self.refine == "none" else ("refine",)
        return (*before, *learns, *refines, "evaluate")

    def stages_now(self) -> dict[str, Stage]:
        """Maps that are stored are chosen and measured when they are made."""
        found = super().stages_now()
        if self.refine == "none":
            return found
        moved: dict[str, Stage] = dict.fromkeys(_MAPS, "localize")
        if "pseudo_labels" in found:
            moved["pseudo_labels"] = "localize"
        if self.refine == "crf":
            moved["crf_reach"] = "refine"
        return found | moved

    def inactive(self) -> set[str]:
        """Fields that cannot change the outcome under the other values."""
        names = super().inactive()
        if self.refine == "none":
            return names | FIELDS
        if self.refine != "crf":
            names |= _CRF
        if self.refine not in ("affinity", "irn"):
            names |= _LEARNT
        if self.pretrain != "weights":
            names.add("affinity_weights_sha256")
        if self.refine != "affinity":
            names |= _AFFINITY
        if self.refine != "irn":
            names |= _IRN
        if self.own_background:
            names |= {"mask_background", "mask_constant", "mask_power"}
        if self.mask_background != "constant":
            names.add("mask_constant")
        if self.mask_background != "power":
            names.add("mask_power")
        if self.crf == "none":
            names.add("crf_unary")
        return names

    def active(self) -> dict[str, object]:
        """JSON-ready values of all fields that matter, the network by its name."""
        found = super().active()
        if "affinity_backbone" in found:
            found["affinity_backbone"] = self.affinity_network
        return found
