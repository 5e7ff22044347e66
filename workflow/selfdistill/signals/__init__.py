"""What the teacher says: hints and their choice, teacher weights, scoring of rollouts under hinted contexts."""
