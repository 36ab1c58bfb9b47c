"""Ratios of Headrace to plainer ways of doing the same work, each measured in one run."""
