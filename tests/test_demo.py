from __future__ import annotations

import json
from collections.abc import Iterable
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.core.management import call_command

from approvals.models import RequestStatus
from demo import agents
from demo.mind import think
from demo.model import DemoModel
from demo.models import Effect
from demo.talk import Call, read
from runs import registry, services
from runs.engine import ModelSettings, ModelTracing, Runner, RunResult
from runs.executor import Executor
from runs.models import Conversation, Run, RunStatus
from tests.factories import ada, bob, pending, say, until_status

SUPPORT = ["lookup_order", "refund", "send_email"]


class Conversing:
    """A conversation with a demo agent, without the server around it."""

    def __init__(self, key: str, *, rejections: Iterable[str | None] = ()) -> None:
        self.agent = registry.get(key).agent
        self.items: list[Any] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.rejections = list(rejections)
        """Reasons to reject the calls that are asked about, in order; None approves."""

    def say(self, text: str) -> str:
        """Return the agent's answer; what it asks about is decided meanwhile."""
        given: Any = [*self.items, {"role": "user", "content": text}]
        result: RunResult[Any] = async_to_sync(Runner.run)(self.agent, given)
        while result.interruptions:
            state = result.to_state()
            for item in state.get_interruptions():
                self.asked.append((item.tool_name, json.loads(item.arguments)))
                reason = self.rejections.pop(0) if self.rejections else None
                if reason is None:
                    state.approve(item)
                else:
                    state.reject(item, rejection_message=reason)
            result = async_to_sync(Runner.run)(self.agent, state)
        self.items = result.to_state().model_input()
        return str(result.final_output)

    @property
    def called(self) -> list[str]:
        calls = [item for item in self.items if item.get("type") == "function_call"]
        return [
            " ".join([call["name"], *map(str, json.loads(call["arguments"]).values())])
            for call in calls
        ]


def effects() -> list[str]:
    return [f"{row.tool} {row.subject}" for row in Effect.objects.order_by("id")]


@pytest.mark.parametrize("key", ["desk", "support", "ops", "research"])
def test_a_greeting_gets_an_introduction(key: str) -> None:
    talk = Conversing(key)

    answer = talk.say("Hello!")

    assert "Try: “" in answer
    assert talk.called == []


@pytest.mark.django_db
def test_support_looks_an_order_up_before_it_refunds() -> None:
    talk = Conversing("support")

    answer = talk.say("Please refund order 1042 for 480 EUR")

    assert talk.called == ["lookup_order 1042", "refund 1042 480"]
    assert talk.asked == [("refund", {"order_id": "1042", "amount_eur": 480})]
    assert "Done: Refunded 480.00 EUR for order 1042" in answer
    assert effects() == ["refund 1042"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("refund 1042", {"1042": 480}),
        ("refund 1042 and 1043", {"1042": 480, "1043": 129.9}),
        ("refund €100 for 1042", {"1042": 100}),
        (
            "refund 1042 for 100 EUR and 1043 for 60.50 euros",
            {"1042": 100, "1043": 60.5},
        ),
        ("refund 1042 and 1043, 60 EUR each", {"1042": 60, "1043": 60}),
        ("Order 1042 is broken. Refund it.", {"1042": 480}),
    ],
)
def test_support_reads_orders_and_amounts(text: str, amounts: dict[str, float]) -> None:
    talk = Conversing("support")

    talk.say(text)

    assert {
        arguments["order_id"]: arguments["amount_eur"] for _, arguments in talk.asked
    } == amounts


@pytest.mark.django_db
def test_two_orders_are_refunded_side_by_side() -> None:
    looked_up = read(
        [
            {"role": "user", "content": "refund 1042 and 1043"},
            *(
                part
                for order in ("1042", "1043")
                for part in (
                    {
                        "type": "function_call",
                        "call_id": order,
                        "name": "lookup_order",
                        "arguments": json.dumps({"order_id": order}),
                    },
                    {
                        "type": "function_call_output",
                        "call_id": order,
                        "output": async_to_sync(agents.lookup_order.on_invoke_tool)(
                            None,  # type: ignore[arg-type]  # it takes no context
                            json.dumps({"order_id": order}),
                        ),
                    },
                )
            ),
        ]
    )

    answer = think(looked_up, SUPPORT)

    assert [call.arguments["order_id"] for call in answer.calls] == ["1042", "1043"]


@pytest.mark.django_db
def test_a_small_refund_asks_nobody() -> None:
    talk = Conversing("support")

    answer = talk.say("Refund 49.99 EUR for order 1043")

    assert talk.asked == []
    assert "Refunded 49.99 EUR" in answer


@pytest.mark.parametrize(
    ("amount", "asked"),
    [(0.01, False), (49.99, False), (50, True), (-5, True), (0, True), ("", True)],
)
async def test_a_refund_of_fifty_or_a_strange_one_asks_a_person(
    amount: Any, asked: bool
) -> None:
    arguments = json.dumps({"order_id": "1042", "amount_eur": amount})

    gated, _ = await agents.refund.gate(None, arguments, "c")  # type: ignore[arg-type]

    assert gated is asked


@pytest.mark.django_db
def test_support_follows_the_reason_of_a_rejection() -> None:
    talk = Conversing("support", rejections=["Too much: give 100 EUR."])

    answer = talk.say("Refund 1042")

    assert talk.called[1:] == ["refund 1042 480", "refund 1042 100"]
    assert (
        "Not done: refund (1042, 480). I was told: “Too much: give 100 EUR.”" in answer
    )
    assert "Refunded 100.00 EUR" in answer


@pytest.mark.django_db
def test_support_takes_no_for_an_answer() -> None:
    talk = Conversing("support", rejections=["Give 100 EUR.", "Or 90 EUR. No."])

    answer = talk.say("Refund 1042 and e-mail the customer")

    assert len(talk.asked) == 2
    assert "Or 90 EUR. No." in answer
    assert effects() == []


@pytest.mark.django_db
def test_support_writes_what_came_of_the_refund() -> None:
    talk = Conversing("support")

    talk.say("Refund 1044, then e-mail the customer")

    (name, letter), *others = talk.asked
    assert (name, others) == ("send_email", [])
    assert letter["to"] == "byron@example.com"
    assert "We have refunded 39.00 EUR for order 1044." in letter["body"]
    assert effects() == ["refund 1044", "send_email byron@example.com"]


@pytest.mark.django_db
def test_support_asks_back_and_goes_on_with_the_reply() -> None:
    talk = Conversing("support")

    assert talk.say("I want a refund").endswith("shall I refund?")
    assert "Refunded 480.00 EUR" in talk.say("1042")


@pytest.mark.django_db
def test_support_refunds_no_more_than_is_left() -> None:
    talk = Conversing("support")
    talk.say("Refund 100 EUR for 1043")

    answer = talk.say("Refund another 100 EUR for 1043")

    assert "has 29.90 EUR left to refund" in answer
    assert effects() == ["refund 1043"]


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["Where is order 9999?", "Refund 9999"])
def test_an_unknown_order_is_said(text: str) -> None:
    assert "There is no order 9999." in Conversing("support").say(text)


@pytest.mark.django_db
def test_ops_restarts_the_workers_that_are_stuck() -> None:
    talk = Conversing("ops")

    talk.say("Restart all stuck workers")

    assert talk.called[0] == "list_workers"
    assert talk.called[1:] == ["restart_worker eu-3", "restart_worker us-2"]
    assert "eu-3 is healthy, restarted." in talk.say("How are the workers?")


@pytest.mark.django_db
def test_ops_does_one_thing_after_the_other() -> None:
    talk = Conversing("ops", rejections=[None, "Keep it."])

    answer = talk.say("Restart eu-3, then delete the branch main")

    assert [name for name, _ in talk.asked] == ["restart_worker", "delete_branch"]
    assert "Not done: delete_branch (main). I was told: “Keep it.”" in answer
    assert effects() == ["restart_worker eu-3"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Restart xx-9", "There is no worker xx-9."),
        ("Restart a worker", "Which worker shall I restart?"),
        ("Delete a branch", "Which branch"),
    ],
)
def test_ops_asks_back(text: str, answer: str) -> None:
    assert answer in Conversing("ops").say(text)


def test_research_reads_several_pages_and_asks_nobody() -> None:
    talk = Conversing("research")

    answer = talk.say("What do you know of digests and webhooks?")

    assert "read_page Digests" in talk.called
    assert "read_page Webhooks" in talk.called
    assert talk.asked == []
    assert "what was reviewed is exactly what runs" in answer


@pytest.mark.django_db
def test_the_front_desk_lets_support_settle_a_case() -> None:
    talk = Conversing("desk")

    answer = talk.say("Alan returned order 1043. Refund him, then e-mail him.")

    case = "Alan returned order 1043. Refund him. e-mail him"
    assert talk.called == [f"settle_case {case}"]
    assert [name for name, _ in talk.asked] == ["refund", "send_email"]
    assert "Done: Refunded 129.90 EUR for order 1043" in answer
    assert effects() == ["refund 1043", "send_email alan@example.com"]


@pytest.mark.django_db
def test_the_front_desk_passes_on_what_support_asks_back() -> None:
    talk = Conversing("desk")

    assert talk.say("I want a refund").endswith("shall I refund?")
    answer = talk.say("1044")

    assert "Refunded 39.00 EUR" in answer
    assert "shall I refund?" not in answer


@pytest.mark.django_db
def test_the_front_desk_hands_servers_over_to_ops() -> None:
    talk = Conversing("desk")

    answer = talk.say("Restart the stuck workers, please.")

    assert talk.called[:2] == ["transfer_to_ops", "list_workers"]
    assert [name for name, _ in talk.asked] == ["restart_worker", "restart_worker"]
    assert "Done: Restarted eu-3" in answer
    assert effects() == ["restart_worker eu-3", "restart_worker us-2"]


@pytest.mark.django_db
def test_the_front_desk_does_both() -> None:
    talk = Conversing("desk")

    talk.say("Refund order 1044, then restart eu-3")

    assert effects() == ["refund 1044", "restart_worker eu-3"]


def test_the_model_calls_no_tool_it_was_not_given() -> None:
    answer = think(read("refund 1042"), ["search_handbook"])

    assert {call.name for call in answer.calls} <= {"search_handbook"}
    assert think(read("refund 1042"), []).calls == []


@pytest.mark.parametrize("arguments", ["{", "[]", "null", ""])
def test_the_model_reads_whatever_a_log_may_hold(arguments: str) -> None:
    talk = read(
        [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {
                "type": "function_call",
                "call_id": "1",
                "name": "refund",
                "arguments": arguments,
            },
        ]
    )

    assert talk.said == ["Hi"]
    assert talk.calls == [Call(name="refund", arguments={})]
    assert think(talk, SUPPORT).text


async def test_the_model_streams_its_answer_word_by_word() -> None:
    model = DemoModel(word_s=0)
    asked: Any = (None, "Hi", ModelSettings(), [], None, [], ModelTracing.DISABLED)
    options: Any = dict.fromkeys(["previous_response_id", "conversation_id", "prompt"])

    events: list[Any] = [
        event async for event in model.stream_response(*asked, **options)
    ]

    words = [event.delta for event in events if event.type.endswith("text.delta")]
    whole = events[-1].response.output[0].content[0].text
    assert len(words) > 10
    assert "".join(words) == whole


def test_a_key_chooses_a_real_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert isinstance(agents.chosen_model(), DemoModel)

    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.delenv("PLACET_MODEL", raising=False)
    assert agents.chosen_model() is None

    monkeypatch.setenv("PLACET_MODEL", "gpt-test")
    assert agents.chosen_model() == "gpt-test"


@pytest.mark.django_db
def test_seeding_makes_people_and_conversations_once() -> None:
    out = StringIO()

    call_command("seed_demo", stdout=out)
    User.objects.get(username="ada").groups.clear()
    call_command("seed_demo", stdout=out)

    people = {user.username: user for user in User.objects.all()}
    assert set(people) == {"ada", "bob", "admin"}
    assert all(user.check_password(name) for name, user in people.items())
    assert people["bob"].has_perm("runs.start_run")
    assert people["admin"].is_superuser
    assert not people["ada"].groups.exists()
    assert Conversation.objects.count() == 5
    assert set(Run.objects.values_list("requester__username", flat=True)) == {"bob"}
    assert "ada/ada" in out.getvalue()


@pytest.mark.django_db
def test_seeding_leaves_a_database_in_use_alone() -> None:
    services.start_run("support", "Hello", trigger="page")

    call_command("seed_demo", stdout=StringIO())

    assert Conversation.objects.count() == 1


@pytest.mark.django_db
def test_ada_may_decide_what_is_seeded() -> None:
    call_command("seed_demo", stdout=StringIO())

    assert User.objects.get(username="ada").has_perm("approvals.decide_request")


@pytest.mark.django_db(transaction=True)
async def test_a_refund_waits_for_ada_and_happens_once(executor: Executor) -> None:
    model = registry.get("support").agent.model
    assert isinstance(model, DemoModel)
    requester, reviewer = await sync_to_async(bob)(), await sync_to_async(ada)()

    run = await sync_to_async(services.start_run)(
        "support", "Refund 1042 for 480 EUR", trigger="page", requester=requester
    )
    await until_status(run, RunStatus.WAITING)
    (request,) = await sync_to_async(pending)(run)
    assert await sync_to_async(effects)() == []
    await sync_to_async(say)("approve", request, reviewer)
    run = await until_status(run, RunStatus.COMPLETED)

    assert request.summary == "Refund 480 EUR for order 1042"
    assert request.risk == "high"
    assert "Done: Refunded 480.00 EUR" in run.final_output
    assert await sync_to_async(effects)() == ["refund 1042"]
    await request.arefresh_from_db()
    assert request.status == RequestStatus.APPROVED
