"""Agents as they are: instructions, inputs, models, settings, prompts."""

from functools import partial
from typing import Any

from ..registry import scenario
from ..script import call, reasoning, text
from ..sides import Side

AGENTS = "Agents"


@scenario(AGENTS)
async def text_answer(side: Side) -> None:
    await side.run(side.agent([text("hello")], instructions="Be kind."), "hi")


@scenario(AGENTS)
async def input_as_items(side: Side) -> None:
    items = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": [{"type": "input_text", "text": "three"}]},
    ]
    await side.run(side.agent([text("four")]), items)


@scenario(AGENTS)
async def instructions_from_a_function(side: Side) -> None:
    def instructions(context: Any, agent: Any) -> str:
        return f"Serve {context.context['user']} as {agent.name}."

    agent = side.agent([text("yes")], instructions=instructions)
    await side.run(agent, "hi", context={"user": "ada"})


@scenario(AGENTS)
async def instructions_from_a_coroutine(side: Side) -> None:
    async def instructions(context: Any, agent: Any) -> str:
        return f"{len(context.turn_input)} items, {context.usage.requests} requests"

    agent = side.agent(
        [call("echo")], [text("yes")], instructions=instructions, tools=[_echo(side)]
    )
    await side.run(agent, "hi")


@scenario(AGENTS)
async def instructions_of_a_wrong_kind(side: Side) -> None:
    await side.failure(lambda: side.agent([text("yes")], instructions=7))


@scenario(AGENTS)
async def agent_arguments_of_wrong_kinds(side: Side) -> None:
    wrong: list[dict[str, Any]] = [
        {"name": 7},
        {"tools": "echo"},
        {"handoffs": "b"},
        {"model": 7},
        {"model_settings": "hot"},
        {"output_type": 7},
        {"hooks": "h"},
        {"tool_use_behavior": 7},
        {"reset_tool_choice": "no"},
        {"input_guardrails": "g"},
        {"output_guardrails": "g"},
        {"handoff_description": 7},
    ]
    for fields in wrong:
        side.note(*fields)
        await side.failure(partial(side.Agent, **{"name": "a", **fields}))


@scenario(AGENTS)
async def no_output_at_all(side: Side) -> None:
    await side.run(side.agent([], [text("then this")]), "hi", max_turns=3)


@scenario(AGENTS)
async def several_messages_in_one_answer(side: Side) -> None:
    await side.run(side.agent([text("one", "m1"), text("two", "m2")]), "hi")


@scenario(AGENTS)
async def reasoning_goes_back_to_the_model(side: Side) -> None:
    answers = [[reasoning("think"), call("echo")], [reasoning("more"), text("done")]]
    await side.run(side.agent(*answers, tools=[_echo(side)]), "hi")


@scenario(AGENTS)
async def reasoning_ids_omitted(side: Side) -> None:
    answers = [[reasoning("think"), call("echo")], [reasoning("more"), text("done")]]
    await side.run(
        side.agent(*answers, tools=[_echo(side)]),
        "hi",
        run_config=side.RunConfig(reasoning_item_id_policy="omit"),
    )


@scenario(AGENTS)
async def next_run_from_the_last_ones_input_list(side: Side) -> None:
    agent = side.agent(
        [call("echo")], [text("one", "m1")], [text("two", "m2")], tools=[_echo(side)]
    )
    first = await side.run(agent, "hi")
    more = [*first.to_input_list(), {"role": "user", "content": "and?"}]
    await side.run(agent, more)


@scenario(AGENTS)
async def model_of_the_run_replaces_the_agents(side: Side) -> None:
    agent = side.agent([text("agent's")])
    model = side.model([text("run's")], label="run")
    await side.run(agent, "hi", run_config=side.RunConfig(model=model))


@scenario(AGENTS)
async def model_named_and_found_by_a_provider(side: Side) -> None:
    model = side.model([text("found")], [text("again")], label="found")

    class Provider(side.ModelProvider):  # type: ignore[name-defined, misc]
        def get_model(self, model_name: str | None) -> Any:
            side.note("asked for", model_name)
            return model

    config = side.RunConfig(model_provider=Provider())
    await side.run(side.Agent(name="main", model="small"), "hi", run_config=config)
    other = side.RunConfig(model_provider=Provider(), model="large")
    await side.run(side.Agent(name="main", model="small"), "hi", run_config=other)


@scenario(AGENTS)
async def run_config_as_a_dict(side: Side) -> None:
    model = side.model([text("run's")], label="run")
    config = {"model": model, "model_settings": {"temperature": 0.5}}
    await side.run(side.agent(), "hi", run_config=config)


@scenario(AGENTS)
async def run_config_with_an_unknown_key(side: Side) -> None:
    await side.run(side.agent([text("x")]), "hi", run_config={"max_turns": 3})


@scenario(AGENTS)
async def clone_changes_only_what_is_named(side: Side) -> None:
    tool = _echo(side)
    agent = side.agent([text("one")], instructions="A.", tools=[tool])
    other = agent.clone(name="other", instructions="B.")
    side.note(other.tools is agent.tools, other.model is agent.model, other.name)
    await side.run(other, "hi")


@scenario(AGENTS, modes=("plain",))
async def run_sync_inside_a_loop_is_refused(side: Side) -> None:
    agent = side.agent([text("x")])
    await side.failure(lambda: side.Runner.run_sync(agent, "hi"))


@scenario(AGENTS, modes=("plain",))
async def run_sync_in_a_thread(side: Side) -> None:
    import asyncio

    agent = side.agent([call("echo")], [text("x")], tools=[_echo(side)])

    def in_a_thread() -> Any:
        try:
            return side.Runner.run_sync(agent, "hi")
        finally:
            if not side.ours:  # it keeps a loop of the thread's own, and leaves it open
                asyncio.get_event_loop_policy().get_event_loop().close()

    result = await asyncio.to_thread(in_a_thread)
    side.note(result.final_output, len(result.new_items))


@scenario(AGENTS)
async def model_that_raises(side: Side) -> None:
    await side.run(
        side.agent([call("echo")], ValueError("no"), tools=[_echo(side)]), "hi"
    )


@scenario(AGENTS)
async def settings_of_run_over_those_of_agent(side: Side) -> None:
    mine = side.ModelSettings(
        temperature=0.1,
        top_p=0.5,
        max_tokens=100,
        extra_args={"a": 1, "b": 2},
        extra_headers={"h": "1"},
        metadata={"k": "agent"},
        parallel_tool_calls=False,
    )
    over = side.ModelSettings(
        temperature=0.9,
        max_tokens=200,
        extra_args={"b": 3, "c": 4},
        extra_headers={"g": "2"},
        metadata={"m": "run"},
        truncation="auto",
    )
    agent = side.agent([text("x")], model_settings=mine)
    await side.run(agent, "hi", run_config=side.RunConfig(model_settings=over))
    side.note(mine.resolve(over).to_json_dict(), mine.resolve(None).to_json_dict())


@scenario(AGENTS)
async def settings_with_reasoning_and_the_rest(side: Side) -> None:
    settings = side.ModelSettings(
        reasoning={"effort": "low"},
        verbosity="low",
        store=False,
        include_usage=True,
        response_include=["reasoning.encrypted_content"],
        top_logprobs=3,
        frequency_penalty=0.2,
        presence_penalty=0.3,
        tool_choice="auto",
        extra_query={"q": 1},
        extra_body={"b": 2},
        timeout=30.0,
    )
    await side.run(side.agent([text("x")], model_settings=settings), "hi")


@scenario(AGENTS)
async def tool_choice_is_reset_after_a_tool(side: Side) -> None:
    settings = side.ModelSettings(tool_choice="required")
    agent = side.agent(
        [call("echo")], [text("x")], model_settings=settings, tools=[_echo(side)]
    )
    await side.run(agent, "hi")


@scenario(AGENTS)
async def tool_choice_is_kept_when_told_so(side: Side) -> None:
    settings = side.ModelSettings(tool_choice="echo")
    agent = side.agent(
        [call("echo")],
        [text("x")],
        model_settings=settings,
        tools=[_echo(side)],
        reset_tool_choice=False,
    )
    await side.run(agent, "hi")


@scenario(AGENTS)
async def prompt_given_as_it_is(side: Side) -> None:
    prompt = {"id": "pmpt_1", "version": "2", "variables": {"who": "ada"}}
    await side.run(side.agent([text("x")], prompt=prompt), "hi")


@scenario(AGENTS)
async def prompt_from_a_function(side: Side) -> None:
    async def prompt(data: Any) -> dict[str, Any]:
        side.note(data.agent.name, data.context.context)
        return {"id": f"pmpt_{data.context.context}"}

    await side.run(side.agent([text("x")], prompt=prompt), "hi", context="ada")


@scenario(AGENTS)
async def model_input_filter(side: Side) -> None:
    def only_last(data: Any) -> Any:
        side.note(data.agent.name, data.context, len(data.model_data.input))
        return side.ModelInputData(
            input=data.model_data.input[-1:], instructions="Filtered."
        )

    agent = side.agent(
        [call("echo")], [text("x")], instructions="Whole.", tools=[_echo(side)]
    )
    config = side.RunConfig(call_model_input_filter=only_last)
    await side.run(agent, "hi", run_config=config, context="ctx")


@scenario(AGENTS)
async def model_input_filter_that_raises_or_misleads(side: Side) -> None:
    def broken(data: Any) -> Any:
        raise KeyError("no")

    def misled(data: Any) -> Any:
        return [1]

    for func in (broken, misled):
        config = side.RunConfig(call_model_input_filter=func)
        await side.run(side.agent([text("x")]), "hi", run_config=config)


@scenario(AGENTS)
async def turns_run_out(side: Side) -> None:
    answers = [[call("echo", id=f"c{number}")] for number in range(4)]
    await side.run(side.agent(*answers, tools=[_echo(side)]), "hi", max_turns=2)


@scenario(AGENTS)
async def no_limit_of_turns(side: Side) -> None:
    answers = [[call("echo", id=f"c{number}")] for number in range(13)]
    agent = side.agent(*answers, [text("x")], tools=[_echo(side)])
    await side.run(agent, "hi", max_turns=None)


@scenario(AGENTS)
async def last_permitted_turn_still_answers(side: Side) -> None:
    agent = side.agent([call("echo")], [text("x")], tools=[_echo(side)])
    await side.run(agent, "hi", max_turns=2)


@scenario(AGENTS)
async def text_beside_a_tool_call_is_no_final_answer(side: Side) -> None:
    agent = side.agent(
        [text("let me see", "m1"), call("echo")], [text("x")], tools=[_echo(side)]
    )
    await side.run(agent, "hi")


@scenario(AGENTS)
async def final_output_as_a_type(side: Side) -> None:
    result = await side.run(side.agent([text("x")]), "hi")
    side.note(result.final_output_as(str), result.final_output_as(int))
    await side.failure(
        lambda: result.final_output_as(int, raise_if_incorrect_type=True)
    )


@scenario(AGENTS)
async def wrong_use_of_the_runner(side: Side) -> None:
    agent = side.agent([text("x")], [text("y")])
    await side.failure(lambda: side.Runner.run("agent", "hi"))
    await side.failure(lambda: side.Runner.run(agent, "hi", max_turns="many"))
    await side.failure(lambda: side.Runner.run(agent, "hi", sessions=None))


def _echo(side: Side) -> Any:
    @side.function_tool
    def echo(word: str = "again") -> str:
        """Say it again.

        Args:
            word: What to say.
        """
        return word

    return echo
