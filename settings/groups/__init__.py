"""The groups of settings, one module for each part of the product. settings.model puts them together."""
