"""Simulated vehicles that speak a real protocol, on the physics of the tasks."""
