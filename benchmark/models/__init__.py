"""Segmentation networks from segmentation-models-pytorch and timm."""
