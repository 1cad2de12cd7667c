from django.apps import AppConfig
from django.core.checks import register
from django.db.models.signals import post_migrate

from .checks import check_mail


class ApprovalsConfig(AppConfig):
    name = "approvals"

    def ready(self) -> None:
        from .roles import ensure_groups  # models are loaded only now

        post_migrate.connect(ensure_groups, sender=self)
        register(check_mail)
