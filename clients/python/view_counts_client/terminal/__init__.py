"""The commands of `view-counts` that ask for counts. They need the extra `cli`."""
