"""What recorded rollouts say token by token."""
