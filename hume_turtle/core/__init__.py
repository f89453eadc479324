"""The two papers: objectives, solvers, and both methods whole in plain lines. Torch only."""
