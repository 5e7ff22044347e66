"""What runs will take, before they are run, and what their jobs ask of a cluster."""
