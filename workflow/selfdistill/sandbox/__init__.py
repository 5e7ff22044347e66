"""Runs programs that a model wrote, with limits on what they may touch and how long they may take."""
