"""Video file to tensors."""
