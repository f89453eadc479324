"""The networks that are trained here: MoCo on a dataset's own images, and the letters network."""
