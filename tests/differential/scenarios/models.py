"""Model calls made again; the scripted model of the package itself."""

import httpx2
import openai

from ..registry import scenario
from ..script import text
from ..sides import Side
from .approvals import gated

CALLS = "Model calls"
TESTING = "Testing"
REQUEST = httpx2.Request("POST", "https://models.example/v1/responses")


def offline() -> openai.APIConnectionError:
    return openai.APIConnectionError(request=REQUEST)


def busy() -> openai.APIStatusError:
    answer = httpx2.Response(503, request=REQUEST)
    return openai.InternalServerError("busy", response=answer, body=None)


@scenario(CALLS)
async def model_call_made_again_by_a_policy(side: Side) -> None:
    policies = side.retry_policies
    for error, policy in (
        (offline, policies.network_error()),
        (busy, policies.http_status([503])),
        (busy, policies.any(policies.network_error(), policies.http_status([503]))),
    ):
        settings = side.ModelSettings(
            retry=side.ModelRetrySettings(
                max_retries=2, backoff={"initial_delay": 0}, policy=policy
            )
        )
        agent = side.agent(error(), error(), [text("x")], model_settings=settings)
        await side.run(agent, "hi")


@scenario(CALLS)
async def model_call_not_made_again(side: Side) -> None:
    policies = side.retry_policies
    for policy in (
        policies.never(),
        policies.http_status([500]),
        policies.all(policies.network_error(), policies.http_status([503])),
    ):
        settings = side.ModelSettings(
            retry=side.ModelRetrySettings(
                max_retries=2, backoff={"initial_delay": 0}, policy=policy
            )
        )
        agent = side.agent(busy(), [text("never")], model_settings=settings)
        await side.run(agent, "hi")


@scenario(CALLS)
async def model_call_fails_more_often_than_it_may(side: Side) -> None:
    settings = side.ModelSettings(
        retry=side.ModelRetrySettings(
            max_retries=1,
            backoff={"initial_delay": 0},
            policy=side.retry_policies.network_error(),
        )
    )
    agent = side.agent(offline(), offline(), [text("never")], model_settings=settings)
    await side.run(agent, "hi")


@scenario(TESTING)
async def scripted_model_of_the_package(side: Side) -> None:
    model = side.ScriptedModel(
        steps=[
            [side.function_call("pay", {"sum": 1}, call_id="c1")],
            side.ModelStep.respond(
                lambda call: [side.assistant_message(f"{len(call.input)} items")]
            ),
        ]
    )
    agent = side.Agent(
        name="main", model=model, tools=[gated(side, needs_approval=False)]
    )
    result = await side.Runner.run(agent, "hi")
    side.note(result.final_output, [each.type for each in result.new_items])
    side.note(model.remaining_steps, len(model.calls), model.first_call.input)
    side.note(model.last_call.streamed, model.last_call.system_instructions)
    model.assert_complete()


@scenario(TESTING)
async def scripted_model_that_fails(side: Side) -> None:
    model = side.ScriptedModel(steps=[side.ModelStep.raise_error(offline())])
    agent = side.Agent(name="main", model=model)

    async def ask() -> None:
        side.note((await side.Runner.run(agent, "hi")).final_output)

    await side.failure(ask)
    model.extend([[side.assistant_message("one")]])
    model.enqueue([side.assistant_message("two")])
    await ask()
    side.note(model.remaining_steps)
    for action in (model.assert_complete, ask, model.assert_complete, ask):
        try:
            given = action()
            if given is not None:
                await given
        except Exception as error:
            side.note(type(error).__name__)
