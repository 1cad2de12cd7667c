"""What a database keeps that is emptied between tests.

Django empties all of it, and then makes every content type and permission again: 38 ms
a test, of which 2 go to the emptying.
"""

KEPT = {"django_content_type", "auth_permission"}
"""Made by the migrations, and the same for every test."""
