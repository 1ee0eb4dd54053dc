"""The answers of the query service: what it encodes to JSON, and what its description is made from. Knows no HTTP.

Times are text, as clients see them: UTC with a Z, and days of a zone at the offset of the zone. The docstrings and
descriptions in these modules are part of the OpenAPI description.
"""
