"""Pure rules: who may see, who may decide, and who may take a decision back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from runs import codec
from runs.engine.digest import call_digest, schema_hash
from runs.models import OPEN_STATUSES, Run, ToolExecution
from runs.queries import may_follow, may_start

from .models import (
    DECIDED_STATUSES,
    ApprovalRequest,
    Decision,
    RequestStatus,
    Rule,
    Vote,
)

DECIDE = "decide_request"
SEE = "view_approvalrequest"


def holds(user: User | AnonymousUser, codename: str) -> bool:
    """Say whether the person was *given* the permission.

    Being a superuser is not enough: staff is not reviewer.
    """
    return user.is_active and _grants(user, codename).exists()


def may_see_queue(user: User | AnonymousUser) -> bool:
    if not user.is_authenticated:
        return False
    return user.has_perm(f"approvals.{SEE}") or user.has_perm(f"approvals.{DECIDE}")


def deciders() -> QuerySet[User]:
    """Return everyone who was given the right to decide, as `holds` says it."""
    given = {"codename": DECIDE, "content_type__app_label": "approvals"}
    right = Permission.objects.filter(**given)
    return User.objects.filter(
        Q(user_permissions__in=right) | Q(groups__permissions__in=right), is_active=True
    )


def routed_to(groups: QuerySet[Group, Any] | Collection[str]) -> Q:
    """Whether a request is one that these groups, by name, are named to decide."""
    also = Q(escalated_at__isnull=False, escalate_to__in=groups)
    return Q(reviewers__in=groups) | also


def waits_for(user: User) -> Q:
    """Whether a pending request is one that `user` decides, and has not voted on."""
    voted = Vote.objects.filter(request_id=OuterRef("pk"), voter_id=user.pk)
    return _may_decide(user) & ~Q(Exists(voted)) & Q(Exists(_active(user)))


def decidable_by(user: User) -> QuerySet[ApprovalRequest]:
    """What waits for `user`."""
    return ApprovalRequest.objects.filter(waits_for(user), status=RequestStatus.PENDING)


def deciders_of(request: ApprovalRequest) -> QuerySet[User]:
    """Return whom the request waits for: those it is `decidable_by`."""
    spoke = Run.speakers.through.objects.filter(run_id=request.run_id)
    voted = Vote.objects.filter(request_id=request.pk)
    found = User.objects.filter(
        Q(pk__in=deciders().values("pk")), is_active=True
    ).exclude(
        Q(pk=request.run.requester_id or 0)
        | Q(pk__in=spoke.values("user_id"))
        | Q(pk__in=voted.values("voter_id"))
    )
    if groups := request.groups:
        members = User.groups.through.objects.filter(group__name__in=groups)
        found = found.filter(pk__in=members.values("user_id"))
    return found


def votable_by(
    user_id: int, request_id: UUID, digest: str, *, approves: bool
) -> QuerySet[ApprovalRequest]:
    """The request, if by now that person may vote on it as it stands with `digest`.

    To approve takes more than to say no: whoever edited a call that needs several
    votes does not give the last one.

    Who may is part of the query: a decision is one conditional UPDATE on it, so that
    nothing can change between the check and the vote.
    """
    user = User(pk=user_id)
    votable = decidable_by(user).filter(pk=request_id, digest=digest)
    return votable.exclude(_is_last_vote_of_editor(user)) if approves else votable


def expirable(request: ApprovalRequest, now: datetime) -> QuerySet[ApprovalRequest]:
    """The request, if it still waits and nobody has decided it in time.

    Whether a call happened, or a run goes on, is never settled by silence.
    """
    return ApprovalRequest.objects.filter(
        pk=request.pk,
        status=RequestStatus.PENDING,
        kind=ApprovalRequest.Kind.APPROVAL,
        expires_at__lte=now,
    )


def undoable_by(
    user: User, request: ApprovalRequest, now: datetime
) -> QuerySet[ApprovalRequest]:
    """The request, if `user` may take its verdict back: it is theirs, or they decide.

    As with a vote, taking it back is one conditional UPDATE on this.
    """
    theirs = Decision.objects.filter(request_id=OuterRef("pk"), actor_id=user.pk)
    return held(request, now).filter(
        Q(Exists(theirs)) | _may_decide(user), Exists(_active(user))
    )


def held(request: ApprovalRequest, now: datetime) -> QuerySet[ApprovalRequest]:
    """The request, if its verdict is held and nothing has come of it.

    That no call has started under it is asked as well: the machine that started it
    may have another clock.
    """
    decision = Decision.objects.filter(request_id=OuterRef("pk"))
    used = ToolExecution.objects.filter(
        run_id=OuterRef("run_id"),
        call_key=OuterRef("call_key"),
        permitted_by__in=Decision.objects.filter(request=request).values("pk"),
    )
    goes_on = Run.objects.filter(
        pk=OuterRef("run_id"), status__in=OPEN_STATUSES, stop_requested_at=None
    )
    return ApprovalRequest.objects.filter(
        Exists(decision.filter(release_at__gt=now)),
        ~Exists(used),
        Exists(goes_on),
        pk=request.pk,
        status__in=DECIDED_STATUSES,
    )


def why_not_decide(user: User, request: ApprovalRequest) -> str | None:
    """Return why `user` may not decide the request now, or None when they may."""
    if not request.is_pending:
        return f"This request is already {request.get_status_display().lower()}."
    if reason := _why_not_of_them(user, request):
        return reason
    if request.vote_set.filter(voter=user).exists():
        return "You have voted already; another reviewer must decide too."
    return None


def why_not_approve(user: User, request: ApprovalRequest) -> str | None:
    """Return why `user` may not approve the request now, or None when they may."""
    return why_not_decide(user, request) or why_not_approve_now(user, request)


def why_not_approve_now(user: User, request: ApprovalRequest) -> str | None:
    """Return why one who may decide the request may not approve it yet, or None."""
    is_last = request.votes + 1 >= request.votes_needed > 1
    if is_last and request.edited_by_id == user.pk:
        return "You changed this call; someone else must give the last vote."
    return None


def why_not_edit(user: User, request: ApprovalRequest) -> str | None:
    """Return why `user` may not change the call before approving it, or None."""
    return why_not_decide(user, request) or why_no_edit(request)


def why_no_edit(request: ApprovalRequest) -> str | None:
    """Return why nobody may change the request's call, or None."""
    if request.kind == ApprovalRequest.Kind.RECONCILE:
        return "This call has started already; its arguments are what they were."
    if not is_editable(request):
        return "The schema of this tool's arguments is not known here."
    return None


def why_not_stop(user: User, request: ApprovalRequest) -> str | None:
    """Return why `user` may not stop the request's run, or None when they may."""
    if not may_start(user):
        return "Only operators stop runs; you may reject this call and stop its run."
    if not may_follow(user) and not _is_own(user, request.run):
        return "You do not see this run."
    return None


def _is_own(user: User, run: Run) -> bool:
    return user.pk in (run.requester_id, run.conversation.owner_id)


def is_editable(request: ApprovalRequest) -> bool:
    """Say whether its call is of a kind whose arguments a person may change.

    What is kept of the call must be what its digest is of, the schema as well.
    """
    if request.kind != ApprovalRequest.Kind.APPROVAL or not request.parameters:
        return False
    schema = codec.loads(request.parameters)
    same = call_digest(
        tool=request.tool,
        schema_hash=schema_hash(request.tool, schema),
        agent_path=request.agent_path,
        arguments=request.call_arguments,
    )
    return same == request.digest


def why_not_decide_each(
    user: User, requests: Sequence[ApprovalRequest]
) -> dict[UUID, str | None]:
    """Return what `why_not_decide` says of each, asking it of the exceptions only."""
    ids = [request.pk for request in requests]
    able = decidable_by(user).filter(pk__in=ids)
    decidable = set(able.values_list("pk", flat=True))
    return {
        request.pk: None if request.pk in decidable else why_not_decide(user, request)
        for request in requests
    }


def why_not_undo(user: User, request: ApprovalRequest, now: datetime) -> str | None:
    """Return why `user` may not undo the verdict now, or None when they may."""
    if not request.is_held(now):
        return "There is no verdict that can still be undone."
    if request.decision.actor_id == user.pk:
        return None
    return _why_not_of_them(user, request)


def why_not_revoke(user: User, rule: Rule) -> str | None:
    """Return why `user` may not revoke the Rule, or None when they may.

    Its maker may, whoever decides such requests, and an admin of Rules.
    """
    if rule.creator_id == user.pk or user.has_perm("approvals.change_rule"):
        return None
    if not holds(user, DECIDE):
        return "Only its maker, a reviewer or an admin may revoke this Rule."
    group = rule.made_with.request.reviewers if rule.made_with else ""
    if group and not user.groups.filter(name=group).exists():
        return f"Only members of “{group}” may revoke this Rule."
    return None


def _why_not_of_them(user: User, request: ApprovalRequest) -> str | None:
    """Return why `user` is not one of those who decide the request, or None."""
    if request.run.requester_id == user.pk:
        return "You started this run; someone else must decide."
    if request.run.speakers.filter(pk=user.pk).exists():
        return "You have written to this run; someone else must decide."
    if not holds(user, DECIDE):
        return "You are not a reviewer; ask an admin to add you to a reviewers group."
    groups = request.groups
    if groups and not user.groups.filter(name__in=groups).exists():
        return (
            f"Only members of {' or '.join(f'“{g}”' for g in groups)} may decide this."
        )
    return None


def _grants(user: User | AnonymousUser, codename: str) -> QuerySet[Permission]:
    return Permission.objects.filter(
        Q(group__user=user.pk) | Q(user=user.pk),
        codename=codename,
        content_type__app_label="approvals",
    )


def _is_last_vote_of_editor(user: User) -> Q:
    return Q(edited_by_id=user.pk, votes_needed__gt=1, votes__gte=F("votes_needed") - 1)


def _active(user: User) -> QuerySet[User]:
    return User.objects.filter(pk=user.pk, is_active=True)


def _may_decide(user: User) -> Q:
    """Whether a request is one that `user` decides: by right, group and distance.

    Subqueries and no joins: with a join an UPDATE would first select the rows, and not
    look at them again after it has waited for a lock.
    """
    groups = user.groups.values("name")
    spoke = Run.speakers.through.objects.filter(
        run_id=OuterRef("run_id"), user_id=user.pk
    )
    asked = Run.objects.filter(pk=OuterRef("run_id"), requester_id=user.pk)
    by_right = Q(Exists(_grants(user, DECIDE)))
    is_stranger = ~Q(Exists(spoke)) & ~Q(Exists(asked))
    return by_right & is_stranger & (Q(reviewers="") | routed_to(groups))
