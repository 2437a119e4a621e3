"""Datasets: catalogs of patches, their classes and files, the store of decoded patches, and batches."""
