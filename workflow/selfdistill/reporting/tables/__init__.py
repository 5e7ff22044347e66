"""The numbers of every table: one CSV each."""
