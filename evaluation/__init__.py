"""Captions to scores."""
