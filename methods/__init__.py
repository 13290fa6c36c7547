"""The science: one file a method, backbones, losses, inference, metrics."""
