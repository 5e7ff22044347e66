"""What a method is but for its loss: settings, published values, papers, look. Nothing heavy is imported."""
