"""The training loop, its methods, recipes, records and tables, and the command line."""
