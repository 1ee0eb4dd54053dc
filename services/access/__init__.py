"""Who may do what: callers, their keys, and the check of a request. One piece of code for all HTTP services."""
