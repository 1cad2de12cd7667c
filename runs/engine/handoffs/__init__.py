"""Handing the conversation to another agent, and what that agent reads of it."""
