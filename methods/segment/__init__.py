"""Segmentation networks trained on pseudo masks, and their test."""
