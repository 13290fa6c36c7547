"""Ablation designs: effects of components, how they act together, and their shares of the whole."""
