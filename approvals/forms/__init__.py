"""What people may send, checked before it is acted on."""
