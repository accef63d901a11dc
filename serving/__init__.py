"""Model to service."""
