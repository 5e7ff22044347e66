"""Writes the report's HTML pages."""
