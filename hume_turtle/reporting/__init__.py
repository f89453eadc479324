"""Tables, figures and executed notebooks."""
