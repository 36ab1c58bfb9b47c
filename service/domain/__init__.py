"""Frozen values and enums; imports nothing of Headrace but errors."""
