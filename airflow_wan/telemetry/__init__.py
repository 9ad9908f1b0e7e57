"""What others are told of a run."""
