"""Tensors to tokens."""
