"""Scripts that time two sides alternately in one process; each writes a record and prints a table."""
