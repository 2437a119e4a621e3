"""Series of Sentinel-2 images beside the aerial ones: their files, what is cut and kept of them, and their store."""
