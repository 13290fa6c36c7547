"""The test of a segmentation network: several scales, mirrored too, the mean of the logits, a CRF.

Released code scales the picture with OpenCV's linear filter; here it is Pillow's bicubic one, as
for the maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from camsweep.methods.inference import rescale, to_input
from camsweep.methods.segment.config import SegmentConfig
from camsweep.methods.segment.crf import crf_probabilities
from camsweep.methods.segment.tasks import Inference, inference_of


def predict(
    net: Any,
    image: NDArray[np.uint8],
    config: SegmentConfig,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Probabilities of the classes at every pixel; their argmax is the prediction.

    Args:
        net: DeepLab-v1 or -v2 on ``device``; it is put in eval mode.
        image: uint8 [H, W, 3] RGB, of any size; shrunk to ``config.max_side`` by the caller.
        config: scales, flip and CRF of the test.
        device: where it is computed.

    Returns:
        float32 [C, H, W] on ``device``.

    Raises:
        InputError: the config has no segmentation network.
    """
    return predict_group(net, [image], config, device)[0]


@torch.inference_mode()
def predict_group(
    net: Any,
    images: Sequence[NDArray[np.uint8]],
    config: SegmentConfig,
    device: torch.device | str = "cpu",
) -> Tensor:
    """``predict`` of images of one size, [N, C, H, W]; see ``inference.groups_of``."""
    how = inference_of(config)
    size = images[0].shape[:2]
    net.eval()
    total = sum(_scale_logits(net, images, scale, size, how, device) for scale in how.scales)
    assert isinstance(total, Tensor)
    probabilities = (total / (len(how.scales) * (2 if how.flip else 1))).softmax(1)
    if how.crf is None:
        return probabilities
    found = []
    for image, own in zip(images, probabilities, strict=True):
        seen = image[..., ::-1] if how.bgr else image
        pixels = torch.from_numpy(seen.copy()).to(device)
        found.append(crf_probabilities(pixels, own, how.crf))
    return torch.stack(found)


def _scale_logits(
    net: Any,
    images: Sequence[NDArray[np.uint8]],
    scale: float,
    size: tuple[int, ...],
    how: Inference,
    device: torch.device | str,
) -> Tensor:
    """Logits of one scale at the pictures' size [N, C, H, W], those of the mirrored ones added."""
    inputs = torch.stack([to_input(rescale(image, scale)) for image in images])
    inputs = inputs.to(device, memory_format=torch.channels_last)
    total: Tensor | None = None
    # One after the other: at scale 1.75 the logits of 81 classes are large.
    for mirrored in (False, True) if how.flip else (False,):
        logits: Tensor = net(inputs.flip(-1) if mirrored else inputs)[-1]
        if logits.shape[-2:] != size:
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=net.aligned)
        logits = logits.flip(-1) if mirrored else logits
        total = logits if total is None else total + logits
    assert total is not None
    return total
