"""The files that the papers' authors released: import and evaluation."""
