"""What composition alone can tell about Tc: the bar that a model of the structure has to clear."""
