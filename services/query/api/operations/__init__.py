"""The query service's table of paths, parameters and answers. Its routes and its description are made from it."""
