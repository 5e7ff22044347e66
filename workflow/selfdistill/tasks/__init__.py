"""What is asked and how it is graded: prompts, parquet schema, generators and graders."""
