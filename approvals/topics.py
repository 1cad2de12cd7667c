"""The names under which news about requests is told."""

QUEUE = "queue"
