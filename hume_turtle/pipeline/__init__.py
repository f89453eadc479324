"""The DVC stages, one file each, and the suite that they work on."""
