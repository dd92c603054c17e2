"""Robots: policies that generate chunks of actions, and how often they succeed."""
