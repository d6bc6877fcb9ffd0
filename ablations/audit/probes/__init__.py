"""What watches a run from outside the model."""
