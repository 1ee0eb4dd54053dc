"""What an audit compares: minutes, sums and accounts."""
