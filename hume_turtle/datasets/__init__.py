"""Images by dataset name: the default suite's digits, the 26 of TURTLE, and any folder."""
