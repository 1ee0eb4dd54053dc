"""Reads and checks a request's parameters. Knows no HTTP framework and no Cassandra.

A bad parameter raises ParameterError, which names the field, its value and what it may be.
services.query.api.operations describes the parameters and their defaults by the constants in these modules.
"""
