"""Estimates what runs will take, and what their jobs request of a cluster, before they are run."""
