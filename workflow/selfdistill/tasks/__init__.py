"""Poses problems and grades answers: prompts, parquet schema, generators and graders."""
