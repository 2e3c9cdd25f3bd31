"""What an outside package may add to pacl-bench; pyproject.toml gives each its name."""
