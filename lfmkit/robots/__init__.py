"""Robots: policies that generate chunks of actions, and rollouts that measure their success rates."""
