"""Datasets on disk, their manifests, and the clips that are sampled from them."""
