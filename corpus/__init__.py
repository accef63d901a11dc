"""Where clips come from: generated scenes and the datasets that are converted into records."""
