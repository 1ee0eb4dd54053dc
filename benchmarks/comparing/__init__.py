"""Who is compared with whom, and how each of them is run."""
