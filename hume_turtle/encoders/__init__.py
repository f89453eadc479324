"""Frozen encoders by name, their weights, and the text side of CLIP."""
