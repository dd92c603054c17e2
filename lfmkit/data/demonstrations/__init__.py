"""Demonstrations of tasks: observations and actions, episode by episode."""
