"""A call changed by a person and approved as such, in one commit."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from django.contrib.auth.models import User
from django.utils import timezone

from runs import codec
from runs.engine.digest import MalformedArguments, call_digest, parse_arguments
from runs.engine.state.edits import faults_in
from runs.ids import new_id
from runs.transactions import write

from .. import notices, policies, wording
from ..errors import InvalidEdit, NotAllowed
from ..models import ApprovalRequest, RequestStatus, Verdict
from .deciding import decide, refusal, storable_text
from .telling import announce, announce_new, locked, record

UNCHANGED = "Nothing is changed. Change an argument, or approve the call as it is."
NO_REASON = "Write why you change it: the model reads it."


@write
def edit(
    request_id: UUID,
    *,
    arguments: str,
    reason: str,
    by: User,
    digest_seen: str,
) -> ApprovalRequest:
    """Put `arguments` in the place of the call's, and approve that as `by`.

    Returns the request about the changed call, as it then stands: of the next
    revision, with a digest of its own and `by`'s vote alone. The one that was edited is
    superseded; the model's call stays in the log as it is. `reason` reaches the model.

    Raises InvalidEdit, AlreadyDecided, Stale when `digest_seen` is not the request's
    digest, NotAllowed; ApprovalRequest.DoesNotExist.
    """
    request = locked(request_id)
    if not request.is_pending or request.digest != digest_seen:
        raise refusal(request, by, digest_seen)
    if not policies.is_editable(request):
        raise NotAllowed(str(policies.why_no_edit(request)), request)
    check_edit(request, arguments, reason)
    now = timezone.now()
    votable = policies.votable_by(by.pk, request.pk, digest_seen, approves=False)
    if not votable.update(
        status=RequestStatus.SUPERSEDED, decided_at=now, updated_at=now
    ):
        raise refusal(request, by, digest_seen)
    edited = _edited(request, arguments, storable_text(reason), by)
    _tell(request, edited, by)
    return decide(
        edited.pk,
        verdict=Verdict.APPROVE,
        by=by,
        digest_seen=edited.digest,
        reason=edited.edit_reason,
    )


def check_edit(request: ApprovalRequest, arguments: str, reason: str) -> str:
    """Return the digest of the request's call with `arguments`.

    Raises InvalidEdit when its tool does not take them, when they change nothing, and
    without a reason.
    """
    try:
        values = parse_arguments(arguments)
    except MalformedArguments as error:
        raise InvalidEdit({"": str(error)}, request) from error
    if faults := faults_in(codec.loads(request.parameters), values):
        raise InvalidEdit(faults, request)
    digest = digest_with(request, arguments)
    if digest == request.digest:
        raise InvalidEdit({"": UNCHANGED}, request)
    if not reason.strip():
        raise InvalidEdit({}, request, why=NO_REASON)
    return digest


def digest_with(request: ApprovalRequest, arguments: str) -> str:
    """Return the digest of the request's call, were it made with `arguments`."""
    return call_digest(
        tool=request.tool,
        schema_hash=request.schema_hash,
        agent_path=request.agent_path,
        arguments=arguments,
    )


def _edited(
    request: ApprovalRequest, arguments: str, reason: str, by: User
) -> ApprovalRequest:
    """Return a new request about the call with `arguments`, stored."""
    edited = ApprovalRequest.objects.select_related("run").get(pk=request.pk)
    now = timezone.now()
    wrote = {"arguments": request.written_arguments, "digest": request.call_digest}
    edited.pk = new_id()
    edited.revision += 1
    edited.status, edited.votes, edited.decided_at = RequestStatus.PENDING, 0, None
    edited.created_at = edited.updated_at = now
    edited.tell_at = notices.first_moment(now, edited.expires_at)
    edited.call = codec.dumps({**request.call_data, "arguments": arguments})
    edited.digest = digest_with(request, arguments)
    edited.written = codec.dumps(wrote)
    edited.edited_by, edited.edit_reason = by, reason
    wording.describe(edited, names=(edited.tool, edited.agent_path))
    edited.save(force_insert=True)
    return edited


def _tell(request: ApprovalRequest, edited: ApprovalRequest, by: User) -> None:
    name = by.get_username()
    ids: Mapping[str, str] = {"edited": str(edited.pk), "digest_after": edited.digest}
    record(request, "edit", name, Verdict.APPROVE, edited.edit_reason, **ids)
    announce(request, by=name)
    announce_new(edited)
