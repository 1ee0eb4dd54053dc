"""The contenders of comparisons, and how each of them is run."""
