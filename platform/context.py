"""What a run hands to every trial beside its config: where things are and who asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from camsweep.platform.provenance import Provenance
from camsweep.sweeps.store import Store


@dataclass(frozen=True)
class RunContext:
    """Where a trial reads and writes. Nothing here can change a result but the data it names.

    Attributes:
        store: results and stage artefacts.
        data: the shards' folder or URL.
        profile: the profile's name, for the results.
        data_name: of the manifest.
        data_digest: of the manifest.
        device: `cpu` or `cuda`; a trial that was given no GPU must not take one.
        threads: CPU threads a trial computes with.
        workers: data-loading threads a trial.
        skip_damaged: leave out samples that can't be read, and tell which in the results.
        weights: files of pretrained weights by backbone; the key "" stands for all others.
        provenance: of the driver.
        owner: who holds the leases of the trials: the driver, then the worker.
        failed_before: ids of the trials that had failed when the run began, and are tried again;
            what fails meanwhile, under whichever driver, is not. None: all are.
    """

    store: Store
    data: str
    profile: str
    data_name: str = ""
    data_digest: str = ""
    device: str = "cpu"
    threads: int = 1
    workers: int = 0
    skip_damaged: bool = False
    weights: Mapping[str, str] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    owner: str = "camsweep"
    failed_before: frozenset[str] | None = None


@dataclass(frozen=True)
class Progress:
    """Where a trial stands.

    Attributes:
        trial_id: which trial.
        phase: `superpixels`, `pretrain`, `train`, `localize`, `affinity`, `refine`, `segment`,
            `evaluate`, or `waiting`.
        done: units done in the phase: epochs or images.
        total: units in the phase.
        loss: total loss of the last epoch, where there is one.
        images_per_second: of the last epoch, where there is one.
        node: where the trial runs; None where there is but one.
        losses: means of the last epoch by name, where one has just ended.
        lr: learning rate of its last step.
    """

    trial_id: str
    phase: str
    done: int
    total: int
    loss: float | None = None
    images_per_second: float | None = None
    node: str | None = None
    losses: Mapping[str, float] | None = None
    lr: float | None = None


Report = Callable[[Progress], None]

#: Images between two reports of a phase that goes image by image.
STEP = 50


def told_images(
    report: Report, trial_id: str, phase: str, count: int, world: int
) -> Callable[[int], None]:
    """Called with each image that this process has done, tells now and then how far all are.

    Args:
        report: is told.
        trial_id: of the trial.
        phase: of its work.
        count: images of all processes.
        world: processes; the others do about as many.
    """
    seen = 0

    def on_image(index: int) -> None:
        nonlocal seen
        before, seen = seen, min(seen + world, count)
        if seen // STEP > before // STEP:
            report(Progress(trial_id, phase, seen, count))

    return on_image
