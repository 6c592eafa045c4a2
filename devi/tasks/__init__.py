"""Built-in toy models, one a file."""
