"""The channel statistics of ImageNet, which every released method of this family normalises by."""

from __future__ import annotations

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of red, green and blue in 0..1."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of red, green and blue in 0..1."""
