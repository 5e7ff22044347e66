"""Asks critics (models, servers, rules) to read a graded rollout and to say what is wrong with it."""
