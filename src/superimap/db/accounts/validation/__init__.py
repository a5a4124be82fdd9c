"""Validation of the values that the API and the command line accept: types, limits and error texts. No SQL.

Each module has a `TypedDict` of the fields that may be set, and a function that returns the values as they are
stored or raises `Invalid` with the field and the reason.
"""
