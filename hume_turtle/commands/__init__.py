"""What the commands of `hume-turtle` do. cli.py reads their arguments and imports one of these."""
