"""Records to weights."""
