"""`Turtle` and `Hume` with fit and predict, their fast recipes, and choices made without labels."""
